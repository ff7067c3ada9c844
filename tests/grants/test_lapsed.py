"""Grants of billing periods, while the account has none: its plan or subscription ran out."""

from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from billing.policies.periods import BillingPeriod, Subscription
from billing.selectors import subscriptions
from config.kernel.windows import Window
from config.tenancy.services.realms import change_realm
from grants.models import GrantProgram
from grants.schedule import Binding, Schedule, due_slots
from grants.services.binding_sweep import sweep_bindings
from grants.services.issuance import issue_for_all
from grants.services.refresh import refresh_user
from tests.grants.giving import bind, day, give_plan, lots_of, plan_with

OF_BILLING_PERIODS = Schedule("billing_period", "calendar_start", "period")
BY_SUBSCRIPTION = {
    "billing_defaults": {"period": {"issue_anchor": "subscription_period_start"}}
}


@pytest.fixture
def subscribe():
    """Let accounts have a subscription over each of these windows."""
    before = list(subscriptions._readers)
    yield lambda *terms: subscriptions.register_subscription_reader(
        lambda account_id, at: [
            Subscription(UUID(int=number), "active", term)
            for number, term in enumerate(terms)
        ]
    )
    subscriptions._readers[:] = before


@pytest.fixture
def bound(realm, user, at, by):
    """A binding that gives 5 xusd per billing period of a subscription."""
    change_realm(realm=realm, name="r", metadata=BY_SUBSCRIPTION, at=at, by=by)
    user.account.realm.refresh_from_db()
    program = GrantProgram.objects.get(realm=realm, program_code="period_xusd")
    return bind(user, program, day("2026-04-01"), by, amount_xusd=5)


def periods(user):
    return [
        (str(lot.period_start)[:10], str(lot.period_end)[:10]) for lot in lots_of(user)
    ]


def window(start, end):
    return Window(day(start), day(end))


BEFORE = window("2026-04-10", "2026-06-10")
AFTER = window("2026-08-05T08:00", "2026-10-05T08:00")


def test_who_lapsed_is_looked_at_again_and_fails_nothing(user, bound, subscribe, by):
    subscribe(BEFORE)

    with capture_logs() as logs:
        swept = [
            sweep_bindings(at=day(text), by=by)
            for text in ("2026-07-01", "2026-07-01T00:05", "2026-08-04")
        ]

    assert [(each.issued, each.failed) for each in swept] == [(2, []), (0, []), (0, [])]
    assert logs == []
    assert periods(user) == [("2026-04-10", "2026-05-10"), ("2026-05-10", "2026-06-10")]


def test_the_period_in_which_the_plan_comes_back_is_given(user, bound, subscribe, by):
    subscribe(BEFORE)
    sweep_bindings(at=day("2026-08-05T07:00"), by=by)
    subscribe(BEFORE, AFTER)

    back = sweep_bindings(at=day("2026-08-05T09:00"), by=by)

    assert (back.issued, back.failed, back.more) == (1, [], False)
    assert periods(user)[2:] == [("2026-08-05", "2026-09-05")]


def test_a_gap_that_nobody_looked_into_keeps_no_period_waiting(
    user, bound, subscribe, by
):
    subscribe(BEFORE, AFTER)

    swept = sweep_bindings(at=day("2026-09-10"), by=by)

    assert swept.issued == 4
    assert periods(user)[2:] == [
        ("2026-08-05", "2026-09-05"),
        ("2026-09-05", "2026-10-05"),
    ]


def test_a_plan_whose_periods_are_the_calendars_comes_back(
    realm, account, user, bound, at, by
):
    plan = plan_with(
        realm, at, by,
        code="calendar", priority=9,
        metadata={"billing_defaults": {"period": {"issue_anchor": "calendar_start"}}},
    )  # fmt: skip
    came = day("2026-04-20")
    sweep_bindings(at=came, by=by)
    give_plan(account, plan, came, by.effective(came), end=day("2026-05-15"))

    swept = [
        sweep_bindings(at=day(text), by=by) for text in ("2026-04-21", "2026-06-20")
    ]

    assert [each.failed for each in swept] == [[], []]
    assert periods(user) == [("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01")]


def test_giving_to_who_lapsed_leaves_it_to_the_sweep(user, bound, by):
    later = day("2026-04-20")

    assert issue_for_all([bound], at=later, by=by) == [(None, False)]
    assert refresh_user(user=user, at=later, by=by) == 0
    assert lots_of(user) == []


def billing_in(*windows):
    def read(at):
        found = next((each for each in windows if each.contains(at)), None)
        return found and BillingPeriod(found.start, found)

    return read


@pytest.mark.parametrize("limit", [1, 2, 7, 120])
@pytest.mark.parametrize("step", [timedelta(hours=5), timedelta(days=400)])
def test_each_period_beside_gaps_comes_once_however_often_one_looks(limit, step):
    there = [
        window("2026-01-01", "2026-02-01"),
        window("2026-02-01", "2026-03-01"),
        window("2026-03-01T00:01", "2026-03-02T00:01"),
        window("2026-06-05T08:00", "2026-07-05T08:00"),
        window("2026-08-01", "2026-09-01"),
    ]
    start, end = day("2025-12-01"), day("2026-10-01")
    binding, billing = Binding(Window(start), start), billing_in(*there)

    until, since, found, looked = start, start, [], []
    while until < end:
        until = min(until + step, end)
        while since <= until:
            due = due_slots(
                OF_BILLING_PERIODS, binding,
                since=since, until=until, limit=limit, billing=billing,
            )  # fmt: skip
            found += [slot.period for slot in due.slots]
            since = due.resume_at
            looked.append(since)

    assert found == there
    assert all(one < after for one, after in pairwise(looked))
