"""Bringing a user up to date: all is bound and locked before the first lot is issued."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import BillingUser
from config.tenancy.history import auditing
from grants.models import GrantEnrollment
from grants.services.refresh import enroll_newcomer, refresh_user
from tests.grants.giving import (
    amounts,
    bind,
    day,
    give_plan,
    make_program,
    plan_with,
)


@pytest.fixture
def planned(realm, account, user, at, by):
    """A plan that gives 100 a month, and everybody's program that gives 7."""
    make_program(realm, at, by)
    make_program(
        realm,
        at,
        by,
        program_code="all",
        amount_xusd=7,
        eligibility_kind="all_accounts",
    )
    plan = plan_with(realm, at, by, {"grant_program_code": "perk", "amount_xusd": 100})
    return give_plan(account, plan, at, by)


def set_status(user, status, at, by):
    with auditing(by, at=at):
        BillingUser.objects.filter(pk=user.pk).update(status=status)
    user.refresh_from_db()


def assert_locks_before_it_posts(captured):
    """What was locked of assignments was locked before any ledger account."""
    said = [query["sql"] for query in captured.captured_queries]
    locks = [
        number
        for number, sql in enumerate(said)
        if 'FROM "grant_assignments"' in sql and "FOR NO KEY UPDATE" in sql
    ]
    bindings = [n for n, sql in enumerate(said) if 'INTO "grant_assignments"' in sql]
    posts = [n for n, sql in enumerate(said) if '"ledger_accounts"' in sql]
    assert locks
    assert posts
    assert max(locks + bindings) < min(posts)


def test_newly_active_user_is_bound_to_all_before_any_of_it_issues(
    request, user, at, by
):
    set_status(user, "disabled", at, by)
    request.getfixturevalue("planned")
    set_status(user, "active", at, by)

    with CaptureQueriesContext(connection) as captured:
        enroll_newcomer(subject=user, at=at, by=by)

    assert sorted(amounts(user)) == [7, 100]
    assert_locks_before_it_posts(captured)


def test_refreshed_user_is_bound_to_all_before_any_of_it_issues(
    realm, account, user, planned, at, by
):
    other = make_program(realm, at, by, program_code="other", amount_xusd=5)
    bind(user, other, at, by)
    GrantEnrollment.objects.filter(user=user).update(fingerprint="stale")

    with CaptureQueriesContext(connection) as captured:
        new = refresh_user(user=user, at=at, by=by)

    assert (new, sorted(amounts(user))) == (1, [5, 100])
    assert_locks_before_it_posts(captured)


def test_refresh_gives_what_is_due_now_also_after_a_long_time(realm, user, at, by):
    start = day("2020-01-01")
    program = make_program(realm, at, by, cadence="daily")
    bind(user, program, at, by, start=start)

    assert refresh_user(user=user, at=at, by=by) == 121
    assert user.grant_lots.filter(period_start=day("2026-03-10")).count() == 1
