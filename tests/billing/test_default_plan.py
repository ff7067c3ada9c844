"""The plan that a new user starts on."""

import pytest

from billing.models import PlanAssignment
from billing.services.accounts import ensure_account
from billing.services.assignment_changes import cancel_assignment
from billing.services.users import (
    change_user,
)
from config.kernel.ids import new_id
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.realms import change_realm
from tests.billing.people import users_named


def signup_plans(user):
    rows = PlanAssignment.objects.filter(user=user, source_kind="signup.default")
    return sorted((row.plan.plan_code, row.source_ref, row.status) for row in rows)


DEFAULT = ("default_billing_plan", "default_billing_plan", "active")


def test_new_user_gets_the_default_plan_once(account, at, by):
    (user,) = users_named(account, at, by, "u-1")

    change_user(user=user, status="disabled", at=at, by=by)
    change_user(user=user, status="active", at=at, by=by)
    users_named(account, at, by, "u-1")

    assert signup_plans(user) == [DEFAULT]
    row = PlanAssignment.objects.get(user=user)
    assert (row.window_start, row.window_end, row.metadata) == (
        at,
        None,
        {"reason": "signup.default"},
    )


def test_default_plan_that_support_canceled_stays_canceled(account, at, by):
    (user,) = users_named(account, at, by, "u-1")
    cancel_assignment(assignment=PlanAssignment.objects.get(user=user), at=at, by=by)

    change_user(user=user, status="disabled", at=at, by=by)
    change_user(user=user, status="active", at=at, by=by)

    assert signup_plans(user) == [(*DEFAULT[:2], "canceled")]


def test_realm_names_the_default_plan(realm, at, by, make_plan):
    pro = make_plan("pro")
    change_realm(
        realm=realm, name="x", metadata={"default_plan_id": str(pro.pk)}, at=at, by=by
    )
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)

    (user,) = users_named(account, at, by, "u-1")

    assert signup_plans(user) == [("pro", "default_plan_id", "active")]


@pytest.mark.parametrize("named", ["inactive plan", "unknown plan"])
def test_realm_that_names_no_active_plan_gives_none(realm, at, by, make_plan, named):
    retired = make_plan("retired", active=False)
    plan_id = retired.pk if named == "inactive plan" else new_id()
    # The verb would refuse it; a plan may be switched off after a realm named it.
    with auditing(by, at=at):
        Realm.objects.filter(pk=realm.pk).update(
            metadata={"default_plan_id": str(plan_id)}
        )
    realm.refresh_from_db()
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)

    (user,) = users_named(account, at, by, "u-1")

    assert signup_plans(user) == []
