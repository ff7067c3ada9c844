"""An edited plan's grants over HTTP: looked at, confirmed, brought to its holders."""

import pytest

from billing.services.plans import change_plan_definition
from config.tenancy.services.service_keys import create_service_key
from grants.models import GrantAssignment, GrantLot
from tests.grants.giving import give_plan, plan_with
from tests.tools.client import SignedClient

MONTHLY = {"grant_program_code": "monthly_xusd", "amount_xusd": 10}
WEEKLY = {"grant_program_code": "weekly_xusd", "amount_xusd": 3}


@pytest.fixture
def edited(realm, user, at, by):
    """A plan that was given with one grant, and says another one now."""
    plan = plan_with(realm, at, by, MONTHLY)
    give_plan(user.account, plan, at, by)
    plan.refresh_from_db()
    change_plan_definition(
        plan=plan, changes={"metadata": {"grants": [WEEKLY]}}, at=at, by=by
    )
    return plan


def test_holders_keep_what_they_have_until_the_change_is_confirmed(api, edited, user):
    held = list(GrantLot.objects.filter(user=user).values_list("pk", "status"))

    seen = api.get(f"billing-plans/{edited.pk}/grants/preview").json()["data"]

    assert [
        (c["grant_program_code"], c["before_xusd"], c["after_xusd"])
        for c in sorted(seen["changes"], key=lambda c: c["grant_program_code"])
    ] == [("monthly_xusd", "10", None), ("weekly_xusd", None, "3")]
    assert {c["billing_user_id"] for c in seen["changes"]} == {str(user.pk)}
    assert list(GrantLot.objects.filter(user=user).values_list("pk", "status")) == held

    answer = api.post(
        f"billing-plans/{edited.pk}/grants/apply",
        {"confirmed_fingerprint": seen["fingerprint"]},
    )

    assert (answer.status_code, answer.json()["data"]) == (200, {"changed": 1})
    kinds = GrantAssignment.objects.filter(user=user).values_list(
        "program__program_code", "status"
    )
    assert sorted(kinds) == [("monthly_xusd", "canceled"), ("weekly_xusd", "active")]
    # What was issued stays.
    assert set(held) <= set(
        GrantLot.objects.filter(user=user).values_list("pk", "status")
    )


def test_another_change_than_the_one_confirmed_is_refused(api, edited):
    answer = api.post(
        f"billing-plans/{edited.pk}/grants/apply", {"confirmed_fingerprint": "old"}
    )

    assert (answer.status_code, answer.json()["code"]) == (
        409,
        "GRANT.PREVIEW_OUTDATED",
    )


def test_a_confirmation_is_needed(api, edited):
    answer = api.post(f"billing-plans/{edited.pk}/grants/apply", {})

    assert (answer.status_code, answer.json()["meta"]["field"]) == (
        422,
        "confirmed_fingerprint",
    )


def test_a_key_limited_to_accounts_sees_no_other_accounts(realm, edited, user, at, by):
    key = create_service_key(
        realm=realm, allowed_accounts=[str(user.account_id)], at=at, by=by
    )
    limited = SignedClient(realm, key)

    for path in (
        f"billing-plans/{edited.pk}/grants/preview",
        "grant-campaigns",
        f"grant-campaigns/{edited.pk}",
    ):
        answer = limited.get(path)
        assert (answer.status_code, answer.json()["code"]) == (
            403,
            "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN",
        )


def test_a_plan_cannot_give_what_is_owed(api, edited):
    answer = api.patch(
        f"billing-plans/{edited.pk}",
        {
            "metadata": {
                "grants": [
                    MONTHLY,
                    {"grant_program_code": "fallback-cash", "amount_xusd": "5"},
                ]
            }
        },
    )

    assert (answer.status_code, answer.json()["meta"]["field"]) == (
        422,
        "metadata.grants.1.grant_program_code",
    )
