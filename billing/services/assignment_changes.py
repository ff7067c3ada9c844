"""The named changes of a plan assignment, each leaving neither gap nor overlap."""

from datetime import datetime
from typing import Any, Literal

from django.db import transaction

from billing.models import AssignmentStatus, Plan, PlanAssignment
from billing.services.accounts import lock_account
from billing.services.assignments import (
    Identity,
    assign_plan,
    change_assignment,
    window_of,
)
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Refused
from config.kernel.windows import Window


class AlreadyDone(Refused):
    """The assignment already is what was asked for; nothing changed."""

    default_code = "ASSIGNMENT.ALREADY_DONE"


class NotAnExtension(Refused):
    """The new end is not later than the present one."""

    default_code = "ASSIGNMENT.NOT_AN_EXTENSION"


class OutsideWindow(Refused):
    """The instant does not lie inside the assignment's window."""

    default_code = "ASSIGNMENT.OUTSIDE_WINDOW"


class WrongDirection(Refused):
    """An upgrade to a lower plan, or a downgrade to a higher one."""

    default_code = "ASSIGNMENT.WRONG_DIRECTION"


class NotActive(Refused):
    """An assignment out of effect has no window to hand over, nor an inactive plan."""

    default_code = "ASSIGNMENT.NOT_ACTIVE"


class OtherKind(Refused):
    """An add-on cannot take the place of a base plan, nor the reverse."""

    default_code = "ASSIGNMENT.OTHER_KIND"


class SourceRefTaken(Conflict):
    """A plan change is a commercial event of its own and needs its own reference."""

    default_code = "ASSIGNMENT.SOURCE_REF_TAKEN"


