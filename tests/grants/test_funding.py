"""Reserving, releasing and settling against one balance."""

import pytest
from django.db.transaction import TransactionManagementError
from grants.selectors.balances import proof

from config.kernel.errors import Invalid
from grants.models import CreditBalance, CreditEntry
from grants.services.funding import (
    FundingExhausted,
    NotReserved,
    lock_balance,
    release,
    reserve,
    settle,
)

INT64_MAX = 2**63 - 1
NOT_AMOUNTS = [-1, INT64_MAX + 1, 10**400, True, 1.0, "1e3", None]


def numbers(balance):
    """Return (granted, spent, reserved) as passed and as stored; they must agree."""
    stored = CreditBalance.objects.get(pk=balance.pk)
    kept = (balance.granted_xusd, balance.spent_xusd, balance.reserved_xusd)
    assert kept == (stored.granted_xusd, stored.spent_xusd, stored.reserved_xusd)
    return kept


def spends(balance):
    return list(
        CreditEntry.objects.filter(user_id=balance.pk, kind="spend")
        .order_by("id")
        .values_list("source_ref", "amount_xusd")
    )


def test_lock_of_a_user_without_balance_makes_an_empty_one(user, at):
    balance = lock_balance(user=user, at=at)

    assert numbers(balance) == (0, 0, 0)
    assert (balance.realm_id, balance.account_id) == (user.realm_id, user.account_id)
    assert lock_balance(user=user, at=at) == balance


def test_lock_needs_a_transaction(committed_realm, make_user, at):
    user = make_user(committed_realm)

    with pytest.raises(TransactionManagementError):
        lock_balance(user=user, at=at)


def test_lock_takes_one_statement_once_the_balance_exists(
    balance, funded_user, at, django_assert_num_queries
):
    with django_assert_num_queries(1):
        lock_balance(user=funded_user, at=at)


def test_reserve_holds_the_amount(balance, at):
    reserve(balance, amount_xusd=200, at=at)

    assert numbers(balance) == (500, 0, 200)
    assert balance.available_xusd == 300


def test_reserve_of_everything_leaves_nothing(balance, at):
    reserve(balance, amount_xusd=500, at=at)

    assert balance.available_xusd == 0


def test_reserve_beyond_what_is_available_names_the_shortfall(balance, at):
    reserve(balance, amount_xusd=450, at=at)

    with pytest.raises(FundingExhausted) as refusal:
        reserve(balance, amount_xusd=75, at=at)

    assert (refusal.value.status, refusal.value.code) == (402, "FUNDING.EXHAUSTED")
    assert refusal.value.hints == [
        {"type": "funding.xusd_shortfall", "shortfall_xusd": 25}
    ]
    assert (
        refusal.value.message
        == "The balance has 50 xusd available; 75 xusd are needed."
    )
    assert numbers(balance) == (500, 0, 450)


def test_reserve_of_the_largest_amount_is_exhausted_not_an_overflow(balance, at):
    with pytest.raises(FundingExhausted) as refusal:
        reserve(balance, amount_xusd=INT64_MAX, at=at)

    assert refusal.value.hints[0]["shortfall_xusd"] == INT64_MAX - 500


def test_release_gives_back(balance, at):
    reserve(balance, amount_xusd=200, at=at)

    release(balance, amount_xusd=150, at=at)

    assert numbers(balance) == (500, 0, 50)


@pytest.mark.parametrize("amount", [201, INT64_MAX])
def test_release_of_more_than_is_reserved(balance, at, amount):
    reserve(balance, amount_xusd=200, at=at)

    with pytest.raises(NotReserved) as refusal:
        release(balance, amount_xusd=amount, at=at)

    assert refusal.value.message == (
        f"The balance holds 200 xusd in reserve; {amount} xusd cannot be released."
    )
    assert numbers(balance) == (500, 0, 200)


@pytest.mark.parametrize(
    ("spend", "spent", "after"),
    [
        (0, 0, (500, 0, 100)),
        (80, 80, (500, 80, 100)),
        (200, 200, (500, 200, 100)),
        (400, 400, (500, 400, 100)),
        (401, 400, (500, 400, 100)),
        (INT64_MAX, 400, (500, 400, 100)),
    ],
)
def test_settle_spends_what_is_there_and_nobody_elses_reserve(
    balance, at, spend, spent, after
):
    reserve(balance, amount_xusd=100, at=at)
    reserve(balance, amount_xusd=200, at=at)

    answer = settle(
        balance, reserved_xusd=200, spend_xusd=spend, source_ref="lease:1", at=at
    )

    assert answer == spent
    assert numbers(balance) == after
    assert spends(balance) == ([("lease:1", -spent)] if spent else [])
    assert proof(balance).holds


