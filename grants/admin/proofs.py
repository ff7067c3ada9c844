"""The proof of a balance, as people read it."""

from collections.abc import Sequence
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
        '<div class="plangate-wide flex flex-col gap-3"><p>{}</p>{}{}</div>',
        _verdict(proof),
        _failing(proof),
        _rules(proof),
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


def _rules(proof: BalanceProof) -> Any:
    """Return a line per rule: of how many grants it holds, and what they come to."""
    lots, wallet = proof.lots, proof.wallet
    booked = [each.expected_ledger_xusd == each.ledger_xusd for each in lots]
    used = [each.lot.consumed_xusd == each.allocated_xusd for each in lots]
    should = format_xusd(sum(each.expected_ledger_xusd for each in lots))
    stands = format_xusd(sum(each.ledger_xusd for each in lots))
    consumed = format_xusd(sum(each.lot.consumed_xusd for each in lots))
    allocated = format_xusd(sum(each.allocated_xusd for each in lots))
    counted = proof.counted_xusd == wallet.available_xusd
    return table(
        ("Rule", "Holds", "Should be", "Is"),
        [
            ("What is available follows from the grants", _yes(holds=counted),
             format_xusd(wallet.available_xusd), format_xusd(proof.counted_xusd)),
            ("All ledger accounts add up to $0", _yes(holds=proof.ledger_xusd == 0),
             format_xusd(0), format_xusd(proof.ledger_xusd)),
            ("Each grant stands in the ledger as it should", _of(booked), should,
             stands),
            ("The uses of each grant add up", _of(used), consumed, allocated),
        ],
        empty="",
    )  # fmt: skip


def _of(held: Sequence[bool]) -> Any:
    number = f"{sum(held):,} of {len(held):,} grants"
    return number if all(held) else format_html("<strong>{}</strong>", number)


def _yes(*, holds: bool) -> Any:
    return "Yes" if holds else format_html("<strong>{}</strong>", "No")


def _failing(proof: BalanceProof) -> Any:
    """Return the grants that do not add up; nothing where all do."""
    failing = [each for each in proof.lots if not each.holds]
    if not failing:
        return ""
    return table(
        ("Grant that does not add up", "Should stand in the ledger",
         "Stands in the ledger", "Used", "Uses add up to"),
        [_row(each) for each in failing[:SHOWN]],
        empty="",
    )  # fmt: skip


def _row(proof: LotProof) -> tuple[Any, ...]:
    lot = proof.lot
    name = "Overage" if lot.kind == LotKind.FALLBACK else lot.program
    return (
        linked(lot, f"{name}, {source_words(lot.source_ref)}"),
        format_xusd(proof.expected_ledger_xusd),
        format_xusd(proof.ledger_xusd),
        format_xusd(lot.consumed_xusd),
        format_xusd(proof.allocated_xusd),
    )
