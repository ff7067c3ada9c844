"""Binding users to programs: the identity, its merge rule, and changes by people."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from billing.models import BillingAccount, BillingUser, PlanAssignment
from catalog.services.rows import locked_or_inserted, rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid, NotFound, Refused
from config.kernel.metadata import GrantAssignmentMetadata, check_metadata
from config.kernel.money import parse_posint, parse_uint
from config.kernel.windows import Window, merge_windows
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event
from grants.models import (
    GrantAssignment,
    GrantCampaign,
    GrantProgram,
    GrantSource,
    GrantStatus,
    LotKind,
    OutstandingPolicy,
)
from grants.services.locking import cursor_of, locked_assignment, set_cursor

MOST_SOURCE_REF = 255
WINDOW = ("window_start", "window_end", "anchored_at")
"""The fields that say when, and so may be meant for later."""


class InactiveProgram(Refused):
    """An inactive program binds nobody anew (422)."""

    default_code = "GRANT.PROGRAM_INACTIVE"


class UnknownProgram(Invalid):
    """The realm has no program of that code (422)."""

    default_code = "GRANT.PROGRAM_UNKNOWN"


@dataclass(frozen=True, slots=True)
class GrantIdentity:
    """What makes a grant assignment the same event, however often it is sent.

    A plan's names the plan assignment, a campaign's the campaign. `payment_id` is kept
    with it, where a payment caused it.
    """

    account: BillingAccount
    user: BillingUser
    program: GrantProgram
    source_kind: str
    source_ref: str
    plan_assignment: PlanAssignment | None = None
    campaign: GrantCampaign | None = None
    payment_id: UUID | None = None

    def same(self) -> QuerySet[GrantAssignment]:
        """Return the assignment of this identity, where there is one."""
        return GrantAssignment.objects.in_realm(self.account.realm_id).filter(
            user=self.user,
            program=self.program,
            source_kind=self.source_kind,
            source_ref=self.source_ref,
        )


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What an assignment gives, where it is not what the program says.

    `amount_xusd` is that of one period (10^-6 USD), None: the override's or the
    program's. `quantity` multiplies it, unless scaling is off. `outstanding_policy`
    None is the program's. `anchored_at` (aware UTC) is from where its periods are
    counted, None: from its start.
    """

    amount_xusd: int | None = None
    quantity: int = 1
    outstanding_policy: str | None = None
    anchored_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def program_named(realm: Realm | str, program_code: str) -> GrantProgram:
    """Return the realm's program of a code; refuses another one (`UnknownProgram`)."""
    programs = GrantProgram.objects.in_realm(realm)
    program = programs.filter(program_code=program_code).first()
    if program is None:
        raise UnknownProgram(
            f"There is no grant program {program_code} in this realm.",
            field="grant_program_code",
        )
    return program


@transaction.atomic
def assign_grant(
    *,
    identity: GrantIdentity,
    window: Window,
    terms: GrantTerms | None = None,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantAssignment, bool]:
    """Bind a user to a program for a window; return the assignment, and if it is new.

    Sending the same identity again merges: the earlier start, the later end (a null end
    keeps what is there), and the incoming terms as a whole, for lots issued from then
    on. One that was canceled stays as it is. Issues nothing itself. Refuses an inactive
    program for a new binding (GRANT.PROGRAM_INACTIVE), another realm's program or a
    user of another account (`NotFound`), and (`Invalid`) the program of overage, an
    unknown source, an amount below 0 or beyond 64 bits, a quantity below 1 and metadata
    that breaks its contract.
    """
    terms = terms or GrantTerms()
    check_identity(identity)
    check_terms(terms)
    new = assignment_of(identity, window, terms)
    same = identity.same()
    if not identity.program.active and not same.exists():
        raise InactiveProgram(
            f"The grant program {identity.program.program_code} is inactive: it binds "
            "nobody anew.",
            field="program_id",
        )
    # The window says when it holds, so it may be meant for later.
    with auditing(by, at=at, ahead=True):
        assignment, created = locked_or_inserted(same, new)
        assignment = locked_assignment(assignment)
        if created:
            set_cursor(assignment, window.start)
            announce(assignment, at=at, by=by)
        elif assignment.status != GrantStatus.CANCELED:
            _merge(assignment, window, terms, at=at, by=by)
    return assignment, created


