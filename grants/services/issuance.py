"""Issuing: a lot for one period of an assignment, exactly once.

Locks in this order: the account (where plans are applied, or a person gives), the
assignments, the lots of overage, the ledger accounts. So whoever issues for several
assignments of a user first binds them all, then issues (`issue_for_all`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from catalog.services.rows import locked_or_inserted
from config.kernel.audit import AuditContext
from config.kernel.windows import Window, format_instant
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event
from grants.models import (
    GrantAssignment,
    GrantLot,
    GrantStatus,
    LedgerKind,
    OutstandingPolicy,
    PostingReason,
)
from grants.schedule import (
    CATCH_UP_DEFAULT,
    NoBillingPeriod,
    Slot,
    due_slots,
    lot_window,
    slot_at,
)
from grants.selectors.terms import LotTerms, billing_periods, terms_of
from grants.services.ledger import Cause, holding_of, move, post
from grants.services.locking import (
    cursor_of,
    locked_all,
    locked_assignment,
    set_cursor,
)
from grants.services.outstanding import lock_owed, pay_outstanding


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What a catch-up came to: the lots that are new, and whether more are due now."""

    lots: Sequence[GrantLot]
    more: bool


@transaction.atomic
def issue_lot(
    *,
    assignment: GrantAssignment,
    reference_at: datetime,
    alloc_seq: int | None = None,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantLot | None, bool]:
    """Issue the lot of the period that contains `reference_at`; return it, and if new.

    A lot that was issued for that time is returned as it is. None where nothing is
    given: the assignment is not active, its window is over by then, or the amount is 0.
    `alloc_seq` (0 or more) issues a further lot of the period, beside the one that the
    terms say. Posts it to the ledger and, where its policy says so, pays first what the
    user owes. Locks the assignment. Refuses (`Invalid`) an amount beyond 64 bits, a
    balance beyond what a ledger account may come to and an override that breaks its
    contract, and what `grants.schedule.slot_at` refuses.
    """
    assignment = locked_assignment(assignment)
    lock_owed(assignment.user)
    return _issue_locked(assignment, reference_at, alloc_seq, at=at, by=by)


def issue_for_all(
    assignments: Sequence[GrantAssignment], *, at: datetime, by: AuditContext
) -> list[tuple[GrantLot | None, bool]]:
    """Issue the lots of the time of `at` of a user's assignments, in order.

    Those whose window does not hold then issue nothing. Locks all of them, in order of
    id, before the first one issues. See `issue_now`.
    """
    locked = locked_all(assignments)
    return [
        issue_now(locked[each.pk], at=at, by=by) if each.holds(at) else (None, False)
        for each in assignments
    ]


def catch_up_all(
    assignments: Sequence[GrantAssignment], *, at: datetime, by: AuditContext
) -> int:
    """Catch up with each of a user's assignments; return how many lots are new.

    Where more is due than one call issues, the lot of the time of `at` is issued all
    the same. Locks all of them, in order of id, before the first one issues. See
    `catch_up`.
    """
    new = 0
    for each in locked_all(assignments).values():
        done = _catch_up(each, CATCH_UP_DEFAULT, at=at, by=by)
        new += len(done.lots)
        if done.more and each.holds(at):
            new += issue_now(each, at=at, by=by)[1]
    return new


@transaction.atomic
def catch_up(
    *,
    assignment: GrantAssignment,
    limit: int = CATCH_UP_DEFAULT,
    at: datetime,
    by: AuditContext,
) -> CaughtUp:
    """Issue every lot of an assignment that is due by `at`, at most `limit` (1 to 500).

    Goes on where the last call stopped. Nothing is due while the account has no billing
    period that the program counts from. Locks the assignment; refuses what `issue_lot`
    refuses but for that.
    """
    assignment = locked_assignment(assignment)
    lock_owed(assignment.user)
    return _catch_up(assignment, limit, at=at, by=by)


def issue_now(
    assignment: GrantAssignment, *, at: datetime, by: AuditContext
) -> tuple[GrantLot | None, bool]:
    """Issue the lot of the time of `at` of an assignment that `locked_all` locked.

    As `issue_lot`; nothing where the account has no billing period then, because its
    plan or subscription ran out: the sweep issues as the next one begins.
    """
    try:
        return _issue_locked(assignment, at, None, at=at, by=by)
    except NoBillingPeriod:
        return None, False


def _issue_locked(
    assignment: GrantAssignment,
    reference_at: datetime,
    alloc_seq: int | None,
    *,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantLot | None, bool]:
    """Issue the lot of the time of `reference_at` of a locked assignment."""
    if assignment.status != GrantStatus.ACTIVE:
        return None, False
    terms = terms_of(assignment)
    billing = billing_periods(assignment, at=at)
    slot = slot_at(terms.schedule, terms.binding, reference_at, billing)
    if slot is None:
        return None, False
    seq = slot.index + (terms.alloc_seq if alloc_seq is None else alloc_seq)
    return _issue(assignment, terms, slot, seq, at=at, by=by)


