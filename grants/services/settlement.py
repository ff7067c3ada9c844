"""Settlement: what uses took, put into the ledger.

A posting per user and batch, an entry per lot. A batch is one transaction: cut off
anywhere, it happened or it did not, and the next run goes on with what is pending.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from billing.models import BillingUser
from billing.selectors.periods import accounting_period
from config.kernel.audit import AuditContext
from config.kernel.errors import Misconfigured
from config.kernel.windows import Window
from config.tenancy.history import auditing
from grants.models import (
    FALLBACK_PROGRAM,
    SPEND_ORDER,
    GrantAllocation,
    GrantLot,
    GrantProgram,
    GrantSource,
    LedgerKind,
    LotKind,
    LotStatus,
    Posting,
    PostingReason,
)
from grants.services.ledger import Cause, Leg, holding_of, move, post_anew
from grants.services.outstanding import pay_with_open_lots, paying_lots

BATCH = 250
OVERAGE_PRIORITY = -100_000

Claim = Callable[[QuerySet[GrantAllocation]], QuerySet[GrantAllocation]]


class NoOverageProgram(Misconfigured):
    """The realm lacks the program that holds what is owed (500)."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling came to: allocations, and their sum in 10^-6 USD."""

    count: int = 0
    amount_xusd: int = 0


def claimed(pending: QuerySet[GrantAllocation]) -> QuerySet[GrantAllocation]:
    """Lock pending allocations; leave out those that another run has."""
    return pending.select_for_update(no_key=True, skip_locked=True)


@transaction.atomic
def settle_user(
    *,
    user: BillingUser,
    at: datetime,
    by: AuditContext,
    batch: int = BATCH,
    claim: Claim = claimed,
) -> Settled:
    """Put up to `batch` of the user's pending allocations into the ledger, in order.

    What no lot paid goes to the overage lot of the billing period that contains its
    use, made on first sight; then open lots whose policy says so pay what is owed.
    Returns how many were settled and their sum (10^-6 USD);
    nothing where nothing is pending, or another run has it. `at` is aware UTC. Refuses
    (`NoOverageProgram`) a realm without the program of overage. `claim` is a seam for
    the race tests, which pass one that does not lock.
    """
    pending = list(claim(_pending(user).order_by("id"))[:batch])
    if not pending:
        return Settled()
    overage = _overage(user, pending, at=at, by=by)
    of_lot: dict[UUID, int] = defaultdict(int)
    for allocation in pending:
        of_lot[overage.get(allocation.pk) or allocation.lot_id] += (  # type: ignore[index]
            allocation.amount_xusd
        )
    lots = _locked(user, of_lot, at)
    legs = [leg for lot in lots for leg in _legs(lot, of_lot[lot.pk])]
    key = f"settle:{pending[0].pk}"
    cause = Cause(PostingReason.CONSUMPTION, key, key)
    posting = post_anew(user=user, cause=cause, legs=legs, at=at, by=by)
    for lot in lots:
        _book(lot, of_lot[lot.pk], at=at)
    _mark(pending, overage, posting, at=at)
    pay_with_open_lots(user=user, at=at, by=by)
    return Settled(len(pending), sum(of_lot.values()))


def _pending(user: BillingUser) -> QuerySet[GrantAllocation]:
    return GrantAllocation.objects.in_realm(user.realm_id).filter(
        user=user, posting__isnull=True
    )


def _mark(
    pending: Sequence[GrantAllocation],
    overage: Mapping[UUID, UUID],
    posting: Posting,
    *,
    at: datetime,
) -> None:
    """Note that the allocations are settled, and which overage lot has the rest."""
    settled = {"posting": posting, "updated_at": at}
    paid = [each.pk for each in pending if each.pk not in overage]
    GrantAllocation.objects.filter(pk__in=paid).update(**settled)
    owed = defaultdict[UUID, list[UUID]](list)
    for allocation, lot in overage.items():
        owed[lot].append(allocation)
    for lot, keys in owed.items():
        GrantAllocation.objects.filter(pk__in=keys).update(lot=lot, **settled)


