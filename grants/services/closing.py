"""Closing lots: what becomes of the rest when a lot has ended, or nothing is left.

A lot that ended first waits (`pending_close`) until no lease holds any of it; then it
is closed as its assignment's `metadata.grant_override.expiry_policy` says, else its
program's `metadata.expiry_policy`:

- `forfeit` (also where none is said): the rest goes to *Forfeited*.
- `refund`: the rest goes to *Refunded*.
- `carryover`: the rest becomes a rollover lot for as long as the lot held, from its
  end or, where it is closed later, from then on; at most to the end of the assignment.
  It is carried once: the rest of a rollover lot, and of a lot whose assignment ended
  by then, is forfeited.
- `none`: nobody decided. The rest can be spent no more, and stays on the lot's ledger
  account until somebody revokes the lot.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from config.kernel.audit import AuditContext
from config.kernel.windows import Window
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event
from grants.models import (
    OPEN,
    SPENDABLE,
    ClosureKind,
    GrantLot,
    LedgerKind,
    LotKind,
    LotStatus,
    PostingReason,
)
from grants.selectors.endings import closure_of, following_window
from grants.services.apart import FIRST, apart, never
from grants.services.ledger import Cause, Leg, holding_of, move, post
from grants.services.lot_rows import write_lot

BATCH = 200

Lock = Callable[[QuerySet[GrantLot]], QuerySet[GrantLot]]


@dataclass(slots=True)
class Closed:
    """What a run came to: lots that wait, were closed, and failed.

    Those that failed are tried again by the next run.
    """

    waiting: int = 0
    closed: int = 0
    failed: list[UUID] = field(default_factory=list)


def left_alone(lots: QuerySet[GrantLot]) -> QuerySet[GrantLot]:
    """Lock lots; leave out those that somebody else has."""
    return lots.select_for_update(no_key=True, skip_locked=True, of=("self",))


def close_ended_lots(
    *,
    at: datetime,
    by: AuditContext,
    batch: int = BATCH,
    stop: Callable[[], bool] = never,
) -> Closed:
    """End and close the lots that are due by `at` (aware UTC), until `stop()` is true.

    Those that ended first come first, then those of which nothing is left. A lot is a
    transaction. One that fails is logged and told, and the others go on; one that
    somebody else has is left to the next run. Overage lots are never closed here.
    """
    run = Closed()
    for found in (_ended_lots(at, batch), _used_up_lots(batch)):
        for lot_id in found:
            if stop():
                return run
            _close_safely(lot_id, run, at=at, by=by)
    return run


@transaction.atomic
def close_lot(
    *, lot_id: UUID, at: datetime, by: AuditContext, lock: Lock = left_alone
) -> GrantLot | None:
    """End a lot that is due, and close it where no lease holds any of it.

    Returns the lot as it then stands; None where it is not due, or is locked. `lock` is
    a seam for the race tests, which pass one that does not lock.
    """
    lot = (
        lock(_due(at).filter(pk=lot_id))
        .select_related("user__realm", "assignment", "program")
        .first()
    )
    if lot is None:
        return None
    if lot.reserved_xusd == 0:
        _close(lot, at=at, by=by)
    elif lot.status in SPENDABLE:
        write_lot(lot, at=at, by=by, status=LotStatus.PENDING_CLOSE)
    return lot


def _due(at: datetime) -> QuerySet[GrantLot]:
    """Return the lots that ended, or of which nothing is left and all is settled.

    A suspended lot waits as it is: a hold on it must not come back to life. A lot that
    waits already is due once nothing holds it.
    """
    return _open().filter(_ended(at) | _USED_UP)


_USED_UP = Q(settled_xusd=F("amount_xusd"), reserved_xusd=0)


def _ended(at: datetime) -> Q:
    return Q(window_end__lte=at) & (Q(status__in=SPENDABLE) | Q(reserved_xusd=0))


def _open() -> QuerySet[GrantLot]:
    given = GrantLot.objects.exclude(kind=LotKind.FALLBACK)
    return given.filter(status__in=OPEN, closure_kind__isnull=True)


def _ended_lots(at: datetime, batch: int) -> Iterator[UUID]:
    """Yield the lots that ended, those that ended first before the others."""
    ended = _open().filter(_ended(at)).order_by("window_end", "id")
    found = list(ended.values_list("window_end", "pk")[:batch])
    while found:
        yield from (key for _, key in found)
        end, last = found[-1]
        rest = ended.filter(Q(window_end__gt=end) | Q(pk__gt=last), window_end__gte=end)
        found = list(rest.values_list("window_end", "pk")[:batch])


def _used_up_lots(batch: int) -> Iterator[UUID]:
    """Yield the lots of which nothing is left and all is settled, in order of id."""
    used = _open().filter(_USED_UP).order_by("id").values_list("pk", flat=True)
    after = FIRST
    while found := list(used.filter(pk__gt=after)[:batch]):
        yield from found
        after = found[-1]


def _close_safely(lot_id: UUID, run: Closed, *, at: datetime, by: AuditContext) -> None:
    with apart("a grant was not closed", lot_id, run.failed):
        lot = close_lot(lot_id=lot_id, at=at, by=by)
        if lot is not None and lot.status == LotStatus.CLOSED:
            run.closed += 1
        elif lot is not None:
            run.waiting += 1


def _close(lot: GrantLot, *, at: datetime, by: AuditContext) -> None:
    rest = lot.amount_xusd - lot.consumed_xusd
    following = following_window(lot, at)
    closure = closure_of(lot, rest, following)
    write_lot(
        lot,
        at=at,
        by=by,
        status=LotStatus.CLOSED,
        closure_kind=closure,
        closed_at=at,
        closed_remaining_xusd=rest,
    )
    if closure == ClosureKind.CARRYOVER and following is not None:
        _carry_over(lot, rest, following, at=at, by=by)
    elif closure != ClosureKind.NONE:
        _post_away(lot, rest, closure, at=at, by=by)
    facts = {
        "billing_user_id": str(lot.user_id),
        "closure_kind": closure,
        "closed_remaining_xusd": str(rest),
    }
    record_event(
        realm=lot.user.realm,
        kind="grant.closed",
        subject=lot,
        payload=facts,
        at=at,
        by=by,
    )


def _carry_over(
    lot: GrantLot, rest: int, window: Window, *, at: datetime, by: AuditContext
) -> None:
    """Give the rest of a closed lot again, for the period that follows."""
    carried = _rollover(lot, rest, window)
    with auditing(by, at=at):
        carried.save(force_insert=True)
    holding = holding_of(lot)
    legs = [Leg(holding, -rest, lot), Leg(holding, rest, carried)]
    cause = Cause(PostingReason.CARRYOVER, f"grant_lot:{lot.pk}", carried.issue_key)
    post(user=lot.user, cause=cause, legs=legs, at=at, by=by)
    facts = {
        "billing_user_id": str(lot.user_id),
        "amount_xusd": str(rest),
        "carried_from": str(lot.pk),
    }
    record_event(
        realm=lot.user.realm,
        kind="grant.issued",
        subject=carried,
        payload=facts,
        at=at,
        by=by,
    )


def _rollover(lot: GrantLot, rest: int, window: Window) -> GrantLot:
    return GrantLot(
        realm_id=lot.realm_id,
        account_id=lot.account_id,
        user_id=lot.user_id,
        program_id=lot.program_id,
        assignment_id=lot.assignment_id,
        carried_from=lot,
        period_start=window.start,
        period_end=window.end,
        window_start=window.start,
        window_end=window.end,
        alloc_seq=lot.alloc_seq,
        issue_key=f"carryover:{lot.pk}",
        source_kind=lot.source_kind,
        source_ref=lot.source_ref,
        on_ledger=lot.on_ledger,
        kind=LotKind.ROLLOVER,
        priority=lot.priority,
        outstanding_policy=lot.outstanding_policy,
        amount_xusd=rest,
        metadata=lot.metadata,
    )


_AWAY = {
    ClosureKind.FORFEIT: (LedgerKind.FORFEITED, PostingReason.FORFEIT),
    ClosureKind.REFUND: (LedgerKind.REFUNDED, PostingReason.REFUND),
}


def _post_away(
    lot: GrantLot, rest: int, closure: ClosureKind, *, at: datetime, by: AuditContext
) -> None:
    target, reason = _AWAY[closure]
    cause = Cause(reason, f"grant_lot:{lot.pk}", f"close:{lot.pk}")
    legs = move(holding_of(lot), target, rest, lot=lot)
    post(user=lot.user, cause=cause, legs=legs, at=at, by=by)
