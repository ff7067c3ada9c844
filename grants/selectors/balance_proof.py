"""The proof of one user's balance: the balance, its lots, and what each rests on."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import F, QuerySet, Sum, Window
from django.db.models.functions import RowNumber

from billing.models import BillingUser
from grants.models import (
    ClosureKind,
    GrantAllocation,
    GrantLot,
    LedgerEntry,
    LedgerKind,
    LotKind,
)
from grants.models.lots import SPEND_ORDER
from grants.selectors.wallets import Wallet, wallet_of

MOST_LINES = 1_000
"""Lines of one lot that are told; the sums are of all."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that moved an amount of a lot (10^-6 USD), and why.

    `entry` and `posting` are None for a use that is not settled yet.
    """

    amount_xusd: int
    reason: str
    source_ref: str
    occurred_at: datetime
    entry: UUID | None = None
    posting: UUID | None = None


@dataclass(frozen=True, slots=True)
class LotProof:
    """A lot beside what it rests on (10^-6 USD).

    `entries` are those on its ledger account; `pending` its uses that are not settled.
    `ledger_xusd` and `allocated_xusd` are the sums that `expected_ledger_xusd` and the
    lot's consumed amount must equal.
    """

    lot: GrantLot
    entries: Sequence[Line]
    pending: Sequence[Line]
    expected_ledger_xusd: int
    ledger_xusd: int
    allocated_xusd: int

    @property
    def holds(self) -> bool:
        """Return whether entries and allocations add up to the lot."""
        return (self.expected_ledger_xusd, self.lot.consumed_xusd) == (
            self.ledger_xusd,
            self.allocated_xusd,
        )


@dataclass(frozen=True, slots=True)
class BalanceProof:
    """A user's wallet beside all that it rests on.

    `lots` are all of the user's, in the order of spending. `counted_xusd` is what those
    that pay new uses have left, less what is owed, 0 or more, counted from the lots
    here. `ledger_xusd` sums the ledger accounts.
    """

    wallet: Wallet
    lots: Sequence[LotProof]
    counted_xusd: int
    ledger_xusd: int

    @property
    def holds(self) -> bool:
        """Return whether everything agrees."""
        return (
            self.counted_xusd == self.wallet.available_xusd
            and self.ledger_xusd == 0
            and all(proof.holds for proof in self.lots)
        )


def prove_balance(*, user: BillingUser, at: datetime) -> BalanceProof:
    """Return the user's balance at `at` (aware UTC), and the proof of it.

    Run it in `proof.snapshot()` where uses go on meanwhile: it takes several reads.
    """
    lots = GrantLot.objects.in_realm(user.realm_id).filter(user=user)
    sums, allocated = _ledger_sums(user), _allocated(user)
    entries, pending = _last_entries(user), _last_pending(user)
    proofs = [
        LotProof(
            lot=lot,
            entries=entries[lot.pk, _holding(lot)],
            pending=pending[lot.pk],
            expected_ledger_xusd=_expected(lot),
            ledger_xusd=sums.get((lot.pk, _holding(lot)), 0),
            allocated_xusd=allocated.get(lot.pk, 0),
        )
        for lot in lots.select_related("program").order_by(*SPEND_ORDER)
    ]
    left = sum(
        proof.lot.available_xusd for proof in proofs if proof.lot.is_spendable(at)
    )
    owed = sum(
        proof.lot.consumed_xusd - proof.lot.paid_xusd
        for proof in proofs
        if proof.lot.kind == LotKind.FALLBACK
    )
    return BalanceProof(
        wallet=wallet_of(user=user, at=at),
        lots=proofs,
        counted_xusd=max(left - owed - allocated.get(None, 0), 0),
        ledger_xusd=sum(
            user.ledger_accounts.in_realm(user.realm_id).values_list(
                "balance_xusd", flat=True
            )
        ),
    )


def _own(user: BillingUser) -> QuerySet[LedgerEntry]:
    entries = LedgerEntry.objects.in_realm(user.realm_id)
    return entries.filter(ledger_account__user=user, lot__isnull=False)


def _ledger_sums(user: BillingUser) -> dict[tuple[UUID | None, str], int]:
    """Return what the entries of each lot and ledger account sum to (10^-6 USD)."""
    groups = _own(user).order_by().values_list("lot_id", "ledger_account__kind")
    return {
        (lot, kind): total
        for lot, kind, total in groups.annotate(total=Sum("amount_xusd"))
    }


def _allocated(user: BillingUser) -> dict[UUID | None, int]:
    """Return what the allocations of each lot sum to (10^-6 USD), of none by None."""
    found = GrantAllocation.objects.in_realm(user.realm_id).filter(user=user)
    return dict(
        found.order_by().values_list("lot_id").annotate(total=Sum("amount_xusd"))
    )


def _last_entries(user: BillingUser) -> dict[tuple[UUID | None, str], list[Line]]:
    """Return the last entries of each lot and ledger account, the oldest first."""
    lines = defaultdict[tuple[UUID | None, str], list[Line]](list)
    own = _own(user).select_related("posting", "ledger_account")
    place = _place("lot", "ledger_account")
    for entry in own.annotate(place=place).filter(place__lte=MOST_LINES).order_by("id"):
        lines[entry.lot_id, entry.ledger_account.kind].append(_of_entry(entry))
    return lines


def _last_pending(user: BillingUser) -> dict[UUID | None, list[Line]]:
    """Return the last uses of each lot that are not settled, the oldest first."""
    lines = defaultdict[UUID | None, list[Line]](list)
    pending = GrantAllocation.objects.in_realm(user.realm_id).filter(
        user=user, posting__isnull=True
    )
    last = pending.annotate(place=_place("lot")).filter(place__lte=MOST_LINES)
    for allocation in last.order_by("id"):
        lines[allocation.lot_id].append(_of_use(allocation))
    return lines


def _place(*of: str) -> Window:
    """Return the number of a row in its group, the last one being 1."""
    return Window(RowNumber(), partition_by=list(of), order_by=F("id").desc())


def _holding(lot: GrantLot) -> LedgerKind:
    if lot.kind == LotKind.FALLBACK:
        return LedgerKind.OUTSTANDING
    return LedgerKind.WALLET if lot.on_ledger else LedgerKind.PROMOTIONAL


def _expected(lot: GrantLot) -> int:
    """Return what the lot's entries must sum to (10^-6 USD)."""
    moved = lot.closed_remaining_xusd or 0
    if lot.closure_kind in {None, ClosureKind.NONE} or lot.kind == LotKind.FALLBACK:
        moved = 0
    return lot.amount_xusd + lot.paid_xusd - lot.settled_xusd - moved


def _of_entry(entry: LedgerEntry) -> Line:
    return Line(
        amount_xusd=entry.amount_xusd,
        reason=entry.posting.reason,
        source_ref=entry.posting.source_ref,
        occurred_at=entry.occurred_at,
        entry=entry.pk,
        posting=entry.posting_id,
    )


def _of_use(allocation: GrantAllocation) -> Line:
    return Line(
        amount_xusd=-allocation.amount_xusd,
        reason="consumption",
        source_ref=allocation.source_ref,
        occurred_at=allocation.occurred_at,
    )
