"""The proof of a balance, as people read it."""

from datetime import datetime
from typing import Any

from django.utils.html import format_html

from billing.models import BillingUser
from catalog.admin.words import linked
from config.kernel.money import format_xusd
from grants.admin.sources import source_words
from grants.admin.words import table
from grants.models import LotKind
from grants.selectors.balance_proof import BalanceProof, LotProof, prove_balance

SHOWN = 50


def proof_panel(user: BillingUser, *, at: datetime) -> Any:
    """Return whether the user's balance at `at` follows from its rows, and how."""
    proof = prove_balance(user=user, at=at)
    if not proof.holds:
        # A use between two of its reads looks like a gap: once.
        proof = prove_balance(user=user, at=at)
    return format_html(
        '<div class="plangate-wide flex flex-col gap-3"><p>{}</p>{}</div>',
        _verdict(proof),
        _lots(proof),
    )


def _verdict(proof: BalanceProof) -> Any:
    wallet = proof.wallet
    sums = (
        f"{format_xusd(wallet.gross_xusd)} left on grants, less "
        f"{format_xusd(wallet.outstanding_xusd)} owed, is "
        f"{format_xusd(wallet.available_xusd)} available."
    )
    if proof.holds:
        return f"Holds: {sums} Every grant adds up, and the ledger comes to $0."
    return format_html(
        "<strong>Does not hold.</strong> {} Counted from the rows it is {}, and the "
        "ledger comes to {}. Look again; where it stays so, tell the engineers before "
        "anything is changed.",
        sums,
        format_xusd(proof.counted_xusd),
        format_xusd(proof.ledger_xusd),
    )


def _lots(proof: BalanceProof) -> Any:
    # What does not add up comes first: `False` sorts before `True`.
    lots = sorted(proof.lots, key=lambda each: each.holds)
    return table(
        ("Grant", "Adds up", "Should stand in the ledger", "Stands in the ledger",
         "Used", "Uses add up to"),
        [_row(each) for each in lots[:SHOWN]],
        empty="No grant was ever given.",
    )  # fmt: skip


def _row(proof: LotProof) -> tuple[Any, ...]:
    lot = proof.lot
    name = "Overage" if lot.kind == LotKind.FALLBACK else lot.program
    return (
        linked(lot, f"{name}, {source_words(lot.source_ref)}"),
        "Yes" if proof.holds else format_html("<strong>{}</strong>", "No"),
        format_xusd(proof.expected_ledger_xusd),
        format_xusd(proof.ledger_xusd),
        format_xusd(lot.consumed_xusd),
        format_xusd(proof.allocated_xusd),
    )
