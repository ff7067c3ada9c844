"""Verbs on a lot: whether it may be spent, and taking back what is left of it."""

from datetime import datetime

from django.db import transaction

from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, NotFound
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
from grants.services.ledger import Cause, holding_of, move, post
from grants.services.lot_rows import write_lot


class LotEnded(Conflict):
    """The grant is closed, revoked or about to close: this cannot be done (409)."""


class LotIsOverage(Conflict):
    """What is owed was not given: no verb on what was given is for it (409)."""


@transaction.atomic
def suspend_lot(*, lot: GrantLot, at: datetime, by: AuditContext) -> GrantLot:
    """Let nothing more be spent of a lot until it is resumed; return it.

    What leases hold of it is not spent either; it is given back as they end. One that
    is suspended stays as it is. Refuses overage (`LotIsOverage`) and a lot that ended
    (`LotEnded`). `at` is aware UTC.
    """
    lot = _given(lot, "suspended")
    if lot.status == LotStatus.SUSPENDED:
        return lot
    _require(lot, SPENDABLE, "suspended")
    write_lot(lot, at=at, by=by, status=LotStatus.SUSPENDED)
    _record(lot, "grant.suspended", at=at, by=by)
    return lot


@transaction.atomic
def resume_lot(*, lot: GrantLot, at: datetime, by: AuditContext) -> GrantLot:
    """Let a suspended lot be spent again, as long as its window holds; return it.

    One that may be spent stays as it is. Refuses overage (`LotIsOverage`) and a lot
    that ended (`LotEnded`). `at` is aware UTC.
    """
    lot = _given(lot, "resumed")
    if lot.status in SPENDABLE:
        return lot
    _require(lot, (LotStatus.SUSPENDED,), "resumed")
    write_lot(lot, at=at, by=by, status=LotStatus.READY)
    _record(lot, "grant.resumed", at=at, by=by)
    return lot


@transaction.atomic
def revoke_lot(*, lot: GrantLot, at: datetime, by: AuditContext) -> GrantLot:
    """Take back what is left of a lot, for good; return it.

    The rest, held or not, goes to *Forfeited*. What was spent stays spent. Leases keep
    their holds until they end, and nothing is spent of them. Also a lot that closed
    with its rest kept (`none`) may be revoked; one that was revoked stays as it is.
    Refuses overage (`LotIsOverage`) and another lot that closed (`LotEnded`). `at` is
    aware UTC.
    """
    lot = _given(lot, "revoked")
    if lot.status == LotStatus.CANCELED:
        return lot
    kept = lot.status == LotStatus.CLOSED and lot.closure_kind == ClosureKind.NONE
    rest = lot.amount_xusd - lot.consumed_xusd
    if not (kept and rest):
        _require(lot, OPEN, "revoked")
    write_lot(
        lot,
        at=at,
        by=by,
        status=LotStatus.CANCELED,
        closure_kind=ClosureKind.FORFEIT,
        closed_at=lot.closed_at or at,
        closed_remaining_xusd=rest,
    )
    if rest:
        cause = Cause(
            PostingReason.REVOCATION, f"grant_lot:{lot.pk}", f"revoke:{lot.pk}"
        )
        legs = move(holding_of(lot), LedgerKind.FORFEITED, rest, lot=lot)
        post(user=lot.user, cause=cause, legs=legs, at=at, by=by)
    _record(lot, "grant.revoked", at=at, by=by, closed_remaining_xusd=str(rest))
    return lot


def _given(lot: GrantLot, done: str) -> GrantLot:
    """Return a lot as it is now, locked; refuse overage, whatever its status."""
    found = (
        GrantLot.objects.select_for_update(no_key=True, of=("self",))
        .select_related("user__realm", "program")
        .filter(pk=lot.pk)
        .first()
    )
    if found is None:
        raise NotFound(f"There is no grant {lot.pk}.")
    if found.kind == LotKind.FALLBACK:
        raise LotIsOverage(f"What a user owes was not given; it cannot be {done}.")
    return found


def _require(lot: GrantLot, statuses: tuple[str, ...], done: str) -> None:
    if lot.status not in statuses:
        raise LotEnded(
            f"This grant is {lot.get_status_display().lower()}; it cannot be {done}."
        )


def _record(
    lot: GrantLot, kind: str, *, at: datetime, by: AuditContext, **facts: str
) -> None:
    payload = {
        "billing_account_id": str(lot.account_id),
        "billing_user_id": str(lot.user_id),
        "program_code": lot.program.program_code,
        "operator": by.operator,
        "reason": by.reason,
        **facts,
    }
    record_event(
        realm=lot.user.realm, kind=kind, subject=lot, payload=payload, at=at, by=by
    )
