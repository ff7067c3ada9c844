"""The plans of somebody who was denied for want of one, and how they stood then."""

from datetime import datetime, timedelta
from uuid import UUID

from billing.models import BillingAccount
from billing.policies.effective import AssignedPlan, by_precedence
from billing.selectors.effective import assigned_plans
from gating.sentences import instant

MOST = 5
"""So many plans are told of: the strongest."""


def idle_plans(*, account: BillingAccount, user_id: UUID, at: datetime) -> list[str]:
    """Return a sentence per plan of the user that was not in effect at `at` (UTC).

    As it was known then: what was put right afterwards is left out. The strongest
    first, at most `MOST`.
    """
    assigned = assigned_plans(
        account=account,
        user_id=user_id,
        as_of=at,
        known_at=at,
        # Any later present: what is known by now must not be read as known then.
        at=at + timedelta.resolution,
    )
    idle = [plan for plan in by_precedence(assigned) if not plan.is_effective(at)]
    return [
        f"The plan {plan.plan_name} ({plan.source_ref}) {_why(plan, at)}."
        for plan in idle[:MOST]
    ]


def _why(plan: AssignedPlan, at: datetime) -> str:
    if plan.status != "active":
        return f"was {plan.status} then"
    if plan.window_start > at:
        return f"begins only at {instant(plan.window_start)}"
    if plan.window_end is not None and plan.window_end <= at:
        return f"ended at {instant(plan.window_end)}"
    return "is assigned, and was switched off then"
