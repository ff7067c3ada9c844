"""Plan-derived grants: every active user is bound to what the account's plans bring.

What a plan assignment brings is frozen when the assignment is made (`PlanTemplates`):
an edit of the plan changes nothing for those who hold it. Removing happens where the
plan assignment itself ends or changes, and by `services.resync`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from billing.models import (
    BillingAccount,
    BillingUser,
    Plan,
    PlanAssignment,
    UserStatus,
)
from billing.services.accounts import lock_account
from config.kernel.audit import AuditContext
from config.kernel.errors import DomainError
from grants.bindings import fingerprint_of
from grants.models import GrantAssignment, GrantEnrollment, GrantSource, GrantStatus
from grants.services.assignment_changes import ended
from grants.services.assignments import (
    GrantIdentity,
    GrantTerms,
    assign_grant,
    rewrite,
)
from grants.services.issuance import issue_now
from grants.services.locking import locked_all, locked_assignment
from grants.services.plan_templates import (
    AccountGrants,
    Wanted,
    account_grants,
    held_assignments,
    wanted_bindings,
)

log = structlog.get_logger("plangate.grants")

Bindings = Mapping[str, GrantAssignment]


@dataclass(frozen=True, slots=True)
class Bound:
    """What binding came to: the new bindings, and those that are to issue now."""

    created: list[GrantAssignment]
    to_issue: list[GrantAssignment]


def enroll_holders(
    *, subject: PlanAssignment, at: datetime, by: AuditContext, **_: Any
) -> None:
    """Give or take what a plan assignment brings (`plan_assignment.changed`)."""
    if subject.user is None:
        enroll_account(account=subject.account, at=at, by=by)
    else:
        enroll_user(user=subject.user, at=at, by=by)


def enroll_changed(
    *, subject: BillingUser, at: datetime, by: AuditContext, **_: Any
) -> None:
    """Give or take a user's plan grants (`billing_user.changed`)."""
    enroll_user(user=subject, at=at, by=by)


def enroll_waiting(*, subject: Plan, at: datetime, by: AuditContext, **_: Any) -> None:
    """Give what a plan brings that was inactive when it was assigned (`plan.changed`).

    Nothing else of a plan's change reaches those who hold it.
    """
    if not subject.active:
        return
    waiting = held_assignments(plan=subject, at=at).filter(grant_templates__isnull=True)
    for assignment in waiting:
        enroll_holders(subject=assignment, at=at, by=by)


def issue_what_can(
    assignments: Sequence[GrantAssignment], *, at: datetime, by: AuditContext
) -> None:
    """Issue as `issuance.issue_for_all`, and leave to the sweep what is refused.

    For what follows from somebody else's change: a user must not fail to become active
    because a plan gives what cannot be given. The sweep tries again, and reports it.
    """
    locked = locked_all(assignments)
    for each in assignments:
        if not each.holds(at):
            continue
        try:
            with transaction.atomic():
                issue_now(locked[each.pk], at=at, by=by)
        except DomainError as refusal:
            log.warning(
                "a grant was not issued",
                assignment=str(each.pk),
                code=refusal.code,
                error=str(refusal),
            )


@transaction.atomic
def enroll_account(
    *, account: BillingAccount, at: datetime, by: AuditContext
) -> list[GrantAssignment]:
    """Bind the users of an account to what its plans bring; return new bindings.

    Locks the account; see `enroll_user`.
    """
    account = lock_account(account)
    grants = account_grants(account, at=at)
    users = BillingUser.objects.in_realm(account.realm_id).filter(
        Q(status=UserStatus.ACTIVE) | Q(grant_enrollment__isnull=False),
        account=account,
    )
    created: list[GrantAssignment] = []
    for user in users.select_related("account__realm").order_by("pk"):
        bound = _bind_all(user, grants, at=at, by=by)
        issue_what_can(bound.to_issue, at=at, by=by)
        created += bound.created
    return created


@transaction.atomic
def enroll_user(
    *, user: BillingUser, at: datetime, by: AuditContext
) -> list[GrantAssignment]:
    """Bind one user to what the account's plans bring; return new bindings.

    An active user is to have a binding per template of each plan assignment that is
    active and has not ended, for its window; any other user none. Bindings that are not
    wanted any more are canceled, those wanted again reinstated; one that a person
    canceled or paused stays so. Then issues what the bindings give at `at`. Skipped
    where nothing is wanted otherwise than last time. Locks the account.
    """
    bound = bind_user(user=user, at=at, by=by)
    issue_what_can(bound.to_issue, at=at, by=by)
    return bound.created


