"""A meter's rate under the contract in force, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from billing.policies.contract_pricing import PricingTerm, read_pricing
from billing.policies.contract_rates import Rate, Rates, adjusted
from config.kernel.errors import Invalid
from config.kernel.windows import format_instant
from gating.pricing.rates import MeterRate
from gating.pricing.snapshots import Document, PricingKind

FaultKind = Literal["pricing.meter_price_missing", "pricing.contract_term_invalid"]


@dataclass(frozen=True, slots=True)
class TermFault:
    """A term of the contract in force that has no effect, and why, in a sentence."""

    kind: FaultKind
    meter_code: str
    contract_id: str
    term_key: str
    message: str

    @property
    def hint(self) -> Document:
        """Return the fault as a hint."""
        return {
            "type": self.kind,
            "meter_code": self.meter_code,
            "contract_id": self.contract_id,
            "term_key": self.term_key,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class ContractRates:
    """Rates by meter code, and by meter code the terms that have no effect on them."""

    rates: Mapping[str, MeterRate]
    faults: Mapping[str, TermFault]


def under_contract(
    catalog: Mapping[str, MeterRate], terms: Mapping[str, PricingTerm]
) -> ContractRates:
    """Return the catalog's rates under the terms in force, both by meter code.

    A meter without a catalog price stays without one; a term that cannot be applied
    leaves the catalog's. Both are told as faults.
    """
    rates, faults = dict(catalog), dict[str, TermFault]()
    for code, term in terms.items():
        known = catalog.get(code)
        if known is None:
            faults[code] = _fault(
                "pricing.meter_price_missing",
                term,
                f"The meter {code} has no price in force that the contract's term "
                "could change.",
            )
            continue
        try:
            rates[code] = _rate_under(known, term)
        except Invalid as refusal:
            faults[code] = _fault(
                "pricing.contract_term_invalid", term, refusal.message
            )
    return ContractRates(rates, faults)


def _fault(kind: FaultKind, term: PricingTerm, message: str) -> TermFault:
    return TermFault(kind, term.term_key, str(term.contract_id), term.term_key, message)


def _rate_under(catalog: MeterRate, term: PricingTerm) -> MeterRate:
    pricing = read_pricing(term.value, term.term_key)
    blocks = catalog.residual_mode is not None
    given = Rates(
        price=Rate(*catalog.price_of("revenue"), whole_blocks=blocks),
        cost=Rate(*catalog.price_of("cost"), whole_blocks=blocks),
    )
    found = adjusted(pricing, given)
    changes: dict[str, Any] = {}
    if pricing.price is not None:
        changes |= {
            "unit_price_xusd": found.price.amount_xusd,
            "unit_quantity_minor": found.price.quantity_minor,
            "provenance": _provenance(catalog, term, pricing.schema_, "revenue"),
        }
    if pricing.cost is not None:
        changes |= {
            "unit_cost_xusd": found.cost.amount_xusd,
            "cost_unit_quantity_minor": found.cost.quantity_minor,
            "cost_provenance": _provenance(catalog, term, pricing.schema_, "cost"),
        }
    return replace(catalog, **changes)


def _provenance(
    catalog: MeterRate, term: PricingTerm, schema: str, kind: PricingKind
) -> Document:
    """Return where a side of a rate comes from: the catalog's price, and the term.

    A term's version never changes, so what names it makes the rate's identity its own.
    """
    revenue = kind == "revenue"
    amount_xusd, quantity_minor = catalog.price_of(kind)
    return {
        **(catalog.provenance if revenue else catalog.cost_provenance),
        "source": "contract",
        "catalog_unit_price_xusd": str(amount_xusd),
        "catalog_unit_quantity_minor": str(quantity_minor),
        "contract": {
            "contract_id": str(term.contract_id),
            "term_key": term.term_key,
            "effective_at": format_instant(term.effective_at),
            "schema": schema,
        },
    }
