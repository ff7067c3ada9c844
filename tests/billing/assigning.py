"""Assignments as the tests of this app write and read them."""

from datetime import UTC, datetime

from vlunaai.generated import billing_mgt_models as wire

from config.kernel.windows import format_instant
from tests.billing.answers import read

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
LIST = "billing-plan-assignments"
AUDIT = {
    "operator": "ada",
    "reason": "signed contract",
    "ticket_id": "T-7",
    "effective_at": "2026-02-01T00:00:00Z",
}
EXPLAINED = ("ada", "signed contract", "T-7", datetime(2026, 2, 1, tzinfo=UTC))


def text(when):
    return None if when is None else format_instant(when)


def body(account, plan, **changes):
    """Return what creates an open assignment of the plan to the account."""
    return {
        "billing_account_id": str(account.pk),
        "assignment_scope": "account",
        "plan_id": str(plan.pk),
        "source_kind": "ops.manual",
        "source_ref": "contract-1",
        "window_start": text(START),
        **changes,
    }


def window_and_status(assignment):
    assignment.refresh_from_db()
    return assignment.window_start, assignment.window_end, assignment.status


def assigned(answer, status=200):
    return read(answer, wire.BillingPlanAssignmentEnvelope, status)
