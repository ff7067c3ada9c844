"""What a user has at an instant: the wallet. Amounts are integers of 10^-6 USD."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from billing.models import BillingUser
from grants.models import GrantAllocation, GrantLot, LedgerAccount, LedgerKind


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's money at the instant `as_of`, in 10^-6 USD.

    `lots` are the open ones but for overage, in the order of spending, also those
    whose window does not hold at `as_of`. `gross_xusd` is what the spendable of them
    have left, `outstanding_xusd` what is owed, `reserved_xusd` what leases hold on all
    of them. `ledger_xusd` is the ledger's balance of paid money: behind by what is not
    settled yet.
    """

    account_id: uuid.UUID
    user_id: uuid.UUID
    as_of: datetime
    lots: Sequence[GrantLot]
    gross_xusd: int
    outstanding_xusd: int
    ledger_xusd: int

    @property
    def available_xusd(self) -> int:
        """Return what authorize admits by: gross less what is owed, 0 or more."""
        return max(self.gross_xusd - self.outstanding_xusd, 0)

    @property
    def granted_xusd(self) -> int:
        """Return what the open lots were given."""
        return sum(lot.amount_xusd for lot in self.lots)

    @property
    def spent_xusd(self) -> int:
        """Return what was spent of the open lots."""
        return sum(lot.consumed_xusd for lot in self.lots)

    @property
    def reserved_xusd(self) -> int:
        """Return what leases hold of the open lots."""
        return sum(lot.reserved_xusd for lot in self.lots)


def wallet_of(*, user: BillingUser, at: datetime) -> Wallet:
    """Return the user's wallet at `at` (aware UTC); zeros where nothing was given.

    Writes nothing.
    """
    own = GrantLot.objects.in_realm(user.realm_id).filter(user=user)
    lots = list(own.open_lots().select_related("program"))
    ledger = LedgerAccount.objects.in_realm(user.realm_id).filter(
        user=user, kind=LedgerKind.WALLET
    )
    return Wallet(
        account_id=user.account_id,
        user_id=user.pk,
        as_of=at,
        lots=lots,
        gross_xusd=sum(lot.available_xusd for lot in lots if lot.is_spendable(at)),
        outstanding_xusd=outstanding_xusd(user=user),
        ledger_xusd=sum(ledger.values_list("balance_xusd", flat=True)),
    )


def outstanding_xusd(*, user: BillingUser) -> int:
    """Return what the user owes (10^-6 USD): on overage lots, and not yet on one."""
    owed = GrantLot.objects.in_realm(user.realm_id).filter(user=user).owed()
    pending = GrantAllocation.objects.in_realm(user.realm_id).filter(
        user=user, posting__isnull=True, lot__isnull=True
    )
    on_lots = owed.aggregate(
        total=Coalesce(Sum(F("consumed_xusd") - F("paid_xusd")), 0)
    )
    not_yet = pending.aggregate(total=Coalesce(Sum("amount_xusd"), 0))
    return int(on_lots["total"]) + int(not_yet["total"])
