"""Adjusting a user's wallet by hand, and undoing that."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid, Misconfigured
from config.kernel.money import INT64_MAX, format_xusd, parse_posint
from grants.models import (
    OPEN,
    SPEND_ORDER,
    GrantLot,
    GrantProgram,
    LedgerKind,
    Posting,
    PostingReason,
)
from grants.services.approval import require_approval
from grants.services.consumption import (
    KeyConsumedOtherwise,
    record_wallet_event,
)
from grants.services.funding import require_funds, source_of_key
from grants.services.ledger import (
    Cause,
    Leg,
    holding_of,
    move,
    one_at_a_time,
    post,
    require_not_reversed,
    reverse,
)
from grants.services.lot_rows import add_lot, write_lot
from grants.services.lots import LotEnded

ADJUSTMENT_PROGRAM = "one_time_xusd"
"""The realm's built-in program that an adjustment gives by."""


class NotAnAdjustment(Conflict):
    """Only an adjustment can be undone (409)."""


class AdjustmentSpent(Conflict):
    """What the adjustment gave was spent, or is held: it cannot be undone (409)."""


class NoAdjustmentProgram(Misconfigured):
    """The realm lacks the program that adjustments give by (500)."""


@transaction.atomic
def adjust_wallet(
    *,
    user: BillingUser,
    amount_xusd: int,
    key: str,
    may_approve: bool = False,
    at: datetime,
    by: AuditContext,
) -> tuple[Posting, bool]:
    """Give a user an amount (10^-6 USD, above 0) or take it (below 0), once per `key`.

    What is given is a lot of the program `one_time_xusd`. What is taken is taken from
    the lots that pay new uses at `at` (aware UTC), in the order of spending: they were
    given that much less. Returns the posting, and whether it is new: a repeat changes
    nothing. Refuses more than those lots have left, 402 FUNDING.EXHAUSTED: a wallet is
    never taken below 0; the key with another amount (`KeyConsumedOtherwise`); an
    effective time still to come; 0, a bad amount or key (`Invalid`); and giving more
    than the deployment's limit (`ApprovalRequired`), unless `may_approve` says that the
    caller is a member of staff with the permission `grants.approve_grant`.
    """
    if amount_xusd == 0:
        raise Invalid("An adjustment gives or takes an amount.", field="amount_xusd")
    parse_posint(abs(amount_xusd), "amount_xusd")
    source_ref = source_of_key("adjustment", key)
    one_at_a_time(user)
    earlier = _adjustment(user, source_ref)
    if earlier is not None:
        return _same_adjustment(earlier, amount_xusd), False
    require_approval(amount_xusd, may_approve=may_approve)
    if amount_xusd > 0:
        lot = _given(user, amount_xusd, source_ref, at=at, by=by)
        legs = move(LedgerKind.ADJUSTED, holding_of(lot), amount_xusd, lot=lot)
    else:
        legs = _taken(user, -amount_xusd, at=at, by=by)
    cause = Cause(PostingReason.ADJUSTMENT, source_ref, source_ref)
    posting, _ = post(user=user, cause=cause, legs=legs, at=at, by=by)
    record_wallet_event(user, "wallet.adjusted", amount_xusd, source_ref, at=at, by=by)
    return posting, True


@transaction.atomic
def reverse_adjustment(*, posting: Posting, at: datetime, by: AuditContext) -> Posting:
    """Undo an adjustment by a new posting, and put its lots right; return the new one.

    What was given is taken back, and what was taken given back, on the same lots.
    Refuses what is no adjustment (`NotAnAdjustment`), one that was undone before
    (`AlreadyReversed`), one of which something is spent or held (`AdjustmentSpent`),
    and one whose lot ended since (`LotEnded`), all 409. `at` is aware UTC.
    """
    if posting.reason != PostingReason.ADJUSTMENT:
        raise NotAnAdjustment(f"{posting} is no adjustment.")
    one_at_a_time(posting.user)
    require_not_reversed(posting)
    effects = _effects(posting)
    for lot in _in_order(effects):
        _undo(lot, effects[lot.pk], at=at, by=by)
    undone = reverse(posting, at=at, by=by)
    amount = -sum(effects.values())
    reference = posting.source_ref
    record_wallet_event(
        posting.user, "wallet.adjustment_reversed", amount, reference, at=at, by=by
    )
    return undone


