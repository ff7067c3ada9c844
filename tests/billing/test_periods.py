"""Which billing period contains an instant."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from billing.policies.effective import AssignedPlan
from billing.policies.periods import Subscription, billing_period
from config.kernel.windows import Window


def instant(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def realm(anchor):
    return {"billing_defaults": {"period": {"issue_anchor": anchor}}}


def subscription(start, end, status="active"):
    return Subscription(UUID(int=1), status, Window(instant(start), instant(end)))


PLAN = AssignedPlan(
    assignment_id=UUID(int=1), scope="account", user_id=None, status="active",
    window_start=instant("2026-01-31T08:00"), window_end=None, source_kind="ops.manual",
    source_ref="c-1", subscription_item_id=None, metadata={}, plan_id=UUID(int=2),
    plan_code="pro", plan_name="Pro", kind="base", priority=1, plan_active=True, plan_metadata={},
)  # fmt: skip
YEARLY = subscription("2025-01-15T12:34:56", "2026-01-15T12:34:56")
WEEK = subscription("2026-02-01", "2026-02-08")
ODD = subscription("2026-01-15", "2026-03-01T12:34:56")


@pytest.mark.parametrize(
    ("anchor", "plans", "known", "at", "expected"),
    [
        ("calendar_start", [PLAN], [], "2026-02-10", ("2026-02-01", "2026-03-01")),
        ("binding_start", [PLAN], [], "2026-02-10", ("2026-01-31T08:00", "2026-02-28T08:00")),
        ("binding_start", [PLAN], [], "2026-03-01", ("2026-02-28T08:00", "2026-03-31T08:00")),
        ("binding_start", [], [], "2026-02-10", ("2026-02-01", "2026-03-01")),
        ("binding_start", [replace(PLAN, kind="promo")], [], "2026-02-10", ("2026-02-01", "2026-03-01")),
        ("subscription_period_start", [], [YEARLY], "2025-03-20", ("2025-03-15T12:34:56", "2025-04-15T12:34:56")),
        ("subscription_period_start", [], [WEEK], "2026-02-05", ("2026-02-01", "2026-02-08")),
        ("subscription_period_start", [], [ODD], "2026-02-20", ("2026-02-15", "2026-03-01T12:34:56")),
        ("subscription_period_start", [], [replace(ODD, status="past_due")], "2026-02-20", ("2026-02-15", "2026-03-01T12:34:56")),
        ("subscription_period_start", [], [replace(ODD, status="canceled")], "2026-02-20", None),
        ("subscription_period_start", [], [ODD], "2026-03-02", None),
        ("subscription_period_start", [], [ODD, WEEK], "2026-02-05", None),
        ("subscription_period_start", [PLAN], [], "2026-02-05", None),
    ],
)  # fmt: skip
def test_billing_period(anchor, plans, known, at, expected):
    found = billing_period(plans, realm(anchor), known, instant(at))

    window = None if found is None else found.window
    assert window == (None if expected is None else Window(*map(instant, expected)))