def _catch_up(
    assignment: GrantAssignment, limit: int, *, at: datetime, by: AuditContext
) -> CaughtUp:
    """Issue what is due of a locked assignment."""
    cursor = cursor_of(assignment)
    if assignment.status != GrantStatus.ACTIVE or cursor.next_at is None:
        return CaughtUp((), more=False)
    terms = terms_of(assignment)
    due = due_slots(
        terms.schedule,
        terms.binding,
        since=cursor.next_at,
        until=at,
        limit=limit,
        billing=billing_periods(assignment, at=at),
    )
    issued = []
    for slot in due.slots:
        seq = slot.index + terms.alloc_seq
        lot, created = _issue(assignment, terms, slot, seq, at=at, by=by)
        if lot is not None and created:
            issued.append(lot)
    set_cursor(assignment, due.resume_at)
    return CaughtUp(issued, more=due.resume_at is not None and due.resume_at <= at)


def _issue(
    assignment: GrantAssignment,
    terms: LotTerms,
    slot: Slot,
    seq: int,
    *,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantLot | None, bool]:
    """Issue the lot of one slot of a locked assignment."""
    earlier = _issued_for(assignment, slot.period, seq)
    if earlier is not None:
        return earlier, False
    amount = slot.part_of(terms.amount_xusd)
    if amount <= 0:
        return None, False
    new = _lot(assignment, terms, slot, seq, amount)
    same = _lots(assignment).filter(issue_key=new.issue_key)
    with auditing(by, at=at):
        lot, created = locked_or_inserted(same, new)
        if created:
            _book(lot, assignment, at=at, by=by)
    return lot, created


def _issued_for(
    assignment: GrantAssignment, period: Window, seq: int
) -> GrantLot | None:
    """Return the lot that was issued for a time that the period covers, None if none.

    The same period and number, or another period that overlaps: after the window or
    what it counts from has changed, no time is given for twice.
    """
    issued = _lots(assignment).filter(assignment=assignment, carried_from__isnull=True)
    same = Q(period_start=period.start, period_end=period.end)
    if period.end is None:
        same = Q(period_start=period.start, period_end__isnull=True)
    found = issued.filter(same, alloc_seq=seq).first()
    if found is not None:
        return found
    overlaps = Q(period_end__isnull=True) | Q(period_end__gt=period.start)
    if period.end is not None:
        overlaps &= Q(period_start__lt=period.end)
    return issued.filter(overlaps).exclude(same).order_by("period_start", "id").first()


def _lots(assignment: GrantAssignment) -> QuerySet[GrantLot]:
    return GrantLot.objects.in_realm(assignment.realm_id).filter(
        user_id=assignment.user_id
    )


def _lot(
    assignment: GrantAssignment, terms: LotTerms, slot: Slot, seq: int, amount: int
) -> GrantLot:
    window = lot_window(terms.schedule, terms.binding, slot)
    return GrantLot(
        realm_id=assignment.realm_id,
        account_id=assignment.account_id,
        user=assignment.user,
        program=assignment.program,
        assignment=assignment,
        period_start=slot.period.start,
        period_end=slot.period.end,
        alloc_seq=seq,
        issue_key=_key(assignment, slot.period, seq),
        source_kind=assignment.source_kind,
        source_ref=assignment.source_ref,
        on_ledger=terms.on_ledger,
        kind=terms.kind,
        priority=terms.priority,
        outstanding_policy=terms.outstanding_policy,
        amount_xusd=amount,
        window_start=window.start,
        window_end=window.end,
        metadata=terms.metadata,
    )


def _key(assignment: GrantAssignment, period: Window, seq: int) -> str:
    end = "null" if period.end is None else format_instant(period.end)
    return f"grant:{assignment.pk}:{seq}:{format_instant(period.start)}:{end}"


def _book(
    lot: GrantLot, assignment: GrantAssignment, *, at: datetime, by: AuditContext
) -> None:
    """Post a new lot, tell of it, and let it pay what is owed."""
    cause = Cause(PostingReason.ISSUE, lot.source_ref, f"issue:{lot.pk}")
    legs = move(LedgerKind.ISSUED, holding_of(lot), lot.amount_xusd, lot=lot)
    post(user=assignment.user, cause=cause, legs=legs, at=at, by=by)
    record_event(
        realm=assignment.account.realm,
        kind="grant.issued",
        subject=lot,
        payload={
            "billing_account_id": str(lot.account_id),
            "billing_user_id": str(lot.user_id),
            "assignment_id": str(assignment.pk),
            "program_code": assignment.program.program_code,
            "amount_xusd": str(lot.amount_xusd),
        },
        at=at,
        by=by,
    )
    if lot.outstanding_policy == OutstandingPolicy.APPLY:
        pay_outstanding(lot=lot, at=at, by=by)
        lot.refresh_from_db()