@transaction.atomic
def bind_user(*, user: BillingUser, at: datetime, by: AuditContext) -> Bound:
    """Bind one user as `enroll_user` does, and issue nothing.

    Whoever also issues for other bindings of the user binds them all first. Locks the
    account.
    """
    account = lock_account(user.account)
    found = BillingUser.objects.select_related("account__realm").get(pk=user.pk)
    return _bind_all(found, account_grants(account, at=at), at=at, by=by)


def _bind_all(
    user: BillingUser, grants: AccountGrants, *, at: datetime, by: AuditContext
) -> Bound:
    existing = {binding.source_ref: binding for binding in _bindings(user)}
    wanted = [
        each
        for each in wanted_bindings(grants, user, at=at)
        if each.program.active or each.source_ref in existing
    ]
    enrollment = GrantEnrollment.objects.filter(pk=user.pk).first()
    fingerprint = fingerprint_of([each.facts for each in wanted])
    if enrollment is not None and enrollment.fingerprint == fingerprint:
        return Bound([], [])
    # A plan assignment may be meant for later; what follows from it is done now.
    by = by.effective(min(by.effective_at, at))
    held = set(enrollment.bindings) if enrollment else set()
    created = _apply(user, existing, wanted, held, at=at, by=by)
    refs = [each.source_ref for each in wanted]
    _remember(user, fingerprint, refs, at=at)
    active = _bindings(user).filter(source_ref__in=refs, status=GrantStatus.ACTIVE)
    return Bound(created, list(active))


def _bindings(user: BillingUser) -> QuerySet[GrantAssignment]:
    bindings = GrantAssignment.objects.in_realm(user.realm_id).select_related("user")
    return bindings.filter(user=user, source_kind=GrantSource.PLAN).order_by("pk")


def _remember(
    user: BillingUser, fingerprint: str, refs: Sequence[str], *, at: datetime
) -> None:
    said = {"fingerprint": fingerprint, "bindings": list(refs), "applied_at": at}
    owner = {"realm_id": user.realm_id, "account_id": user.account_id}
    GrantEnrollment.objects.update_or_create(
        user=user, defaults=said, create_defaults={**owner, **said}
    )


def _apply(
    user: BillingUser,
    existing: Bindings,
    wanted: Sequence[Wanted],
    held: set[str],
    *,
    at: datetime,
    by: AuditContext,
) -> list[GrantAssignment]:
    """Bind, let follow, and cancel, until the user has what is wanted."""
    created = []
    for each in wanted:
        found = existing.get(each.source_ref)
        if found is None:
            created.append(_bind(user, each, at=at, by=by))
        else:
            _follow(found, each, was_held=each.source_ref in held, at=at, by=by)
    kept = {each.source_ref for each in wanted}
    for ref, binding in existing.items():
        if ref not in kept and binding.status != GrantStatus.CANCELED:
            _cancel(binding, at=at, by=by)
    return created


def _bind(
    user: BillingUser, wanted: Wanted, *, at: datetime, by: AuditContext
) -> GrantAssignment:
    identity = GrantIdentity(
        account=user.account,
        user=user,
        program=wanted.program,
        source_kind=GrantSource.PLAN,
        source_ref=wanted.source_ref,
        plan_assignment=wanted.plan_assignment,
    )
    joined_late = wanted.anchor < wanted.window.start
    terms = GrantTerms(
        anchored_at=wanted.anchor if joined_late else None, metadata=wanted.metadata
    )
    return assign_grant(
        identity=identity, window=wanted.window, terms=terms, at=at, by=by
    )[0]


def _follow(
    binding: GrantAssignment,
    wanted: Wanted,
    *,
    was_held: bool,
    at: datetime,
    by: AuditContext,
) -> None:
    """Let a binding follow its plan assignment, which owns its window and terms.

    One that was canceled although it was wanted stays so: a person did that.
    """
    binding = locked_assignment(binding)
    if binding.status == GrantStatus.CANCELED and was_held:
        return
    start, end = wanted.anchor, wanted.window.end
    anchor = binding.anchored_at
    if anchor is not None and anchor < binding.window_start:
        # The user joined later than the plan began.
        start = max(start, binding.window_start)
    values: dict[str, Any] = {
        "window_start": start if end is None or start < end else wanted.anchor,
        "window_end": end,
        "metadata": wanted.metadata,
    }
    if binding.status == GrantStatus.CANCELED:
        values["status"] = GrantStatus.ACTIVE
    rewrite(binding, values, at=at, by=by)


def _cancel(binding: GrantAssignment, *, at: datetime, by: AuditContext) -> None:
    binding = locked_assignment(binding)
    values = {"status": GrantStatus.CANCELED, **ended(binding, {}, at=at)}
    rewrite(binding, values, at=at, by=by)
