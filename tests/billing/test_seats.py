"""The seats of an account: never more active users than it has."""

import time

import pytest
from django.db import transaction
from vlunaai.generated import billing_mgt_models as wire

from billing.models import BillingAccount, BillingUser
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.users import (
    SeatCapacityExceeded,
    change_user,
    ensure_user,
)
from config.tenancy.history import auditing
from tests.billing.answers import read, refusal
from tests.billing.people import user_of, users_named
from tests.billing.races import THREADS, race

SEATS = 5


def test_new_user_of_a_full_account_is_refused(api, users, full_account):
    answer = api.post(users, {"user_id": "u-3"})

    assert refusal(answer) == (403, "SEAT.CAPACITY_EXCEEDED", None)
    assert (
        answer.json()["message"]
        == "All 1 seats of account acme are taken (1 active users)."
    )
    assert answer.json()["meta"]["details"] == {
        "billing_account_id": str(full_account.pk),
        "seat_limit": 1,
        "active_user_count": 1,
    }
    assert not full_account.users.filter(business_user_id="u-3").exists()


@pytest.mark.parametrize("way", ["create", "patch", "restore"])
def test_reactivation_needs_a_seat(api, users, full_account, way):
    waiting = user_of(full_account, "u-2")

    answer = {
        "create": lambda: api.post(users, {"user_id": "u-2", "metadata": {"a": 1}}),
        "patch": lambda: api.patch(f"billing-users/{waiting.pk}", {"status": "active"}),
        "restore": lambda: api.post(f"billing-users/{waiting.pk}/restore"),
    }[way]()

    assert refusal(answer) == (403, "SEAT.CAPACITY_EXCEEDED", None)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.metadata) == ("disabled", {})


def test_disabling_frees_a_seat(full_account, at, by):
    change_user(user=user_of(full_account, "u-1"), status="disabled", at=at, by=by)

    change_user(user=user_of(full_account, "u-2"), status="active", at=at, by=by)

    assert user_of(full_account, "u-2").status == "active"


def test_active_user_of_a_full_account_may_be_changed(api, full_account):
    active = user_of(full_account, "u-1")

    answer = api.patch(
        f"billing-users/{active.pk}", {"status": "active", "display_name": "U"}
    )

    assert read(answer, wire.BillingUserEnvelope)["display_name"] == "U"


def test_no_seat_at_all_admits_nobody(account, at, by):
    set_seat_limit(account=account, seat_limit=0, at=at, by=by)

    with pytest.raises(SeatCapacityExceeded):
        users_named(account, at, by, "u-1")


@pytest.fixture
def five_seats(committed_realm, at, by):
    """An account with five seats that threads can see."""
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    return set_seat_limit(account=account, seat_limit=SEATS, at=at, by=by)


def active_users(account):
    return BillingUser.objects.filter(account=account, status="active").count()


def test_users_added_at_once_take_exactly_the_seats(five_seats, at, by):
    def attempt(number):
        mine = BillingAccount.objects.get(pk=five_seats.pk)
        try:
            ensure_user(account=mine, business_user_id=f"u-{number}", at=at, by=by)
        except SeatCapacityExceeded:
            return 0
        return 1

    assert sum(race(attempt)) == SEATS
    assert active_users(five_seats) == SEATS


def test_control_counting_without_the_lock_admits_too_many(five_seats, at, by):
    def attempt(number):
        with transaction.atomic(), auditing(by, at=at):
            if active_users(five_seats) >= SEATS:
                return 0
            time.sleep(0.05)  # the time in which another thread counts the same
            BillingUser(
                realm_id=five_seats.realm_id,
                account=five_seats,
                business_user_id=f"u-{number}",
            ).save(force_insert=True)
        return 1

    assert sum(race(attempt)) > SEATS


def test_users_restored_at_once_take_exactly_the_seats(five_seats, at, by):
    set_seat_limit(account=five_seats, seat_limit=None, at=at, by=by)
    users = users_named(five_seats, at, by, *[f"u-{n}" for n in range(THREADS)])
    for user in users:
        change_user(user=user, status="disabled", at=at, by=by)
    set_seat_limit(account=five_seats, seat_limit=SEATS, at=at, by=by)

    def attempt(number):
        try:
            change_user(user=users[number], status="active", at=at, by=by)
        except SeatCapacityExceeded:
            return 0
        return 1

    assert sum(race(attempt)) == SEATS
    assert active_users(five_seats) == SEATS
