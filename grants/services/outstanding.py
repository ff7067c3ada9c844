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
    OutstandingPolicy,
    PostingReason,
)
from grants.models.lots import LotQuerySet
from grants.services.ledger import Cause, Leg, holding_of, post_anew


def lock_owed(user: BillingUser) -> None:
    """Lock what a user owes: what is not settled yet, then the open overage lots.

    To be called once, before the first posting of a transaction: lots are locked before
    ledger accounts. What is not settled is waited for, so that a settlement beside this
    either is seen here, or sees what this transaction issues and lets it pay
    (`pay_with_open_lots`).
    """
    owed = GrantAllocation.objects.in_realm(user.realm_id).filter(
        user=user, lot__isnull=True, posting__isnull=True
    )
    list(owed.select_for_update(no_key=True).order_by("id").values_list("pk"))
    _locked_owed(user)


def paying_lots(user: BillingUser, *, at: datetime) -> LotQuerySet:
    """Return the lots that pay what their user owes, and can be spent at `at`."""
    return (
        GrantLot.objects.in_realm(user.realm_id)
        .filter(user=user, outstanding_policy=OutstandingPolicy.APPLY)
        .spendable(at)
    )


def pay_with_open_lots(*, user: BillingUser, at: datetime, by: AuditContext) -> int:
    """Let the lots whose policy says so pay what is owed; return how much (10^-6 USD).

    In the order of spending, as `pay_outstanding`. Needs an open transaction that has
    locked these lots and the overage lots.
    """
    lots = list(paying_lots(user, at=at))
    return sum(pay_outstanding(lot=lot, at=at, by=by) for lot in lots)


@transaction.atomic
def pay_outstanding(*, lot: GrantLot, at: datetime, by: AuditContext) -> int:
    """Pay from a lot what its user owes on open overage lots; return how much.

    The oldest overage first, as far as the lot goes (10^-6 USD). Each payment is an
    allocation with its posting. The lot pays only while it can be spent: before and
    after its window, and once closed, nothing. Locks the lot and the overage lots.
    """
    owed = _locked_owed(lot.user)
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


def _locked_owed(user: BillingUser) -> list[GrantLot]:
    """Return the open overage lots of a user, locked, the oldest first."""
    lots = GrantLot.objects.in_realm(user.realm_id).filter(user=user).owed()
    return list(lots.order_by(*SPEND_ORDER).select_for_update(no_key=True))


def _pay(
    lot: GrantLot, overage: GrantLot, amount: int, *, at: datetime, by: AuditContext
) -> None:
    allocation = GrantAllocation(
        realm_id=lot.realm_id,
        account_id=lot.account_id,
        user_id=lot.user_id,
        lot=lot,
        amount_xusd=amount,
        source_ref=_payment_ref(lot, overage),
        occurred_at=at,
    )
    key = f"payment:{allocation.pk}"
    cause = Cause(PostingReason.PAYMENT, allocation.source_ref, key)
    legs = [
        Leg(holding_of(lot), -amount, lot),
        Leg(LedgerKind.OUTSTANDING, amount, overage),
    ]
    allocation.posting = post_anew(user=lot.user, cause=cause, legs=legs, at=at, by=by)
    allocation.save(force_insert=True)
    rows = GrantLot.objects.in_realm(lot.realm_id)
    rows.filter(pk=lot.pk).update(
        consumed_xusd=F("consumed_xusd") + amount,
        settled_xusd=F("settled_xusd") + amount,
        updated_at=at,
    )
    rows.filter(pk=overage.pk).update(paid_xusd=F("paid_xusd") + amount, updated_at=at)


def _payment_ref(lot: GrantLot, overage: GrantLot) -> str:
    """Return what the next payment of an overage lot by a locked lot is called.

    A lot pays the same overage again where more came to be owed on it: with a number.
    """
    ref = f"outstanding:{overage.pk}"
    paid = lot.allocations.filter(source_ref__startswith=ref).count()
    return f"{ref}:{paid + 1}" if paid else ref
