"""Assigned plans and entitlement rules, built from their defaults."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from billing.policies.effective import AssignedPlan, EntitlementRule

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FEATURE, FAMILY = UUID(int=100), UUID(int=200)
OTHER_FEATURE, OTHER_FAMILY = UUID(int=101), UUID(int=201)


def day(number):
    return None if number is None else DAY + timedelta(days=number)


def assigned(number=1, **facts):
    """Return an assignment of plan `number`: active, base, open since day 0."""
    defaults = {
        "assignment_id": UUID(int=number),
        "scope": "account",
        "user_id": None,
        "status": "active",
        "window_start": DAY,
        "window_end": None,
        "source_kind": "ops.manual",
        "source_ref": f"contract-{number}",
        "subscription_item_id": None,
        "metadata": {},
        "plan_id": UUID(int=1000 + number),
        "plan_code": f"plan-{number}",
        "plan_name": f"Plan {number}",
        "kind": "base",
        "priority": 0,
        "plan_active": True,
        "plan_metadata": {},
    }
    return AssignedPlan(**{**defaults, **facts})


def rule(plan, effect, target="everything"):
    targets = {
        "feature": (FEATURE, None),
        "family": (None, FAMILY),
        "everything": (None, None),
        "other feature": (OTHER_FEATURE, None),
        "other family": (None, OTHER_FAMILY),
    }
    feature_id, family_id = targets[target]
    return EntitlementRule(plan.plan_id, effect, feature_id, family_id)


PLANS = st.builds(
    assigned,
    st.integers(1, 4),
    scope=st.sampled_from(["account", "user"]),
    status=st.sampled_from(["active", "paused", "canceled", "expired"]),
    window_start=st.integers(0, 2).map(day),
    window_end=st.sampled_from([None, 3, 4]).map(day),
    kind=st.sampled_from(["base", "addon", "promo"]),
    priority=st.integers(0, 1),
    plan_active=st.booleans(),
)
INSTANTS = st.integers(-1, 5).map(day)


def distinct(plans):
    """Return the plans without a second one of the same assignment."""
    return list({plan.assignment_id: plan for plan in plans}.values())
