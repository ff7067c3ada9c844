"""The database refuses bad rows of issuance on its own."""

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from config.tenancy.history import auditing
from grants.models import (
    GrantAssignment,
    GrantEnrollment,
    IssuanceCursor,
    PlanTemplates,
)
from tests.grants.giving import bind, give_plan, make_program, plan_with

FIXED = "PG002"


@pytest.fixture
def assignment(realm, user, at, by):
    return bind(user, make_program(realm, at, by), at, by)


@pytest.fixture
def plan_assignment(realm, account, user, at, by):
    monthly = {"grant_program_code": "monthly_xusd", "amount_xusd": 10}
    return give_plan(account, plan_with(realm, at, by, monthly), at, by)


def violated(change):
    """Return the name of the constraint that `change` violates."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        change()
    return refusal.value.__cause__.diag.constraint_name


def refused(change):
    """Return the code with which a trigger refuses `change`."""
    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        change()
    return refusal.value.__cause__.sqlstate


@pytest.mark.parametrize("value", [{}, 1, "x"])
def test_templates_that_are_no_list(plan_assignment, value):
    rows = PlanTemplates.objects.filter(plan_assignment=plan_assignment)

    assert (
        violated(lambda: rows.update(templates=value))
        == "grant_plan_templates_are_a_list"
    )


@pytest.mark.parametrize("value", [{}, 1, "x"])
def test_enrolled_bindings_that_are_no_list(plan_assignment, user, value):
    rows = GrantEnrollment.objects.filter(user=user)

    assert (
        violated(lambda: rows.update(bindings=value))
        == "grant_enrollment_bindings_are_a_list"
    )


@pytest.mark.parametrize("value", ["", " \t"])
def test_enrollment_without_a_fingerprint(plan_assignment, user, value):
    rows = GrantEnrollment.objects.filter(user=user)

    assert (
        violated(lambda: rows.update(fingerprint=value))
        == "grant_enrollment_fingerprint_is_given"
    )


@pytest.mark.parametrize("column", ["realm_id", "account_id", "user_id"])
def test_cursor_of_another_than_its_assignment(
    assignment, other_realm, make_user, column
):
    stranger = make_user(other_realm)
    owner = {
        "realm_id": assignment.realm_id,
        "account_id": assignment.account_id,
        "user_id": assignment.user_id,
    }
    elsewhere = {
        "realm_id": other_realm.pk,
        "account_id": stranger.account_id,
        "user_id": stranger.pk,
    }
    IssuanceCursor.objects.filter(assignment=assignment).delete()
    stray = IssuanceCursor(
        assignment=assignment, **{**owner, column: elsewhere[column]}
    )

    assert (
        violated(lambda: stray.save(force_insert=True))
        == "grant_issuance_cursor_of_its_users_assignment"
    )


@pytest.mark.parametrize("column", ["realm_id", "account_id"])
def test_enrollment_of_another_account_than_its_user(
    user, other_realm, make_user, at, column
):
    stranger = make_user(other_realm)
    GrantEnrollment.objects.filter(user=user).delete()
    owner = {"realm_id": user.realm_id, "account_id": user.account_id}
    elsewhere = {"realm_id": other_realm.pk, "account_id": stranger.account_id}
    stray = GrantEnrollment(
        user=user,
        fingerprint="f",
        applied_at=at,
        **{**owner, column: elsewhere[column]},
    )

    assert (
        violated(lambda: stray.save(force_insert=True))
        == "grant_enrollment_of_a_user_of_its_account"
    )


def test_templates_of_another_realm_than_their_plan_assignment(
    plan_assignment, other_realm, at
):
    PlanTemplates.objects.filter(plan_assignment=plan_assignment).delete()
    stray = PlanTemplates(
        plan_assignment=plan_assignment, realm=other_realm, taken_at=at
    )

    assert (
        violated(lambda: stray.save(force_insert=True))
        == "grant_plan_templates_plan_assignment_id_same_realm"
    )


def test_rows_stay_where_they_belong(assignment, plan_assignment, user, other_realm):
    for rows in (
        IssuanceCursor.objects.filter(assignment=assignment),
        GrantEnrollment.objects.filter(user=user),
        PlanTemplates.objects.filter(plan_assignment=plan_assignment),
    ):
        assert refused(lambda: rows.update(realm=other_realm)) == FIXED


def test_anchor_is_set_once(assignment, at, by):
    rows = GrantAssignment.objects.filter(pk=assignment.pk)
    with auditing(by, at=at):
        rows.update(anchored_at=at)

        assert refused(lambda: rows.update(anchored_at=at.replace(day=1))) == FIXED
