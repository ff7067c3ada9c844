"""How plans and windows read to people."""

from datetime import datetime

from billing.models import AssignmentScope, PlanAssignment

STATE_COLORS = {
    "In effect": "success",
    "Starts later": "info",
    "Ended": "default",
    "Paused": "warning",
    "Canceled": "danger",
    "Expired": "default",
    "Plan inactive": "warning",
}


def short_text(instant: datetime) -> str:
    """Return an instant for a table: to the minute, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M}"


def minute_text(instant: datetime) -> str:
    """Return an instant for a sentence: to the minute, saying that it is UTC."""
    return f"{short_text(instant)} UTC"


def window_text(start: datetime, end: datetime | None) -> str:
    """Return a window as a sentence fragment: "from … until …"."""
    until = f"until {minute_text(end)}" if end else "with no end"
    return f"from {minute_text(start)} {until}"


def state_of(
    status: str,
    start: datetime,
    end: datetime | None,
    *,
    plan_active: bool,
    at: datetime,
) -> str:
    """Return one plain word for where an assignment stands at `at` (aware UTC)."""
    if status != "active":
        return status.capitalize()
    if end is not None and end <= at:
        return "Ended"
    if start > at:
        return "Starts later"
    return "In effect" if plan_active else "Plan inactive"


def assignment_state(assignment: PlanAssignment, *, at: datetime) -> str:
    """Return the state of an assignment read with its plan."""
    return state_of(
        assignment.status,
        assignment.window_start,
        assignment.window_end,
        plan_active=assignment.plan.active,
        at=at,
    )


def holder_text(assignment: PlanAssignment) -> str:
    """Return whom an assignment governs."""
    if assignment.scope == AssignmentScope.ACCOUNT:
        return "Whole account"
    return f"User {assignment.user}"