def _day(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else "open"


@transaction.atomic
def extend_assignment(
    *,
    assignment: PlanAssignment,
    window_end: datetime | None,
    at: datetime,
    by: AuditContext,
) -> PlanAssignment:
    """Move the end of an assignment later; None makes it open.

    Refuses an end that is not later (ASSIGNMENT.NOT_AN_EXTENSION).
    """
    assignment = _locked(assignment)
    end = assignment.window_end
    if end is None:
        raise NotAnExtension(
            "The assignment has no end that could be moved.", field="window_end"
        )
    if window_end is not None and window_end <= end:
        raise NotAnExtension(
            f"The assignment already runs until {_day(end)}; a new end must be later.",
            field="window_end",
        )
    return change_assignment(
        assignment=assignment, changes={"window_end": window_end}, at=at, by=by
    )


@transaction.atomic
def end_assignment(
    *, assignment: PlanAssignment, end_at: datetime, at: datetime, by: AuditContext
) -> PlanAssignment:
    """End an assignment at `end_at` (aware UTC); until then it stays in effect.

    Refuses an end at or before its start, or after its present end
    (ASSIGNMENT.OUTSIDE_WINDOW), and the end it already has (ASSIGNMENT.ALREADY_DONE).
    """
    assignment = _locked(assignment)
    start, end = assignment.window_start, assignment.window_end
    if end == end_at:
        raise AlreadyDone(f"The assignment already ends {_day(end)}.", field="end_at")
    if end_at <= start or (end is not None and end_at > end):
        raise OutsideWindow(
            f"The end must lie after the start ({_day(start)}) and not after the "
            f"present end ({_day(end)}). To take back a plan that has not started, "
            "cancel it.",
            field="end_at",
        )
    return change_assignment(
        assignment=assignment, changes={"window_end": end_at}, at=at, by=by
    )


def pause_assignment(
    *, assignment: PlanAssignment, at: datetime, by: AuditContext
) -> PlanAssignment:
    """Suspend an assignment from `by.effective_at` on, without ending it.

    Refuses one that is not active (ASSIGNMENT.ALREADY_DONE) and a future instant
    (ASSIGNMENT.STATUS_IN_FUTURE).
    """
    return _set_status(assignment, AssignmentStatus.PAUSED, ("active",), at=at, by=by)


def resume_assignment(
    *, assignment: PlanAssignment, at: datetime, by: AuditContext
) -> PlanAssignment:
    """Put a paused assignment back into effect from `by.effective_at` on.

    Refuses one that is not paused (ASSIGNMENT.ALREADY_DONE).
    """
    return _set_status(assignment, AssignmentStatus.ACTIVE, ("paused",), at=at, by=by)


def cancel_assignment(
    *, assignment: PlanAssignment, at: datetime, by: AuditContext
) -> PlanAssignment:
    """Take an assignment out of effect from `by.effective_at` on, for good.

    Refuses one that is canceled already (ASSIGNMENT.ALREADY_DONE).
    """
    return _set_status(
        assignment, AssignmentStatus.CANCELED, ("active", "paused", "expired"),
        at=at, by=by,
    )  # fmt: skip


def upgrade_plan(**switch: Any) -> PlanAssignment:
    """Move an assignment to a higher plan; as `switch_plan`.

    Refuses a plan of lower priority (ASSIGNMENT.WRONG_DIRECTION).
    """
    return switch_plan(direction="upgrade", **switch)


def downgrade_plan(**switch: Any) -> PlanAssignment:
    """Move an assignment to a lower plan; as `switch_plan`.

    Refuses a plan of higher priority (ASSIGNMENT.WRONG_DIRECTION).
    """
    return switch_plan(direction="downgrade", **switch)


@transaction.atomic
def switch_plan(
    *,
    direction: Literal["upgrade", "downgrade"],
    assignment: PlanAssignment,
    plan: Plan,
    source_kind: str,
    source_ref: str,
    switch_at: datetime,
    metadata: dict[str, Any] | None = None,
    at: datetime,
    by: AuditContext,
) -> PlanAssignment:
    """End one plan and begin another at the same instant `switch_at` (aware UTC).

    The new assignment takes over the rest of the window and is returned. Refuses a
    paused, canceled or expired assignment and an inactive plan
    (ASSIGNMENT.NOT_ACTIVE), a plan of another kind (ASSIGNMENT.OTHER_KIND), the wrong
    direction (ASSIGNMENT.WRONG_DIRECTION), an instant outside the window
    (ASSIGNMENT.OUTSIDE_WINDOW) and a reference that the new plan already has
    (ASSIGNMENT.SOURCE_REF_TAKEN): merging with an older window would overlap.
    """
    assignment = _locked(assignment)
    _check_switch(direction, assignment, plan, switch_at)
    identity = _new_identity(assignment, plan, source_kind, source_ref)
    change_assignment(
        assignment=assignment, changes={"window_end": switch_at}, at=at, by=by
    )
    created, _outcome = assign_plan(
        identity=identity,
        window=Window(switch_at, assignment.window_end),
        metadata=metadata,
        at=at,
        by=by,
    )
    return created


def _new_identity(
    assignment: PlanAssignment, plan: Plan, source_kind: str, source_ref: str
) -> Identity:
    identity = Identity(
        account=assignment.account,
        user=assignment.user,
        plan=plan,
        source_kind=source_kind,
        source_ref=source_ref,
    )
    if identity.find() is not None:
        raise SourceRefTaken(
            f"{plan.plan_code} already has an assignment under {source_kind} "
            f"{source_ref}. A plan change needs a reference of its own.",
            field="source_ref",
        )
    return identity


def _check_switch(
    direction: str, assignment: PlanAssignment, plan: Plan, switch_at: datetime
) -> None:
    if assignment.status != AssignmentStatus.ACTIVE:
        raise NotActive(
            f"The assignment is {assignment.get_status_display().lower()}; only an "
            "active one can change to another plan.",
            field="status",
        )
    _check_target(direction, assignment.plan, plan)
    window = window_of(assignment)
    if not window.contains(switch_at) or switch_at == window.start:
        raise OutsideWindow(
            f"The change must lie inside the window, after its start: "
            f"{_day(window.start)} to {_day(window.end)}.",
            field="switch_at",
        )


def _check_target(direction: str, current: Plan, target: Plan) -> None:
    if not target.active:
        raise NotActive(f"The plan {target.plan_code} is not active.", field="plan_id")
    if target.kind != current.kind:
        raise OtherKind(
            f"{target.plan_code} is of kind {target.kind}, {current.plan_code} of kind "
            f"{current.kind}.",
            field="plan_id",
        )
    rises = target.priority > current.priority
    falls = target.priority < current.priority
    if (
        target.pk == current.pk
        or (direction == "upgrade" and falls)
        or (direction == "downgrade" and rises)
    ):
        raise WrongDirection(
            f"{target.plan_code} (priority {target.priority}) is no {direction} from "
            f"{current.plan_code} (priority {current.priority}).",
            field="plan_id",
        )


def _locked(assignment: PlanAssignment) -> PlanAssignment:
    lock_account(assignment.account)
    return PlanAssignment.objects.select_related("plan", "user", "account__realm").get(
        pk=assignment.pk
    )


@transaction.atomic
def _set_status(
    assignment: PlanAssignment,
    status: AssignmentStatus,
    from_statuses: tuple[str, ...],
    *,
    at: datetime,
    by: AuditContext,
) -> PlanAssignment:
    assignment = _locked(assignment)
    if assignment.status not in from_statuses:
        raise AlreadyDone(
            f"The assignment is {assignment.get_status_display().lower()}; only "
            f"{' or '.join(from_statuses)} ones can become {status.label.lower()}.",
            field="status",
        )
    return change_assignment(
        assignment=assignment, changes={"status": status.value}, at=at, by=by
    )
