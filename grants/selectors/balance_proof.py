"""The proof of one user's balance: the balance, its lots, and what each rests on."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

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

R = TypeVar("R", LedgerEntry, GrantAllocation)

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
    entries = _entries(user)
    taken = _allocations(user)
    proofs = [
        _lot_proof(lot, entries[lot.pk], taken[lot.pk])
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
    unassigned = sum(each.amount_xusd for each in taken[None])
    return BalanceProof(
        wallet=wallet_of(user=user, at=at),
        lots=proofs,
        counted_xusd=max(left - owed - unassigned, 0),
        ledger_xusd=sum(
            user.ledger_accounts.in_realm(user.realm_id).values_list(
                "balance_xusd", flat=True
            )
        ),
    )


def _entries(user: BillingUser) -> dict[UUID | None, list[LedgerEntry]]:
    found = (
        LedgerEntry.objects.in_realm(user.realm_id)
        .filter(ledger_account__user=user)
        .select_related("posting", "ledger_account")
        .order_by("id")
    )
    return _by_lot(found)


def _allocations(user: BillingUser) -> dict[UUID | None, list[GrantAllocation]]:
    found = GrantAllocation.objects.in_realm(user.realm_id).filter(user=user)
    return _by_lot(found.order_by("id"))


def _by_lot(rows: Iterable[R]) -> dict[UUID | None, list[R]]:
    grouped: dict[UUID | None, list[R]] = defaultdict(list)
    for row in rows:
        grouped[row.lot_id].append(row)
    return grouped


def _lot_proof(
    lot: GrantLot,
    entries: Sequence[LedgerEntry],
    allocations: Sequence[GrantAllocation],
) -> LotProof:
    account = _holding(lot)
    own = [entry for entry in entries if entry.ledger_account.kind == account]
    pending = [each for each in allocations if each.posting_id is None]
    return LotProof(
        lot=lot,
        entries=[_of_entry(entry) for entry in own[-MOST_LINES:]],
        pending=[_of_use(each) for each in pending[-MOST_LINES:]],
        expected_ledger_xusd=_expected(lot),
        ledger_xusd=sum(entry.amount_xusd for entry in own),
        allocated_xusd=sum(each.amount_xusd for each in allocations),
    )


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
