"""A lot pays what its user owes."""

from datetime import datetime

from django.db import transaction
from django.db.models import F

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from grants.models import (
    SPEND_ORDER,
    GrantAllocation,
    GrantLot,
    LedgerKind,
    Posting,
    PostingReason,
)
from grants.services.ledger import Cause, Leg, holding_of, post


def lock_owed(user: BillingUser) -> list[GrantLot]:
    """Return the open overage lots of a user, locked, the oldest first.

    To be called before the first posting of a transaction: lots are locked before
    ledger accounts.
    """
    lots = GrantLot.objects.in_realm(user.realm_id).filter(user=user).owed()
    return list(lots.order_by(*SPEND_ORDER).select_for_update(no_key=True))


@transaction.atomic
def pay_outstanding(*, lot: GrantLot, at: datetime, by: AuditContext) -> int:
    """Pay from a lot what its user owes on open overage lots; return how much.

    The oldest overage first, as far as the lot goes (10^-6 USD). Each payment is an
    allocation with its posting. The lot pays only while it can be spent: before and
    after its window, and once closed, nothing. Locks the lot and the overage lots.
    """
    owed = lock_owed(lot.user)
    lots = GrantLot.objects.in_realm(lot.realm_id).select_for_update(no_key=True)
    paying = lots.spendable(at).filter(pk=lot.pk).first()
    if paying is None:
        return 0
    left = before = paying.available_xusd
    for overage in owed:
        amount = min(left, overage.consumed_xusd - overage.paid_xusd)
        if amount == 0:
            break
        _pay(paying, overage, amount, at=at, by=by)
        left -= amount
    return before - left


def _pay(
    lot: GrantLot, overage: GrantLot, amount: int, *, at: datetime, by: AuditContext
) -> None:
    source_ref = f"outstanding:{overage.pk}"
    cause = Cause(PostingReason.PAYMENT, source_ref, f"payment:{lot.pk}:{overage.pk}")
    legs = [
        Leg(holding_of(lot), -amount, lot),
        Leg(LedgerKind.OUTSTANDING, amount, overage),
    ]
    posting, _created = post(user=lot.user, cause=cause, legs=legs, at=at, by=by)
    _allocate(lot, posting, amount, source_ref, at)
    rows = GrantLot.objects.in_realm(lot.realm_id)
    rows.filter(pk=lot.pk).update(
        consumed_xusd=F("consumed_xusd") + amount,
        settled_xusd=F("settled_xusd") + amount,
        updated_at=at,
    )
    rows.filter(pk=overage.pk).update(paid_xusd=F("paid_xusd") + amount, updated_at=at)


def _allocate(
    lot: GrantLot, posting: Posting, amount: int, source_ref: str, at: datetime
) -> None:
    GrantAllocation.objects.create(
        realm_id=lot.realm_id,
        account_id=lot.account_id,
        user_id=lot.user_id,
        lot=lot,
        amount_xusd=amount,
        source_ref=source_ref,
        occurred_at=at,
        posting=posting,
    )
