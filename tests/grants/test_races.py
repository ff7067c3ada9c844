"""Many at once against one user's lots: real threads, real transactions.

Each race has a control: the same race without its guard, which must go wrong. A race
whose control stays right proves nothing.
"""

import time

import pytest
from django.db import OperationalError, transaction

from billing.models import BillingUser
from config.kernel.errors import Conflict
from config.kernel.ids import new_id
from grants.models import GrantLot
from grants.services.credits import ensure_credit
from grants.services.funding import FundingExhausted, hold, settle
from tests.gating.mutants import mutated, without_marked
from tests.grants.racing import race
from tests.tools.purse import adds_up, purse, spent
from tests.tools.tables import run

THREADS = 20
SOUND_COLUMNS = (
    "amount_xusd", "consumed_xusd", "settled_xusd", "reserved_xusd", "paid_xusd", "kind", "status", "closure_kind", "closed_at", "closed_remaining_xusd", "window_start", "window_end", "period_start", "period_end", "source_kind", "outstanding_policy", "assignment_id", "carried_from_id", "source_ref", "issue_key", "metadata",
)  # fmt: skip


def until_it_holds(work):
    """Try a whole transaction again while others move what it looked at."""
    while True:
        try:
            with transaction.atomic():
                return work()
        except OperationalError:
            time.sleep(0.001)


@pytest.fixture
def racing_user(committed_realm, make_user, credit):
    """A user with 500 xusd on two lots that every thread can see."""
    user = make_user(committed_realm)
    credit(user, 260, "inv-1")
    credit(user, 240, "inv-2")
    return user


def hold_75_each(user, at):
    """Return how many of the threads were admitted; nothing is locked beforehand."""

    def attempt(_):
        try:
            until_it_holds(lambda: hold(user=user, amount_xusd=75, at=at))
        except FundingExhausted:
            return 0
        return 1

    return sum(race(attempt))


def test_holding_at_once_admits_exactly_what_fits(racing_user, at):
    assert hold_75_each(racing_user, at) == 6
    assert purse(racing_user).reserved_xusd == 6 * 75


def slowly(text):
    """Widen the time between looking at a lot and taking from it."""
    return text.replace("v_take := least(v_left, lot.free);", "v_take := least(v_left, lot.free); PERFORM pg_sleep(0.05);")  # fmt: skip


def test_holding_at_once_is_exact_however_slow(racing_user, at):
    with mutated({"lots": slowly}):
        assert hold_75_each(racing_user, at) == 6


def test_control_holding_without_the_guards_admits_too_many(racing_user, at):
    """Both are off: that of the statement, and that of the row."""
    run("ALTER TABLE grant_lots DROP CONSTRAINT grant_lots_are_sound")
    try:
        with mutated({"lots": lambda text: slowly(without_marked("guard")(text))}):
            admitted = hold_75_each(racing_user, at)
    finally:
        GrantLot.objects.filter(user=racing_user).update(reserved_xusd=0)
        run(
            "ALTER TABLE grant_lots ADD CONSTRAINT grant_lots_are_sound CHECK (grant_lots_is_sound("
            + ", ".join(SOUND_COLUMNS)
            + "))"
        )
    assert admitted * 75 > 500


def test_settlements_at_once_never_overdraw(racing_user, at):
    def attempt(number):
        def spend():
            left = purse(racing_user).available_xusd
            amount = min(75, left)
            settle(
                user=racing_user,
                spend_xusd=amount,
                source_ref=f"lease:{number}",
                at=at,
            )
            return amount

        return until_it_holds(spend)

    taken = race(attempt)

    assert sorted(taken) == [0] * 13 + [50] + [75] * 6
    assert purse(racing_user).spent_xusd == 500
    assert sum(spent(racing_user).values()) == 500
    assert adds_up(racing_user)


def test_one_credit_given_at_once_counts_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)

    answers = race(
        lambda _: ensure_credit(
            user=user, amount_xusd=40, source_ref="inv-1", at=at, by=by
        )
    )

    assert len({lot.pk for lot, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert purse(user).granted_xusd == 40


def test_one_source_with_two_amounts_at_once_keeps_one(
    committed_realm, make_user, at, by
):
    user = make_user(committed_realm)

    def attempt(number):
        amount = 40 + number % 2
        try:
            ensure_credit(
                user=user, amount_xusd=amount, source_ref="inv-1", at=at, by=by
            )
        except Conflict:
            return None
        return amount

    kept = set(race(attempt)) - {None}

    assert len(kept) == 1
    assert purse(user).granted_xusd in kept


def test_different_credits_at_once_all_count(committed_realm, make_user, at, by):
    user = make_user(committed_realm)

    race(
        lambda number: ensure_credit(
            user=user, amount_xusd=number + 1, source_ref=f"inv-{number}", at=at, by=by
        )
    )

    assert purse(user).granted_xusd == sum(range(1, THREADS + 1))
    [balance] = user.ledger_accounts.filter(kind="wallet").values_list(
        "balance_xusd", flat=True
    )
    assert balance == sum(range(1, THREADS + 1))


def test_control_giving_without_the_users_lock_gives_twice_or_fails(
    committed_realm, make_user, at, by, monkeypatch
):
    """What the row lock is for: without it, repeats collide instead of agreeing."""
    user = make_user(committed_realm)
    unlocked = BillingUser.objects.all()
    monkeypatch.setattr(
        type(unlocked), "select_for_update", lambda self, **options: self
    )

    def attempt(_):
        try:
            ensure_credit(user=user, amount_xusd=40, source_ref="inv-1", at=at, by=by)
        except Exception as failure:  # noqa: BLE001 - whichever belt caught it.
            return type(failure).__name__
        return None

    failures = [name for name in race(attempt) if name]
    print(f"\nwithout the lock: {len(failures)} of {THREADS} failed ({new_id()})")
    assert failures
