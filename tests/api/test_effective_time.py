"""A change that holds at once is not said to hold only later."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from billing.services.accounts import set_seat_limit
from billing.services.assignments import Identity, assign_plan, change_assignment
from billing.services.plans import upsert_plan
from billing.services.users import change_user, create_user
from config.kernel.audit import MOST_AHEAD, NotYetEffective
from config.kernel.clock import now
from config.kernel.windows import Window, format_instant
from config.tenancy.models import Realm
from config.tenancy.services.realms import create_realm, set_realm_status
from config.tenancy.services.service_keys import (
    create_service_key,
    rotate_service_key,
    set_service_key_status,
)
from tests.billing.answers import refusal

REFUSED = (422, "AUDIT.EFFECTIVE_IN_FUTURE", "audit.effective_at")
LATER = timedelta(days=365)


def explained(when):
    return {
        "operator": "ada",
        "reason": "because",
        "ticket_id": "T-1",
        "effective_at": when if isinstance(when, str) else format_instant(when),
    }


@pytest.fixture
def plan(realm, at, by):
    return upsert_plan(
        realm=realm, plan_code="pro", name="Pro", kind="base", at=at, by=by
    )[0]


def writes(account, user, plan):
    """Writes of the API that hold as soon as they are made."""
    return [
        ("PATCH", f"billing-plans/{plan.pk}", {"priority": 9}),
        ("POST", "billing-plans", {"plan_code": "new", "name": "New", "kind": "base"}),
        ("PATCH", f"billing-accounts/{account.pk}", {"seat_limit": 3}),
        ("POST", f"billing-accounts/{account.pk}/users", {"user_id": "new"}),
        ("POST", f"billing-users/{user.pk}/disable", {}),
        ("POST", "feature-families", {"feature_family_code": "x"}),
        ("POST", "meters", {"meter_code": "x"}),
        ("POST", "gate/policy-bundles", {"bundle_key": "x"}),
        ("PATCH", f"billing-accounts/{account.pk}/billing-details", {"legal_name": "X"}),
        (
            "POST",
            f"billing-users/{user.pk}/credits",
            {"amount_xusd": "1", "source_ref": "s"},
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(10))
def test_write_that_holds_at_once_refuses_a_later_time(
    api, account, user, plan, number
):
    method, path, document = writes(account, user, plan)[number]
    late = {**document, "audit": explained("2099-01-01T00:00:00Z")}
    soon = {**document, "audit": explained(now() + timedelta(minutes=4))}

    assert refusal(api.request(method, path, late)) == REFUSED
    assert api.request(method, path, soon).status_code in {200, 201}


VERBS = {
    "suspend a realm": lambda realm, user, **how: set_realm_status(
        realm=realm, status="suspended", **how
    ),
    "create a realm": lambda realm, user, **how: create_realm(realm_id="new", **how),
    "create a key": lambda realm, user, **how: create_service_key(realm=realm, **how),
    "disable a user": lambda realm, user, **how: change_user(
        user=user, status="disabled", **how
    ),
    "add a user": lambda realm, user, **how: create_user(
        account=user.account, business_user_id="new", metadata={}, **how
    ),
    "set a seat limit": lambda realm, user, **how: set_seat_limit(
        account=user.account, seat_limit=5, **how
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verb_that_holds_at_once_refuses_a_later_time(realm, user, at, by, verb):
    late = replace(by, effective_at=at + MOST_AHEAD + timedelta(microseconds=1))

    with pytest.raises(NotYetEffective) as problem:
        VERBS[verb](realm, user, at=at, by=late)

    assert problem.value.field == "audit.effective_at"
    assert Realm.objects.get(pk=realm.pk).status == "active"
    VERBS[verb](realm, user, at=at, by=replace(by, effective_at=at + MOST_AHEAD))


@pytest.mark.parametrize("verb", [rotate_service_key, set_service_key_status])
def test_verb_on_a_key_refuses_a_later_time(service_key, at, by, verb):
    more = {"status": "disabled"} if verb is set_service_key_status else {}

    with pytest.raises(NotYetEffective):
        verb(key=service_key, at=at, by=replace(by, effective_at=at + LATER), **more)


# --- an assignment has a time axis of its own: its window ----------------------


def assigned(account, plan, start, at, by, **more):
    return assign_plan(
        identity=Identity(account, None, plan, "ops.manual", "c-1"),
        window=Window(start),
        at=at,
        by=by,
        **more,
    )[0]


def test_window_may_be_planned_ahead(account, plan, at, by):
    ahead = replace(by, effective_at=at + LATER)

    row = assigned(account, plan, at + LATER, at, ahead)
    changed = change_assignment(
        assignment=row, changes={"window_end": at + 2 * LATER}, at=at, by=ahead
    )

    assert changed.window_end == at + 2 * LATER
    assert row.history.first().effective_at == at + LATER


def test_metadata_of_a_window_to_come_may_be_planned_ahead(account, plan, at, by):
    ahead = replace(by, effective_at=at + LATER)
    row = assigned(account, plan, at + LATER, at, ahead)

    change_assignment(
        assignment=row, changes={"metadata": {"note": 1}}, at=at, by=ahead
    )


def test_metadata_of_a_window_that_has_begun_holds_at_once(account, plan, at, by):
    row = assigned(account, plan, at, at, by)
    ahead = replace(by, effective_at=at + LATER)

    with pytest.raises(NotYetEffective):
        change_assignment(
            assignment=row, changes={"metadata": {"note": 1}}, at=at, by=ahead
        )


def test_status_by_a_clock_a_little_ahead_holds_from_now_on(api, account, plan, at, by):
    row = assigned(account, plan, at, at, by)
    ahead = explained(now() + timedelta(minutes=4))

    answer = api.post(f"billing-plan-assignments/{row.pk}/pause", {"audit": ahead})

    assert answer.status_code == 200, answer.content
    given = row.statuses.order_by("sequence").last()
    assert given.status == "paused"
    assert given.effective_at <= now()
    assert isinstance(given.effective_at, datetime)
