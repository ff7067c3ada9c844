"""How a contract and its terms read to people."""

from datetime import datetime
from typing import Any

from billing.models import BillingContract, ContractTerm, TermKind
from billing.policies.contract_pricing import read_pricing
from config.kernel.errors import Invalid
from config.kernel.money import format_xusd

CONTRACT_COLORS = {
    "In force": "success",
    "Starts later": "info",
    "Overridden": "warning",
    "Ended": "default",
    "Disabled": "danger",
}
TERM_COLORS = {
    "Latest": "success",
    "Starts later": "info",
    "Superseded": "default",
}
_BASES = {
    "catalog_price": "the catalog's price",
    "unit_price_xusd": "the catalog's price",
    "catalog_cost": "the catalog's cost",
    "unit_cost_xusd": "the catalog's cost",
    "resolved_cost": "our cost under the contract",
    "cost": "our cost under the contract",
}


def contract_state(contract: BillingContract, *, overridden: bool, at: datetime) -> str:
    """Return one word for where a contract stands at `at` (aware UTC).

    `overridden`: a contract that started later is in force as well, and prevails.
    """
    if contract.status != "active":
        return "Disabled"
    if contract.window_start > at:
        return "Starts later"
    if not contract.holds(at):
        return "Ended"
    return "Overridden" if overridden else "In force"


def term_text(term: ContractTerm) -> str:
    """Return what a version of a term says, as a sentence."""
    if term.kind != TermKind.PRICING:
        return "A parameter that event rating policies read."
    return pricing_text(term.value_json, term.term_key)


def pricing_text(value: Any, term_key: str) -> str:
    """Return what a pricing term says, as a sentence."""
    try:
        read_pricing(value, term_key)
    except Invalid as refusal:
        return f"Cannot be applied, so the catalog's price holds: {refusal.message}"
    told = [
        f"{title}: {_side_text(value[side], base)}."
        for side, title, base in (
            ("price", "Customers pay", "catalog_price"),
            ("cost", "Our cost", "catalog_cost"),
        )
        if value.get(side) is not None
    ]
    return " ".join(told) or "The catalog's price and cost hold."


def _side_text(side: dict[str, Any], base: str) -> str:
    start = _BASES[side.get("base") or base]
    return ", ".join([start, *map(_step_text, side.get("adjustments") or ())])


def _step_text(step: dict[str, Any]) -> str:
    if step["op"] == "multiplier":
        return f"times {step['multiplier']}"
    names = ("numerator_xusd", "unit_price_xusd", "delta_xusd")
    amount_xusd = int(next(step[name] for name in names if name in step))
    per = step.get("denominator_minor")
    quantity = "its unit quantity" if per is None else f"{int(per):,}"
    if step["op"] == "fixed":
        return f"set to {format_xusd(amount_xusd)} for {quantity}"
    sign = "less" if amount_xusd < 0 else "plus"
    return f"{sign} {format_xusd(abs(amount_xusd))} for {quantity}"
