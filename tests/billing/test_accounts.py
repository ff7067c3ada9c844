"""Billing accounts: who pays, with how many seats."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import BillingAccount
from billing.selectors.users import seat_summary
from billing.services.accounts import (
    ensure_account,
    set_seat_limit,
)
from billing.services.plans import upsert_plan
from billing.services.users import change_user, ensure_user
from config.kernel.errors import Invalid
from config.tenancy.models import DomainEvent
from tests.billing.answers import explained, invalid, read, refusal
from tests.billing.people import accounts_named
from tests.billing.races import race


def test_account_is_created_once_per_principal(realm, at, by):
    first, again, other = accounts_named(realm, at, by, "acme", "acme", "globex")

    assert again == first
    assert other != first
    assert (first.seat_limit, first.seat_limit_source) == (None, None)


def test_principal_of_another_realm_is_another_account(realm, other_realm, at, by):
    (here,) = accounts_named(realm, at, by, "acme")
    (there,) = accounts_named(other_realm, at, by, "acme")

    assert here != there


@pytest.mark.parametrize(
    ("seat_limit", "seats"),
    [
        (5, 5),
        (0, 0),
        ("12", 12),
        ({"limit": 5}, 5),
        ({"mode": "fixed", "limit": 7}, 7),
        ({"mode": "per_unit", "seats_per_unit": 3}, 3),
        ({"mode": "unlimited"}, None),
        ({"unlimited": True}, None),
        (None, None),
    ],
)
def test_new_account_has_the_seats_of_the_default_plan(
    realm, at, by, seat_limit, seats
):
    upsert_plan(
        realm=realm,
        plan_code="default_billing_plan",
        name="Default",
        kind="base",
        metadata={"seat_limit": seat_limit},
        at=at,
        by=by,
    )

    (account,) = accounts_named(realm, at, by, "acme")

    assert account.seat_limit == seats
    assert account.seat_limit_source == (None if seats is None else "default")
    assert account.seat_limit_updated_at == (None if seats is None else at)


def test_first_sights_at_once_make_one_account(committed_realm, at, by):
    def attempt(_):
        return ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)

    seen = {account.pk for account in race(attempt)}

    assert len(seen) == 1
    assert BillingAccount.objects.in_realm(committed_realm).count() == 1


def test_seat_limit_is_set_by_staff(account, at, by):
    changed = set_seat_limit(account=account, seat_limit=5, at=at, by=by)

    assert (changed.seat_limit, changed.seat_limit_source) == (5, "ops.manual")
    assert changed.seat_limit_updated_at == at
    assert explained(changed)[-1] == (by.operator, by.reason, by.ticket_id, at)


def test_unlimited_set_by_staff_is_no_longer_unset(account, at, by):
    changed = set_seat_limit(account=account, seat_limit=None, at=at, by=by)

    assert (changed.seat_limit, changed.seat_limit_source) == (None, "ops.manual")


def test_confirming_the_default_limit_makes_it_the_staffs(realm, at, by, make_plan):
    make_plan("default_billing_plan", metadata={"seat_limit": 5})
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)

    changed = set_seat_limit(account=account, seat_limit=5, at=at, by=by)

    assert changed.seat_limit_source == "ops.manual"


def test_setting_the_same_limit_again_writes_nothing(account, at, by):
    set_seat_limit(account=account, seat_limit=5, at=at, by=by)

    later = at + timedelta(days=1)
    again = set_seat_limit(account=account, seat_limit=5, at=later, by=by)

    assert again.seat_limit_updated_at == at
    assert again.history.count() == 2


def test_seat_limit_beyond_its_range_is_refused(account, at, by):
    with pytest.raises(Invalid, match="0 to 2147483647") as refused:
        set_seat_limit(account=account, seat_limit=2**31, at=at, by=by)

    assert refused.value.field == "seat_limit"


def test_lower_limit_disables_nobody(account, at, by):
    for name in ("u-1", "u-2", "u-3"):
        ensure_user(account=account, business_user_id=name, at=at, by=by)

    account = set_seat_limit(account=account, seat_limit=2, at=at, by=by)

    seats = seat_summary(account)
    assert (seats.active, seats.available, seats.over_limit) == (3, 0, True)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(5, 5), ("5", 5), (0, 0), (None, None), (2147483647, 2147483647)],
)
def test_seat_limit_is_patched(api, account, sent, stored):
    answer = api.patch(f"billing-accounts/{account.pk}", {"seat_limit": sent})

    data = read(answer, wire.BillingAccountEnvelope)
    assert (data["seat_limit"], data["seat_limit_source"]) == (stored, "ops.manual")
    assert (
        read(api.get(f"billing-accounts/{account.pk}"), wire.BillingAccountEnvelope)
        == data
    )


@pytest.mark.parametrize(
    "sent",
    [-1, "-1", "05", "five", "", 1.5, True, [], {}, 2**31, "99999999999999999999"],
)
def test_bad_seat_limit_is_refused(api, account, sent):
    answer = api.patch(f"billing-accounts/{account.pk}", {"seat_limit": sent})

    assert refusal(answer) == invalid("seat_limit")
    account.refresh_from_db()
    assert account.seat_limit is None


@pytest.mark.parametrize("sent", [{}, {"audit": {"operator": "ada"}}])
def test_patch_without_seat_limit_is_refused(api, account, sent):
    assert refusal(api.patch(f"billing-accounts/{account.pk}", sent)) == invalid(
        "seat_limit"
    )


def test_unknown_field_is_refused(api, account):
    answer = api.patch(f"billing-accounts/{account.pk}", {"seat_limit": 1, "seats": 1})

    assert refusal(answer) == invalid("seats")


def test_seat_summary_counts_users_by_status(api, account, at, by):
    users = [
        ensure_user(account=account, business_user_id=f"u-{n}", at=at, by=by)
        for n in range(4)
    ]
    change_user(user=users[0], status="disabled", at=at, by=by)
    change_user(user=users[1], status="deleted", at=at, by=by)
    set_seat_limit(account=account, seat_limit=5, at=at, by=by)

    answer = api.get(f"billing-accounts/{account.pk}/seat-summary")

    assert read(answer, wire.BillingAccountSeatSummaryEnvelope) == {
        "billing_account_id": str(account.pk),
        "seat_limit": 5,
        "seat_limit_source": "ops.manual",
        "seat_limit_updated_at": "2026-03-10T12:00:00.000000Z",
        "active_user_count": 2,
        "disabled_user_count": 1,
        "deleted_user_count": 1,
        "available_seats": 3,
        "over_limit": False,
    }


def test_seat_limit_set_is_recorded_once(account, realm, at, by):
    for _ in range(2):
        set_seat_limit(account=account, seat_limit=3, at=at, by=by)

    [event] = DomainEvent.objects.in_realm(realm).filter(kind="billing_account.changed")
    assert event.payload == {"seat_limit": 3}