def _adjustment(user: BillingUser, key: str) -> Posting | None:
    postings = Posting.objects.in_realm(user.realm_id)
    return postings.filter(user=user, idempotency_key=key).first()


def _same_adjustment(earlier: Posting, amount_xusd: int) -> Posting:
    moved = earlier.entries.filter(ledger_account__kind=LedgerKind.ADJUSTED)
    amount = -(moved.aggregate(total=Sum("amount_xusd"))["total"] or 0)
    if amount != amount_xusd:
        raise KeyConsumedOtherwise(
            f"This key already adjusted the wallet by {amount} xusd, not "
            f"{amount_xusd}.",
            field="Idempotency-Key",
        )
    return earlier


def _given(
    user: BillingUser,
    amount_xusd: int,
    source_ref: str,
    *,
    at: datetime,
    by: AuditContext,
) -> GrantLot:
    programs = GrantProgram.objects.in_realm(user.realm_id)
    program = programs.filter(program_code=ADJUSTMENT_PROGRAM).first()
    if program is None:
        raise NoAdjustmentProgram(f"This realm has no program {ADJUSTMENT_PROGRAM}.")
    lasts = program.window_default_seconds
    end = at + timedelta(seconds=lasts) if lasts else None
    return add_lot(
        user=user,
        program=program,
        amount_xusd=amount_xusd,
        source_ref=source_ref,
        issue_key=source_ref,
        window_end=end,
        priority=program.priority,
        at=at,
        by=by,
    )


def _taken(
    user: BillingUser, amount_xusd: int, *, at: datetime, by: AuditContext
) -> list[Leg]:
    """Lessen the lots that pay next; return the legs that say so."""
    own = GrantLot.objects.in_realm(user.realm_id).filter(user=user)
    lots = list(own.spendable(at).select_for_update(no_key=True))
    require_funds(sum(lot.available_xusd for lot in lots), amount_xusd)
    left, legs = amount_xusd, list[Leg]()
    for lot in lots:
        part = min(left, lot.available_xusd)
        if part > 0:
            _change_amount(lot, -part, at=at, by=by)
            legs += move(holding_of(lot), LedgerKind.ADJUSTED, part, lot=lot)
            left -= part
    return legs


def _effects(posting: Posting) -> dict[UUID, int]:
    """Return how much the adjustment gave to each lot (10^-6 USD), below 0 if taken."""
    entries = posting.entries.exclude(ledger_account__kind=LedgerKind.ADJUSTED)
    return {
        lot: amount
        for lot, amount in entries.values_list("lot_id", "amount_xusd")
        if lot is not None
    }


def _in_order(lots: Iterable[UUID]) -> list[GrantLot]:
    found = GrantLot.objects.filter(pk__in=lots).order_by(*SPEND_ORDER)
    return list(found.select_for_update(no_key=True))


def _undo(lot: GrantLot, gave_xusd: int, *, at: datetime, by: AuditContext) -> None:
    if lot.status not in OPEN:
        raise LotEnded(
            f"The grant {lot} is {lot.get_status_display().lower()} by now, so nothing "
            "can be put back on it; adjust the wallet anew instead."
        )
    if gave_xusd > lot.remaining_xusd:
        raise AdjustmentSpent(
            f"Of the {format_xusd(gave_xusd)} that were given, only "
            f"{format_xusd(lot.remaining_xusd)} is left: the rest is spent or held."
        )
    _change_amount(lot, -gave_xusd, at=at, by=by)


def _change_amount(
    lot: GrantLot, by_xusd: int, *, at: datetime, by: AuditContext
) -> None:
    if by_xusd > INT64_MAX - lot.amount_xusd:
        raise Invalid("The grant would pass 64 bits.", field="amount_xusd")
    write_lot(lot, at=at, by=by, amount_xusd=lot.amount_xusd + by_xusd)