def rewrite(
    assignment: GrantAssignment,
    values: Mapping[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> bool:
    """Give a locked assignment values; return whether any differed.

    Where the start moves, its periods are still counted from where they were. Tells of
    the change, and has the sweep look where it may now find more. Refuses anything but
    a window meant for later (AUDIT.EFFECTIVE_IN_FUTURE).
    """
    before = copy(assignment)
    given = dict(values)
    moves = given.get("window_start", before.window_start) != before.window_start
    if moves and assignment.anchored_at is None:
        given["anchored_at"] = before.window_start
    with auditing(by, at=at, ahead=True):
        changed = rewritten(assignment, given, at=at)
        if not changed:
            return False
        if not {*changed} <= {*WINDOW}:
            by.require_in_effect(at)
        _move_cursor(assignment, before, at=at)
        announce(assignment, at=at, by=by)
    return True


def _move_cursor(
    assignment: GrantAssignment, before: GrantAssignment, *, at: datetime
) -> None:
    """Say where issuance goes on: what was not in effect is not given afterwards."""
    if assignment.status != GrantStatus.ACTIVE:
        set_cursor(assignment, None)
    elif before.status != GrantStatus.ACTIVE:
        set_cursor(assignment, max(at, assignment.window_start))
    elif assignment.window_start < before.window_start:
        set_cursor(assignment, assignment.window_start)
    elif assignment.window_end != before.window_end and (
        cursor_of(assignment).next_at is None
    ):
        set_cursor(assignment, before.window_end)


def announce(assignment: GrantAssignment, *, at: datetime, by: AuditContext) -> None:
    """Record that an assignment is another than before (`grant_assignment.changed`)."""
    record_event(
        realm=assignment.account.realm,
        kind="grant_assignment.changed",
        subject=assignment,
        payload={
            "billing_account_id": str(assignment.account_id),
            "billing_user_id": str(assignment.user_id),
            "program_id": str(assignment.program_id),
            "source_kind": assignment.source_kind,
            "status": assignment.status,
        },
        at=at,
        by=by,
    )


def check_identity(identity: GrantIdentity) -> None:
    """Refuse (`NotFound`, `Invalid`) an identity that no assignment may have."""
    account, user, program = identity.account, identity.user, identity.program
    if program.realm_id != account.realm_id:
        raise NotFound("There is no such program in this realm.", field="program_id")
    if user.account_id != account.pk:
        raise NotFound(
            f"Billing user not found for billing_account_id: {user} is of another "
            "account.",
            field="billing_user_id",
        )
    if program.grant_kind == LotKind.FALLBACK:
        raise Invalid(
            f"{program.program_code} holds what is owed; nobody is bound to it.",
            field="program_id",
        )
    if identity.source_kind not in GrantSource.values:
        raise Invalid(
            f"A source kind is one of {', '.join(GrantSource.values)}.",
            field="source_kind",
        )
    ref = identity.source_ref
    if not ref.strip() or len(ref) > MOST_SOURCE_REF or not ref.isprintable():
        raise Invalid(
            f"A source's reference has 1 to {MOST_SOURCE_REF} printable characters.",
            field="source_ref",
        )


def check_terms(terms: GrantTerms) -> None:
    """Refuse (`Invalid`) terms that no assignment may have."""
    if terms.amount_xusd is not None:
        parse_uint(terms.amount_xusd, "amount_xusd")
    parse_posint(terms.quantity, "quantity")
    policy = terms.outstanding_policy
    if policy is not None and policy not in OutstandingPolicy.values:
        raise Invalid(
            f"An outstanding policy is one of {', '.join(OutstandingPolicy.values)}.",
            field="outstanding_application_policy_override",
        )
    check_metadata(GrantAssignmentMetadata, terms.metadata)


def assignment_of(
    identity: GrantIdentity, window: Window, terms: GrantTerms
) -> GrantAssignment:
    """Return the assignment of an identity, not stored."""
    return GrantAssignment(
        realm_id=identity.account.realm_id,
        account=identity.account,
        user=identity.user,
        program=identity.program,
        plan_assignment=identity.plan_assignment,
        campaign=identity.campaign,
        payment_id=identity.payment_id,
        source_kind=identity.source_kind,
        source_ref=identity.source_ref,
        window_start=window.start,
        window_end=window.end,
        anchored_at=terms.anchored_at,
        **_columns(terms),
    )


def _columns(terms: GrantTerms) -> dict[str, Any]:
    return {
        "amount_xusd": terms.amount_xusd,
        "quantity": terms.quantity,
        "outstanding_policy_override": terms.outstanding_policy,
        "metadata": terms.metadata,
    }


def _merge(
    assignment: GrantAssignment,
    window: Window,
    terms: GrantTerms,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    existing = Window(assignment.window_start, assignment.window_end)
    merged = merge_windows(existing, window)
    values = {
        "window_start": merged.start,
        "window_end": merged.end,
        **_columns(terms),
    }
    rewrite(assignment, values, at=at, by=by)
