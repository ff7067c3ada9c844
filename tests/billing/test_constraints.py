"""Rules of this app's tables that the database holds on its own."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from billing.models import (
    BillingAccount,
    BillingDetails,
    BillingUser,
    Plan,
    PlanAssignment,
    PlanAssignmentStatus,
)
from billing.services.accounts import ensure_account
from billing.services.details import change_billing_details
from config.tenancy.history import auditing

ADDRESS = {"line1": "1 Main St", "city": "Berlin", "country_code": "DE"}
CHECKS = [
    (BillingAccount, {"metadata": []}, "billing_account_metadata_is_object"),
    (BillingUser, {"metadata": "x"}, "billing_user_metadata_is_object"),
    (Plan, {"metadata": 1}, "billing_plan_metadata_is_object"),
    (PlanAssignment, {"metadata": [{}]}, "plan_assignment_metadata_is_object"),
    (BillingDetails, {"metadata": []}, "billing_details_metadata_is_object"),
    (
        BillingDetails,
        {"billing_email": "acme"},
        "billing_details_texts_are_given_or_absent",
    ),
    (
        BillingDetails,
        {"billing_email": "a @b.example"},
        "billing_details_texts_are_given_or_absent",
    ),
    (BillingDetails, {"legal_name": " "}, "billing_details_texts_are_given_or_absent"),
    (
        BillingDetails,
        {"entity_type": "charity"},
        "billing_details_entity_type_is_known",
    ),
    (BillingDetails, {"last_updated_by": "nobody"}, "billing_details_source_is_known"),
    (BillingDetails, {"default_address": {}}, "billing_details_address_is_complete"),
    (
        BillingDetails,
        {"default_address": ["line1"]},
        "billing_details_address_is_complete",
    ),
    (BillingDetails, {"tax_ids": {}}, "billing_details_tax_ids_are_a_list"),
    (BillingDetails, {"tax_ids": "x"}, "billing_details_tax_ids_are_a_list"),
]
UNEXPLAINED, KEPT = "PG001", "PG002"


@pytest.fixture
def details(account, at, by):
    return change_billing_details(
        account=account,
        changes={"default_address": ADDRESS, "tax_ids": [{"type": "x", "value": "y"}]},
        at=at,
        by=by,
    )


@pytest.fixture
def rows(account, user, details):
    """One row of every table, by model."""
    assignment = user.assignments.get()
    return {
        BillingAccount: account,
        BillingUser: user,
        BillingDetails: details,
        Plan: assignment.plan,
        PlanAssignment: assignment,
    }


def violated(at, by, change):
    """Return the name of the constraint that `change` violates."""
    with (
        pytest.raises(IntegrityError) as refusal,
        transaction.atomic(),
        auditing(by, at=at),
    ):
        change()
    return refusal.value.__cause__.diag.constraint_name


def refused_with(change):
    """Return the SQL state with which the database refuses `change`."""
    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        change()
    return refusal.value.__cause__.sqlstate


@pytest.mark.parametrize(("model", "values", "name"), CHECKS)
def test_bad_column_is_refused(rows, at, by, model, values, name):
    same = model.objects.filter(pk=rows[model].pk)

    assert violated(at, by, lambda: same.update(**values)) == name


def test_second_details_of_an_account_are_refused(account, details, at, by):
    twin = BillingDetails(realm_id=account.realm_id, account=account)

    assert violated(at, by, twin.save) == "billing_details_once_per_account"


def test_details_of_another_realms_account_are_refused(realm, other_realm, at, by):
    elsewhere = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    stranger = BillingDetails(realm=realm, account=elsewhere)

    assert violated(at, by, stranger.save) == "billing_details_account_id_same_realm"


def test_details_stay_with_their_account(realm, details, at, by):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    same = BillingDetails.objects.filter(pk=details.pk)

    with auditing(by, at=at):
        assert refused_with(lambda: same.update(account=other)) == KEPT


def test_unexplained_details_are_refused(details):
    same = BillingDetails.objects.filter(pk=details.pk)

    assert refused_with(lambda: same.update(legal_name="x")) == UNEXPLAINED


def test_later_status_in_the_future_is_refused(user, at, by):
    assignment = user.assignments.get()

    def give(sequence, effective_at):
        PlanAssignmentStatus.objects.create(
            realm_id=assignment.realm_id,
            assignment=assignment,
            sequence=sequence,
            status="paused",
            effective_at=effective_at,
            recorded_at=at,
        )

    def pause():
        with auditing(by, at=at):
            PlanAssignment.objects.filter(pk=assignment.pk).update(status="paused")
            give(2, at)

    pause()
    future = at + timedelta(microseconds=1)
    assert (
        violated(at, by, lambda: give(3, future))
        == "plan_assignment_status_not_in_future"
    )


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_given_statuses_are_kept(user, verb):
    given = PlanAssignmentStatus.objects.filter(assignment=user.assignments.get())
    change = {
        "update": lambda: given.update(status="paused"),
        "delete": lambda: given._raw_delete("default"),
    }

    assert refused_with(change[verb]) == KEPT
