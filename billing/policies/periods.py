"""Which billing period contains an instant. Pure: the facts were read before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from billing.policies.effective import GOVERNING_KINDS, AssignedPlan, issue_anchor
from config.kernel.recurrence import MONTHLY, calendar_period, period_containing
from config.kernel.windows import Window

IN_FORCE = ("trialing", "active")
"""Subscriptions that give what their group is given."""
BILLED = (*IN_FORCE, "past_due")
"""Subscriptions whose periods are billing periods."""

_CALENDAR = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """The billing period that contains an instant.

    Attributes:
        anchor: from where the account's periods are counted.
        window: the period itself.

    """

    anchor: datetime
    window: Window


@dataclass(frozen=True, slots=True)
class Subscription:
    """What the provider says of one subscription of an account.

    `period` is its current one. A group has an id, a key, or both.
    """

    subscription_id: UUID
    status: str
    period: Window
    group_id: UUID | None = None
    group_key: str | None = None


def billing_period(
    effective: Sequence[AssignedPlan],
    realm_metadata: Mapping[str, Any],
    subscriptions: Iterable[Subscription],
    at: datetime,
) -> BillingPeriod | None:
    """Return the billing period that contains `at` (aware UTC).

    By the issue anchor of the effective plans: the calendar month; months from the
    start of the strongest base or add-on plan (without one, the calendar's); months
    from the start of the subscription's current period, the last cut at its end. None
    where the subscription decides, and not exactly one is current.
    """
    anchor = issue_anchor(effective, realm_metadata).value
    if anchor == "subscription_period_start":
        return _of_subscription(subscriptions, at)
    if anchor == "binding_start":
        governing = next((p for p in effective if p.kind in GOVERNING_KINDS), None)
        if governing is not None:
            start = governing.window_start
            return BillingPeriod(start, period_containing(start, MONTHLY, at)[1])
    return BillingPeriod(_CALENDAR, calendar_period("month", at))


def _of_subscription(
    subscriptions: Iterable[Subscription], at: datetime
) -> BillingPeriod | None:
    current = [
        found
        for found in subscriptions
        if found.status in BILLED and found.period.contains(at)
    ]
    if len(current) != 1:
        return None
    term = current[0].period
    month = period_containing(term.start, MONTHLY, at)[1].intersection(term)
    return None if month is None else BillingPeriod(term.start, month)