def test_settle_without_a_reservation(balance, at):
    assert (
        settle(balance, reserved_xusd=0, spend_xusd=30, source_ref="ingest:1", at=at)
        == 30
    )
    assert numbers(balance) == (500, 30, 0)


def test_settle_again_changes_nothing(balance, at):
    reserve(balance, amount_xusd=300, at=at)
    first = settle(
        balance, reserved_xusd=100, spend_xusd=80, source_ref="lease:1", at=at
    )

    second = settle(
        balance, reserved_xusd=100, spend_xusd=80, source_ref="lease:1", at=at
    )

    assert (first, second) == (80, 80)
    assert numbers(balance) == (500, 80, 200)
    assert spends(balance) == [("lease:1", -80)]


def test_settle_of_more_than_is_reserved(balance, at):
    reserve(balance, amount_xusd=10, at=at)

    with pytest.raises(NotReserved):
        settle(balance, reserved_xusd=11, spend_xusd=5, source_ref="lease:1", at=at)

    assert numbers(balance) == (500, 0, 10)
    assert spends(balance) == []


def test_settle_sees_what_was_stored_since_the_balance_was_read(balance, at):
    stale = CreditBalance.objects.get(pk=balance.pk)
    reserve(balance, amount_xusd=450, at=at)

    assert (
        settle(stale, reserved_xusd=0, spend_xusd=100, source_ref="ingest:1", at=at)
        == 50
    )
    assert numbers(stale) == (500, 50, 450)


@pytest.mark.parametrize(
    ("source_ref", "sentence"),
    [
        ("", "source_ref must be printable text."),
        ("  ", "source_ref must be printable text."),
        ("a\0b", "source_ref must be printable text."),
        ("a\nb", "source_ref must be printable text."),
        ("\u202egate", "source_ref must be printable text."),
        ("\ud800", "source_ref must be printable text."),
        ("x" * 256, "source_ref has 256 characters; the most is 255."),
    ],
)
def test_settle_with_a_bad_source(balance, at, source_ref, sentence):
    with pytest.raises(Invalid) as refusal:
        settle(balance, reserved_xusd=0, spend_xusd=1, source_ref=source_ref, at=at)

    assert (refusal.value.field, refusal.value.message) == ("source_ref", sentence)


@pytest.mark.parametrize("amount", NOT_AMOUNTS)
def test_amounts_that_are_none(balance, at, amount):
    calls = {
        "amount_xusd": [
            lambda: reserve(balance, amount_xusd=amount, at=at),
            lambda: release(balance, amount_xusd=amount, at=at),
        ],
        "reserved_xusd": [
            lambda: settle(
                balance, reserved_xusd=amount, spend_xusd=0, source_ref="s", at=at
            ),
        ],
        "spend_xusd": [
            lambda: settle(
                balance, reserved_xusd=0, spend_xusd=amount, source_ref="s", at=at
            ),
        ],
    }
    for field, attempts in calls.items():
        for attempt in attempts:
            with pytest.raises(Invalid) as refusal:
                attempt()
            assert refusal.value.field == field

    assert numbers(balance) == (500, 0, 0)


def test_amounts_of_zero_write_nothing(balance, at, django_assert_num_queries):
    with django_assert_num_queries(0):
        reserve(balance, amount_xusd=0, at=at)
        release(balance, amount_xusd=0, at=at)

    assert settle(balance, reserved_xusd=0, spend_xusd=0, source_ref="s", at=at) == 0
    assert spends(balance) == []


def test_the_largest_balance_can_be_reserved_and_spent(user, credit, at):
    credit(user, INT64_MAX)
    balance = lock_balance(user=user, at=at)

    reserve(balance, amount_xusd=INT64_MAX, at=at)
    spent = settle(
        balance, reserved_xusd=INT64_MAX, spend_xusd=INT64_MAX, source_ref="s", at=at
    )

    assert spent == INT64_MAX
    assert numbers(balance) == (INT64_MAX, INT64_MAX, 0)
    assert proof(balance).holds
