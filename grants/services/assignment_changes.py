"""What people do to grant assignments: give by hand, change, pause, resume, cancel."""

from collections.abc import Mapping
from copy import copy
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from billing.models import BillingUser
from billing.services.accounts import lock_account
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.ids import new_id
from config.kernel.windows import Window
from grants.bindings import fingerprint_of
from grants.models import GrantAssignment, GrantProgram, GrantSource, GrantStatus
from grants.services.approval import require_approval_of
from grants.services.assignments import (
    GrantIdentity,
    GrantTerms,
    assign_grant,
    assignment_of,
    check_identity,
    check_terms,
    rewrite,
)
from grants.services.issuance import issue_lot
from grants.services.locking import locked_assignment

CHANGEABLE = (
    "window_end",
    "status",
    "amount_xusd",
    "outstanding_policy_override",
    "metadata",
)
_SHORTEST = timedelta(seconds=1)


class SourceGivenOtherwise(Conflict):
    """The source ref already stands for another amount by hand (409)."""


def manual_identity(
    *,
    user: BillingUser,
    program: GrantProgram,
    source_ref: str | None = None,
    by: AuditContext,
) -> GrantIdentity:
    """Return the identity of what a person gives to a user.

    Without a `source_ref` the idempotency key is one: the same key is the same gift.
    Without a key it is a new one.
    """
    if source_ref is None and by.idempotency_key is not None:
        source_ref = f"key:{fingerprint_of(by.idempotency_key)}"
    return GrantIdentity(
        account=user.account,
        user=user,
        program=program,
        source_kind=GrantSource.MANUAL,
        source_ref=source_ref or f"manual:{new_id()}",
    )


@transaction.atomic
def create_manual_assignment(
    *,
    identity: GrantIdentity,
    window: Window,
    terms: GrantTerms,
    may_approve: bool = False,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantAssignment, bool]:
    """Give by hand, and issue at once; return the assignment, and whether it is new.

    The identity is one of `manual_identity`. `terms.amount_xusd` is required (10^-6
    USD). A window that begins later issues then; what is due of an earlier one, the
    sweep issues. `may_approve` says that the caller is a member of staff with the
    permission `grants.approve_grant`: whoever is not gives no more than the
    deployment's limit (GRANT.APPROVAL_REQUIRED), unless it was given before. Locks the
    account. Refuses the ref with another amount (`SourceGivenOtherwise`, 409), and what
    `assign_grant` refuses.
    """
    if identity.source_kind != GrantSource.MANUAL:
        raise Invalid("What is given by hand is ops.manual.", field="source_kind")
    if terms.amount_xusd is None:
        raise Invalid("Say how much is given.", field="amount_xusd")
    check_terms(terms)
    check_identity(identity)
    lock_account(identity.account)
    earlier = _given_alike(identity, terms)
    asked = assignment_of(identity, window, terms)
    require_approval_of(asked, before=earlier, may_approve=may_approve)
    assignment, created = assign_grant(
        identity=identity, window=window, terms=terms, at=at, by=by
    )
    if assignment.holds(at):
        issue_lot(assignment=assignment, reference_at=at, at=at, by=by)
    return assignment, created


def _given_alike(identity: GrantIdentity, terms: GrantTerms) -> GrantAssignment | None:
    """Return what was given under the ref before; refuse another amount."""
    earlier = identity.same().first()
    if earlier is not None and earlier.amount_xusd != terms.amount_xusd:
        raise SourceGivenOtherwise(
            f"{identity.source_ref} already gives this user {earlier.amount_xusd} "
            f"xusd, not {terms.amount_xusd}.",
            field="source_ref",
        )
    return earlier


@transaction.atomic
def change_assignment(
    *,
    assignment: GrantAssignment,
    changes: Mapping[str, Any],
    may_approve: bool = False,
    at: datetime,
    by: AuditContext,
) -> GrantAssignment:
    """Set the given fields of an assignment, for lots issued from then on.

    Fields: window_end (None re-opens), status, amount_xusd (10^-6 USD, None: the
    program's), outstanding_policy_override (None: the program's), metadata (whole).
    `canceled` stops issuance and ends the window at `at`, where it does not end before;
    lots that were issued stay. Refuses terms that give another amount than before,
    above what needs approval (GRANT.APPROVAL_REQUIRED), anything but a window meant for
    later (AUDIT.EFFECTIVE_IN_FUTURE), and (`Invalid`) what no assignment may have.
    """
    assignment = locked_assignment(assignment)
    values = {name: changes[name] for name in CHANGEABLE if name in changes}
    _check(assignment, values, may_approve=may_approve)
    if values.get("status") == GrantStatus.CANCELED:
        values |= ended(assignment, values, at=at)
    rewrite(assignment, values, at=at, by=by)
    return assignment


def pause_assignment(
    *, assignment: GrantAssignment, at: datetime, by: AuditContext
) -> GrantAssignment:
    """Stop issuance until `resume_assignment`; lots that were issued stay."""
    return change_assignment(
        assignment=assignment, changes={"status": GrantStatus.PAUSED}, at=at, by=by
    )


def resume_assignment(
    *, assignment: GrantAssignment, at: datetime, by: AuditContext
) -> GrantAssignment:
    """Issue again, from the period of `at` on: nothing is given for the pause."""
    return change_assignment(
        assignment=assignment, changes={"status": GrantStatus.ACTIVE}, at=at, by=by
    )


def ended(
    assignment: GrantAssignment, values: Mapping[str, Any], *, at: datetime
) -> dict[str, Any]:
    """Return the end of the window of an assignment that is canceled at `at`.

    One that has not begun yet keeps a second, because no window is empty.
    """
    end = values.get("window_end", assignment.window_end)
    earliest = max(at, assignment.window_start + _SHORTEST)
    return {"window_end": earliest if end is None else min(end, earliest)}


def _check(
    assignment: GrantAssignment, values: Mapping[str, Any], *, may_approve: bool
) -> None:
    status = values.get("status", assignment.status)
    if status not in GrantStatus.values:
        raise Invalid(
            f"A status is one of {', '.join(GrantStatus.values)}.", field="status"
        )
    Window(assignment.window_start, values.get("window_end", assignment.window_end))
    policy = values.get(
        "outstanding_policy_override", assignment.outstanding_policy_override
    )
    terms = GrantTerms(
        amount_xusd=values.get("amount_xusd", assignment.amount_xusd),
        quantity=assignment.quantity,
        outstanding_policy=policy,
        metadata=values.get("metadata", assignment.metadata),
    )
    check_terms(terms)
    if "amount_xusd" in values or "metadata" in values:
        asked = copy(assignment)
        asked.amount_xusd, asked.metadata = terms.amount_xusd, terms.metadata
        require_approval_of(asked, before=assignment, may_approve=may_approve)
