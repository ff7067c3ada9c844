"""What a user has, and the proof of it. Amounts are integers of 10^-6 USD."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from billing.models import BillingUser
from grants.models import CreditBalance, CreditEntry, EntryKind


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's money at the instant `as_of`, in 10^-6 USD.

    `outstanding_xusd` is always 0: nothing is spent that was not granted. `entries` is
    read when used: every movement, newest first.
    """

    account_id: uuid.UUID
    user_id: uuid.UUID
    as_of: datetime
    granted_xusd: int
    spent_xusd: int
    reserved_xusd: int
    available_xusd: int
    entries: QuerySet[CreditEntry]
    outstanding_xusd: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """A balance beside the sums of its entries, in 10^-6 USD.

    `given_xusd` sums credits and corrections, `taken_xusd` the spends, as a positive
    number.
    """

    granted_xusd: int
    given_xusd: int
    spent_xusd: int
    taken_xusd: int

    @property
    def holds(self) -> bool:
        """Return whether the entries add up to the balance."""
        return (self.granted_xusd, self.spent_xusd) == (
            self.given_xusd,
            self.taken_xusd,
        )


def available_xusd(*, user_id: uuid.UUID, at: datetime) -> int:
    """Return what the user may still reserve or spend (10^-6 USD), 0 or more.

    `at` (aware UTC) changes nothing as long as credit never runs out.
    """
    balance = CreditBalance.objects.filter(pk=user_id).first()
    return balance.available_xusd if balance else 0


def wallet_balance(*, user_id: uuid.UUID, at: datetime) -> dict[str, Any]:
    """Return the two balances that a billing state shows, as the wire writes them."""
    available = available_xusd(user_id=user_id, at=at)
    return {
        "available_balance": {"xusd": str(available)},
        "outstanding_balance": {"xusd": "0"},
    }


def wallet_of(*, user: BillingUser, at: datetime) -> Wallet:
    """Return the user's wallet at `at` (aware UTC); zeros where nothing was given.

    Writes nothing.
    """
    balance = CreditBalance.objects.filter(pk=user.pk).first() or CreditBalance()
    return Wallet(
        account_id=user.account_id,
        user_id=user.pk,
        as_of=at,
        granted_xusd=balance.granted_xusd,
        spent_xusd=balance.spent_xusd,
        reserved_xusd=balance.reserved_xusd,
        available_xusd=balance.available_xusd,
        entries=entries_of(user=user).order_by("-id"),
    )


def entries_of(
    *, user: BillingUser, kinds: Sequence[str] | None = None
) -> QuerySet[CreditEntry]:
    """Return the movements of the user's balance, of `kinds` or of all, unordered."""
    entries = CreditEntry.objects.in_realm(user.realm_id).filter(user=user)
    return entries if kinds is None else entries.filter(kind__in=kinds)


def proof(balance: CreditBalance) -> Proof:
    """Return the stored balance beside the sums of its entries, of one instant."""
    spends = Q(kind=EntryKind.SPEND)
    # One statement reads both sides, so that no spend falls between them.
    row = CreditBalance.objects.annotate(given=_sum(~spends), taken=_sum(spends)).get(
        pk=balance.pk
    )
    return Proof(row.granted_xusd, row.given, row.spent_xusd, -row.taken)


def _sum(which: Q) -> Coalesce:
    entries = CreditEntry.objects.filter(
        which, realm_id=OuterRef("realm_id"), user_id=OuterRef("user_id")
    )
    total = entries.order_by().values("user_id").annotate(total=Sum("amount_xusd"))
    return Coalesce(Subquery(total.values("total")), 0)
