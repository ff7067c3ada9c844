"""Assigning plans: the commercial identity, its merge rule, and the raw change.

The named verbs (extend, end, pause, upgrade …) are in `assignment_changes`. Every
verb locks the account first, so that two changes of one account never interleave.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import Max

from billing.models import (
    AssignmentScope,
    AssignmentStatus,
    BillingAccount,
    BillingUser,
    Plan,
    PlanAssignment,
    PlanAssignmentStatus,
    SourceKind,
)
from billing.services.accounts import lock_account
from billing.services.plans import DEFAULT_PLAN_CODE, default_plan
from catalog.services.rows import rewritten
from config.kernel.audit import MOST_AHEAD, AuditContext
from config.kernel.errors import Invalid, NotFound, Refused
from config.kernel.metadata import AssignmentMetadata, check_metadata
from config.kernel.windows import Window, merge_windows
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event

Outcome = Literal["created", "merged", "unchanged"]
WINDOW = ("window_start", "window_end")
"""The fields that say when; a change of another one holds at once, in the window."""
CHANGEABLE = (*WINDOW, "subscription_item_id", "status", "metadata")


class StatusInFuture(Refused):
    """A status takes effect when it is given; the future belongs to the window."""

    default_code = "ASSIGNMENT.STATUS_IN_FUTURE"


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes an assignment the same commercial event, however often it is sent."""

    account: BillingAccount
    user: BillingUser | None
    plan: Plan
    source_kind: str
    source_ref: str

    @property
    def scope(self) -> str:
        """Return `user` when a user is named, else `account`."""
        return AssignmentScope.USER if self.user else AssignmentScope.ACCOUNT

    def find(self) -> PlanAssignment | None:
        """Return the assignment of this identity, None where there is none."""
        return (
            PlanAssignment.objects.in_realm(self.account.realm_id)
            .select_related("plan", "user", "account__realm")
            .filter(
                account=self.account,
                scope=self.scope,
                user=self.user,
                plan=self.plan,
                source_kind=self.source_kind,
                source_ref=self.source_ref,
            )
            .first()
        )


@transaction.atomic
def assign_plan(
    *,
    identity: Identity,
    window: Window,
    status: str = AssignmentStatus.ACTIVE,
    subscription_item_id: Any = None,
    metadata: dict[str, Any] | None = None,
    at: datetime,
    by: AuditContext,
) -> tuple[PlanAssignment, Outcome]:
    """Give a plan to an account or user for a window; return it and what happened.

    Sending the same identity again merges: the earlier start, the later end (a null
    end keeps what is there), and the incoming status, item and metadata as a whole.
    Refuses another realm's plan or a user of another account (`NotFound`), unknown
    source kind, status or bad metadata (`Invalid`).
    """
    _check(identity, status, metadata or {})
    lock_account(identity.account)
    existing = identity.find()
    if existing is None:
        created = _create(
            identity, window, status, subscription_item_id, metadata or {}, at=at, by=by
        )
        return created, "created"
    merged = merge_windows(window_of(existing), window)
    changes = {
        "window_start": merged.start,
        "window_end": merged.end,
        "status": status,
        "subscription_item_id": subscription_item_id,
        "metadata": metadata or {},
    }
    changed = _apply(existing, changes, at=at, by=by)
    return existing, "merged" if changed else "unchanged"


@transaction.atomic
def change_assignment(
    *,
    assignment: PlanAssignment,
    changes: dict[str, Any],
    at: datetime,
    by: AuditContext,
) -> PlanAssignment:
    """Set the given fields of an assignment; the raw form of every named verb.

    Fields: window_start, window_end (None re-opens), status, subscription_item_id,
    metadata (whole). Refuses a window that ends before it starts (`Invalid` on
    window_end), an unknown status, bad metadata, and a status in the future
    (ASSIGNMENT.STATUS_IN_FUTURE); and metadata or an item of a window that has begun,
    meant for later (AUDIT.EFFECTIVE_IN_FUTURE).
    """
    lock_account(assignment.account)
    assignment = PlanAssignment.objects.select_related(
        "plan", "user", "account__realm"
    ).get(pk=assignment.pk)
    _check_values(
        changes.get("status", assignment.status),
        changes.get("metadata", assignment.metadata),
    )
    Window(
        changes.get("window_start", assignment.window_start),
        changes.get("window_end", assignment.window_end),
    )
    _apply(assignment, changes, at=at, by=by)
    return assignment


