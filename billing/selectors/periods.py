"""Reads of billing periods."""

from datetime import datetime
from uuid import UUID

from billing.models import BillingAccount
from billing.policies.effective import effective_plans
from billing.policies.periods import BillingPeriod, billing_period
from billing.selectors.effective import assigned_plans
from billing.selectors.past import realm_defaults
from billing.selectors.subscriptions import subscriptions_of
from config.kernel.recurrence import calendar_period
from config.kernel.windows import Window


def billing_period_at(
    *, account: BillingAccount, user_id: UUID | None, as_of: datetime, at: datetime
) -> BillingPeriod | None:
    """Return an account's billing period that contains `as_of`, or that of one user.

    As the plans say that were in effect then; `at` is the present instant (both aware
    UTC). None where a subscription decides, and not exactly one is current.
    """
    assigned = assigned_plans(account=account, user_id=user_id, as_of=as_of, at=at)
    return billing_period(
        effective_plans(assigned, as_of),
        realm_defaults(account.realm, as_of if as_of < at else None),
        subscriptions_of(account_id=account.pk, at=as_of),
        as_of,
    )


def accounting_period(
    *, account: BillingAccount, user_id: UUID | None, as_of: datetime, at: datetime
) -> Window:
    """Return the period that a use at `as_of` is accounted in, known at `at`.

    The billing period; the UTC calendar month where a subscription decides, and not
    exactly one is current.
    """
    found = billing_period_at(account=account, user_id=user_id, as_of=as_of, at=at)
    return calendar_period("month", as_of) if found is None else found.window
