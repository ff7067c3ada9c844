"""The period that a user's use is accounted in."""

from datetime import datetime
from uuid import UUID

from billing.models import BillingAccount
from billing.policies.effective import GOVERNING_KINDS, effective_plans, issue_anchor
from billing.selectors.effective import assigned_plans
from billing.selectors.past import realm_defaults
from config.kernel.recurrence import MONTHLY, calendar_period, period_containing
from config.kernel.windows import Window


def billing_period(
    *, account: BillingAccount, user_id: UUID | None, instant: datetime, at: datetime
) -> Window:
    """Return the billing period that contains `instant` (aware UTC), known at `at`.

    The UTC calendar month; under the anchor `binding_start`, a month counted from the
    start of the strongest base or add-on plan in effect at `instant`, its day clamped
    to the month's end. Where no plan is in effect, and for the anchor
    `subscription_period_start`, as long as no provider's subscription is known, the
    calendar month.
    """
    plans = effective_plans(
        assigned_plans(account=account, user_id=user_id, as_of=instant, at=at), instant
    )
    anchor = issue_anchor(plans, realm_defaults(account.realm, None))
    governing = next((plan for plan in plans if plan.kind in GOVERNING_KINDS), None)
    if anchor.value == "binding_start" and governing is not None:
        return period_containing(governing.window_start, MONTHLY, instant)[1]
    return calendar_period("month", instant)