def assign_default_plan(*, user: BillingUser, at: datetime, by: AuditContext) -> None:
    """Give a newly active user the realm's default plan, once.

    A user who was given it before keeps what support made of it since.
    """
    realm = user.account.realm
    plan = default_plan(realm)
    if plan is None:
        return
    named = bool(realm.metadata.get("default_plan_id"))
    identity = Identity(
        account=user.account,
        user=user,
        plan=plan,
        source_kind=SourceKind.SIGNUP_DEFAULT,
        source_ref="default_plan_id" if named else DEFAULT_PLAN_CODE,
    )
    if identity.find() is None:
        assign_plan(
            identity=identity,
            window=Window(at, None),
            metadata={"reason": SourceKind.SIGNUP_DEFAULT.value},
            at=at,
            by=by,
        )


def window_of(assignment: PlanAssignment) -> Window:
    """Return an assignment's window."""
    return Window(assignment.window_start, assignment.window_end)


def _check(identity: Identity, status: str, metadata: dict[str, Any]) -> None:
    account, user, plan = identity.account, identity.user, identity.plan
    if plan.realm_id != account.realm_id:
        raise NotFound("There is no such plan in this realm.", field="plan_id")
    if user is not None and user.account_id != account.pk:
        raise NotFound(
            f"Billing user not found for billing_account_id: {user} is of another "
            "account.",
            field="billing_user_id",
        )
    if identity.source_kind not in SourceKind.values:
        raise Invalid(
            f"A source kind is one of {', '.join(SourceKind.values)}.",
            field="source_kind",
        )
    if not identity.source_ref.strip():
        raise Invalid("Give the source's own reference.", field="source_ref")
    _check_values(status, metadata)


def _check_values(status: str, metadata: dict[str, Any]) -> None:
    if status not in AssignmentStatus.values:
        raise Invalid(
            f"A status is one of {', '.join(AssignmentStatus.values)}.", field="status"
        )
    check_metadata(AssignmentMetadata, metadata)


def _create(
    identity: Identity,
    window: Window,
    status: str,
    subscription_item_id: Any,
    metadata: dict[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> PlanAssignment:
    assignment = PlanAssignment(
        realm_id=identity.account.realm_id,
        account=identity.account,
        scope=identity.scope,
        user=identity.user,
        plan=identity.plan,
        source_kind=identity.source_kind,
        source_ref=identity.source_ref,
        window_start=window.start,
        window_end=window.end,
        status=status,
        subscription_item_id=subscription_item_id,
        metadata=metadata,
    )
    # The window says when it holds, so it may be meant for later.
    with auditing(by, at=at, ahead=True):
        assignment.save(force_insert=True)
        _give_status(assignment, effective_at=window.start)
        _announce(assignment, at=at, by=by)
    return assignment


def _apply(
    assignment: PlanAssignment,
    changes: dict[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> bool:
    switches = changes.get("status", assignment.status) != assignment.status
    if switches and by.effective_at > at + MOST_AHEAD:
        raise StatusInFuture(
            "A status takes effect when it is given. To stop a plan later, set the end "
            "of its window.",
            field="audit.effective_at",
        )
    values = {name: changes[name] for name in CHANGEABLE if name in changes}
    with auditing(by, at=at, ahead=True):
        changed = rewritten(assignment, values, at=at)
        if not changed:
            return False
        if not {*changed} <= {*WINDOW} and by.effective_at > assignment.window_start:
            by.require_in_effect(at)
        if switches:
            # A caller's clock may run ahead of ours; a status does not.
            _give_status(assignment, effective_at=min(by.effective_at, at))
        _announce(assignment, at=at, by=by)
    return True


def _give_status(assignment: PlanAssignment, *, effective_at: datetime) -> None:
    """Append the row's present status, known since its history row just written."""
    given = PlanAssignmentStatus.objects.in_realm(assignment.realm_id)
    last = given.filter(assignment=assignment).aggregate(last=Max("sequence"))["last"]
    history: Any = assignment.history
    written = history.aggregate(at=Max("history_date"))["at"]
    PlanAssignmentStatus.objects.create(
        realm_id=assignment.realm_id,
        assignment=assignment,
        sequence=(last or 0) + 1,
        status=assignment.status,
        effective_at=effective_at,
        recorded_at=written,
    )


def _announce(assignment: PlanAssignment, *, at: datetime, by: AuditContext) -> None:
    record_event(
        realm=assignment.account.realm,
        kind="plan_assignment.changed",
        subject=assignment,
        payload={
            "billing_account_id": str(assignment.account_id),
            "billing_user_id": str(assignment.user_id) if assignment.user_id else None,
            "plan_id": str(assignment.plan_id),
            "status": assignment.status,
        },
        at=at,
        by=by,
    )
