from dataclasses import replace

import pytest

from config.tenancy.history import auditing
from gating.models import GatePolicyBundle
from gating.selectors.features import gated_feature
from tests.gating.refusals import refusal


def test_a_new_realm_limits_nothing(gate):
    gate.feature()

    assert gate.row(gate.lease(10**12)).cap_minor == 10**12


def test_a_plans_bundle_governs(gate):
    gate.feature()
    gate.quota(10, bundle=gate.bundle("pro"))
    gate.plan(bundle="pro")

    assert refusal(gate.authorize, 11).code == "QUOTA.EXHAUSTED"


def test_an_assignments_bundle_outranks_its_plans(gate):
    from billing.models import PlanAssignment
    from billing.services.assignments import change_assignment

    gate.feature()
    gate.quota(10, bundle=gate.bundle("pro"))
    gate.quota(20, bundle=gate.bundle("big"))
    gate.plan(bundle="pro")
    row = PlanAssignment.objects.get(realm=gate.realm, plan__plan_code="pro")
    change_assignment(
        assignment=row,
        changes={"metadata": {"gate_bundle_key": "big"}},
        at=gate.at,
        by=gate.by,
    )

    assert gate.authorize(20)


def test_a_disabled_bundle_does_not_fall_back_to_no_limit(gate):
    gate.feature()
    gate.quota(10, bundle=gate.bundle("pro"))
    gate.plan(bundle="pro")
    gate.bundle("pro", status="disabled")

    assert refusal(gate.authorize).meta["reason"] == "policy_not_found"


def test_account_and_user_bundles_each_give_their_own_scope(gate):
    gate.feature()
    account, user = gate.bundle("of-account"), gate.bundle("of-user")
    gate.quota(100, bundle=account, subject_scope="account")
    gate.quota(5, bundle=account)
    gate.quota(50, bundle=user)
    gate.quota(7, bundle=user, subject_scope="account")
    gate.plan("a", bundle="of-account")
    gate.plan("u", bundle="of-user", user=True)

    assert refusal(gate.authorize, 51).hints[0]["max_quantity_minor"] == 50
    gate.authorize(50)
    assert refusal(gate.of_user("u-2").authorize, 6).hints[0]["max_quantity_minor"] == 5


def test_without_its_default_bundle_a_realm_is_misconfigured(gate):
    gate.feature()
    bundles = GatePolicyBundle.objects.filter(pk=gate.default_bundle().pk)
    with auditing(gate.by, at=gate.at):
        # No verb does it; a hand in the database might.
        bundles.update(status="disabled")

    denied = refusal(gate.authorize)

    assert (denied.status, denied.code) == (500, "SERVER.CONFIG")


def test_a_disabled_policy_does_not_govern(gate):
    gate.feature()
    gate.quota(10, status="disabled")

    assert gate.authorize(11)


def test_a_plan_must_entitle(gate):
    gate.feature()
    gate.plan("none", priority=10)
    from billing.models import Plan
    from billing.services.entitlements import Target, append_entitlements

    plan = Plan.objects.get(realm=gate.realm, plan_code="none")
    append_entitlements(
        plan=plan, targets=[Target("deny", feature_code="chat")], at=gate.at, by=gate.by
    )

    denied = refusal(gate.authorize)

    assert (denied.status, denied.code) == (403, "ENTITLEMENT.DENIED")
    assert denied.message == "The plan none denies the feature chat."


@pytest.mark.parametrize(
    ("prices", "zero_cost"),
    [((None,), True), ((0,), True), ((None, 0), True), ((0, 1), False), ((), False)],
)
def test_a_feature_is_free_when_it_has_meters_and_none_costs(gate, prices, zero_cost):
    gate.feature(meters=["second"])
    for code, price in zip(("chat", "second"), prices, strict=False):
        if price is not None:
            gate.price(code, price)
    found = gated_feature(account=gate.account, feature_code="chat", at=gate.at)

    meters = found.meters[: len(prices)]
    assert replace(found, meters=meters).zero_cost is zero_cost
