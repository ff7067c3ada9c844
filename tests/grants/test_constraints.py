"""The database refuses bad rows on its own, whatever Python would have let through."""

from pathlib import Path

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from config.kernel.ids import new_id
from grants.models import CreditBalance, CreditEntry

INT64_MAX = 2**63 - 1
APPEND_ONLY = "PG002"


def violated(change):
    """Return the name of the constraint that `change` violates."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        change()
    return refusal.value.__cause__.diag.constraint_name


def update(balance, **amounts):
    return lambda: CreditBalance.objects.filter(pk=balance.pk).update(**amounts)


def entry_of(balance, at, **changed):
    """Return a valid spend, changed in one respect."""
    fields = {
        "realm_id": balance.realm_id,
        "account_id": balance.account_id,
        "user_id": balance.user_id,
        "kind": "spend",
        "amount_xusd": -1,
        "source_ref": "lease:1",
        "effective_at": at,
        "occurred_at": at,
    }
    return CreditEntry(**{**fields, **changed})


EXPLAINED = {
    "actor_kind": "user",
    "actor_id": "ada",
    "operator": "ada@example.com",
    "reason": "asked for",
    "ticket_id": "T-1",
    "trace_id": "0" * 32,
}


@pytest.mark.parametrize("amount", ["granted_xusd", "spent_xusd", "reserved_xusd"])
def test_balance_amount_below_zero(balance, amount):
    assert (
        violated(update(balance, **{amount: -1}))
        == "credit_balance_amounts_are_not_negative"
    )


@pytest.mark.parametrize(
    "amounts",
    [
        {"spent_xusd": 501},
        {"reserved_xusd": 501},
        {"spent_xusd": 250, "reserved_xusd": 251},
        {"granted_xusd": 0, "spent_xusd": 1},
        {
            "granted_xusd": INT64_MAX,
            "spent_xusd": INT64_MAX,
            "reserved_xusd": INT64_MAX,
        },
    ],
)
def test_balance_overdrawn(balance, amounts):
    assert violated(update(balance, **amounts)) == "credit_balance_is_never_overdrawn"


def test_balance_at_its_limits_is_accepted(balance):
    update(balance, granted_xusd=INT64_MAX, spent_xusd=1, reserved_xusd=INT64_MAX - 1)()

    balance.refresh_from_db()
    assert balance.available_xusd == 0


def test_second_balance_of_a_user(balance):
    twin = CreditBalance(
        user_id=balance.user_id,
        realm_id=balance.realm_id,
        account_id=balance.account_id,
    )

    assert violated(lambda: twin.save(force_insert=True)) in {
        "credit_balances_pkey",
        "credit_balance_once_per_user",
    }


def test_balance_of_another_realm_than_its_user(user, other_realm):
    stray = CreditBalance(user=user, realm=other_realm, account_id=user.account_id)

    assert (
        violated(lambda: stray.save(force_insert=True))
        == "credit_balance_of_a_user_of_its_account"
    )


def test_balance_of_another_account_than_its_user(user, make_user, realm):
    neighbor = make_user(realm, "u-2", principal="globex")
    stray = CreditBalance(user=user, realm=realm, account_id=neighbor.account_id)

    assert (
        violated(lambda: stray.save(force_insert=True))
        == "credit_balance_of_a_user_of_its_account"
    )


@pytest.mark.parametrize(
    ("changed", "constraint"),
    [
        ({"kind": "gift", **EXPLAINED}, "credit_entry_kind_is_known"),
        (
            {"amount_xusd": 0, "kind": "correction", **EXPLAINED},
            "credit_entry_amount_is_not_zero",
        ),
        ({"amount_xusd": 1}, "credit_entry_sign_follows_kind"),
        (
            {"amount_xusd": -1, "kind": "credit", **EXPLAINED},
            "credit_entry_sign_follows_kind",
        ),
        ({"source_ref": ""}, "credit_entry_source_is_1_to_255_characters"),
        ({"source_ref": " \t"}, "credit_entry_source_is_1_to_255_characters"),
        ({"source_ref": "x" * 256}, "credit_entry_source_is_1_to_255_characters"),
        ({"idempotency_key": " "}, "credit_entry_idempotency_key_is_not_blank"),
        *(
            (
                {"amount_xusd": 1, "kind": kind, **EXPLAINED, name: " "},
                "credit_entry_is_explained_unless_a_spend",
            )
            for name in EXPLAINED
            for kind in ("credit", "correction")
        ),
    ],
)
def test_entry_that_breaks_a_rule(balance, at, changed, constraint):
    entry = entry_of(balance, at, **changed)

    assert violated(entry.save) == constraint


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"source_ref": "x" * 255},
        {"kind": "correction", "amount_xusd": -5, **EXPLAINED},
        {"kind": "correction", "amount_xusd": 5, **EXPLAINED},
        {"kind": "credit", "amount_xusd": INT64_MAX, **EXPLAINED},
    ],
)
def test_entry_within_the_rules_is_accepted(balance, at, changed):
    entry_of(balance, at, **changed).save()

    assert CreditEntry.objects.filter(user_id=balance.pk).count() == 2


def test_second_entry_of_a_source(balance, at):
    entry_of(balance, at).save()

    assert violated(entry_of(balance, at).save) == "credit_entry_once_per_source"


def test_second_entry_of_an_idempotency_key(balance, at):
    entry_of(balance, at, idempotency_key="k").save()
    again = entry_of(balance, at, idempotency_key="k", source_ref="lease:2")

    assert violated(again.save) == "credit_entry_once_per_idempotency_key"


def test_entry_of_a_user_without_balance(balance, user, make_user, realm, at):
    other = make_user(realm, "u-2")

    assert (
        violated(entry_of(balance, at, user_id=other.pk).save)
        == "credit_entry_of_a_balance_of_its_account"
    )


@pytest.mark.parametrize("column", ["realm_id", "account_id", "user_id"])
def test_entry_that_points_elsewhere(balance, at, make_user, other_realm, column):
    stranger = make_user(other_realm)
    elsewhere = {
        "realm_id": other_realm.pk,
        "account_id": stranger.account_id,
        "user_id": new_id(),
    }
    entry = entry_of(balance, at, **{column: elsewhere[column]})

    assert violated(entry.save) == "credit_entry_of_a_balance_of_its_account"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credit_entries SET amount_xusd = 1",
        "DELETE FROM credit_entries",
        "TRUNCATE credit_entries",
    ],
)
def test_entries_only_grow(balance, statement):
    with (
        pytest.raises(DatabaseError) as refusal,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert refusal.value.__cause__.sqlstate == APPEND_ONLY


@pytest.mark.parametrize("column", ["realm_id", "account_id", "user_id"])
def test_balance_stays_with_its_user(balance, make_user, other_realm, column):
    stranger = make_user(other_realm)
    elsewhere = {
        "realm_id": other_realm.pk,
        "account_id": stranger.account_id,
        "user_id": stranger.pk,
    }

    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        update(balance, **{column: elsewhere[column]})()

    assert refusal.value.__cause__.sqlstate == APPEND_ONLY


def test_balance_with_entries_cannot_be_deleted(balance):
    def delete():
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM credit_balances WHERE user_id = %s", [balance.pk]
            )

    assert violated(delete) == "credit_entry_of_a_balance_of_its_account"


def test_no_index_covers_what_a_reservation_changes(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a"
            " ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
            " WHERE i.indrelid = 'credit_balances'::regclass"
        )
        indexed = {name for (name,) in cursor.fetchall()}

    assert indexed == {"realm_id", "account_id", "user_id"}


def test_every_constraint_of_the_app_has_a_case_here(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conname ~ '^credit_(balance|entry)_'"
            " UNION SELECT indexname FROM pg_indexes WHERE indexname ~ '^credit_entry_'"
        )
        names = {name for (name,) in cursor.fetchall()}
    here = Path(__file__).read_text()

    assert len(names) == 13
    assert [name for name in sorted(names) if name not in here] == []