def _overage(
    user: BillingUser,
    pending: Sequence[GrantAllocation],
    *,
    at: datetime,
    by: AuditContext,
) -> dict[UUID, UUID]:
    """Return the overage lot of each allocation that no lot paid, by its id."""
    lots: dict[Window, UUID] = {}
    periods: dict[datetime, Window] = {}
    found = {}
    for allocation in pending:
        if allocation.lot_id is not None:
            continue
        used_at = allocation.occurred_at
        hour = used_at.replace(minute=0, second=0, microsecond=0)
        # Asked once for the uses of an hour, as long as its period holds.
        if hour not in periods or not periods[hour].contains(used_at):
            periods[hour] = accounting_period(
                account=user.account, user_id=user.pk, as_of=used_at, at=at
            )
        period = periods[hour]
        if period not in lots:
            lots[period] = overage_lot(user=user, period=period, at=at, by=by).pk
        found[allocation.pk] = lots[period]
    return found


def overage_lot(
    *, user: BillingUser, period: Window, at: datetime, by: AuditContext
) -> GrantLot:
    """Return the user's overage lot of a billing period, made on first sight.

    Needs an open transaction. Refuses (`NoOverageProgram`) a realm without the program.
    """
    program = _overage_program(user)
    key = f"overage:{period.start.isoformat()}"
    new = GrantLot(
        realm_id=user.realm_id,
        account_id=user.account_id,
        user=user,
        program=program,
        period_start=period.start,
        period_end=period.end,
        window_start=period.start,
        window_end=period.end,
        issue_key=f"{key}:{period.end.isoformat() if period.end else 'open'}",
        source_kind=GrantSource.CATALOG,
        source_ref=key,
        status=LotStatus.ACTIVE,
        kind=LotKind.FALLBACK,
        priority=OVERAGE_PRIORITY,
        amount_xusd=0,
    )
    same = GrantLot.objects.filter(
        realm_id=user.realm_id, user=user, issue_key=new.issue_key
    )
    found = same.first()
    if found is None:
        # Not locked here: lots are locked together, in the order of spending.
        with auditing(by, at=at):
            GrantLot.objects.bulk_create([new], ignore_conflicts=True)
        found = same.get()
    return found


def _overage_program(user: BillingUser) -> GrantProgram:
    programs = GrantProgram.objects.in_realm(user.realm_id)
    program = programs.filter(program_code=FALLBACK_PROGRAM).first()
    if program is None:
        raise NoOverageProgram(f"This realm has no program {FALLBACK_PROGRAM}.")
    return program


def _locked(user: BillingUser, of_lot: dict[UUID, int], at: datetime) -> list[GrantLot]:
    """Return the lots of the batch; lock them, and those that then pay what is owed.

    All at once, in the order of spending, before any ledger account.
    """
    own = GrantLot.objects.in_realm(user.realm_id).filter(user=user)
    paying = paying_lots(user, at=at).order_by().values("pk")
    lots = own.filter(
        Q(pk__in=of_lot) | Q(pk__in=paying) | Q(pk__in=own.owed().values("pk"))
    )
    found = lots.select_for_update(no_key=True).order_by(*SPEND_ORDER)
    return [lot for lot in found if lot.pk in of_lot]


def _legs(lot: GrantLot, amount_xusd: int) -> list[Leg]:
    overage = lot.kind == LotKind.FALLBACK
    source = LedgerKind.OUTSTANDING if overage else holding_of(lot)
    return move(source, LedgerKind.CONSUMED, amount_xusd, lot=lot)


def _book(lot: GrantLot, amount_xusd: int, *, at: datetime) -> None:
    """Note on a locked lot that the amount stands in the ledger."""
    changed = ["settled_xusd", "updated_at"]
    lot.settled_xusd += amount_xusd
    lot.updated_at = at
    if lot.kind == LotKind.FALLBACK:
        lot.consumed_xusd += amount_xusd
        changed.append("consumed_xusd")
    lot.save(update_fields=changed)
