"""What a contract's pricing term makes of a catalog price. Pure, exact integers.

The cost is resolved first, for the price may start from it; no step goes below 0.

- *v2* is exact. A price keeps its unit quantity where it comes out in whole XUSD for
  it; else quantity and amount are scaled up together until it does (100 for 1, a
  third of it: 100 for 3), and nothing is rounded.
- *v1* keeps the unit quantity of each side, and counts in whole XUSD of it. A base
  taken from the other side is brought to it, rounded to the nearest, half up; so are
  multipliers, unless they say otherwise.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from billing.policies.contract_pricing import (
    CostSideV1,
    CostSideV2,
    DeltaV1,
    DeltaV2,
    FixedV1,
    FixedV2,
    MultiplierV1,
    MultiplierV2,
    PriceSideV1,
    PriceSideV2,
    Pricing,
    PricingV2,
    Rounding,
)
from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX


@dataclass(frozen=True, slots=True)
class Rate:
    """One side of a price: `amount_xusd` (0 or more) for `quantity_minor` (1 or more).

    With `whole_blocks` it is sold in blocks of that quantity only.
    """

    amount_xusd: int
    quantity_minor: int
    whole_blocks: bool = False

    @property
    def per_unit(self) -> Fraction:
        """Return what one smallest unit costs, exactly, in XUSD."""
        return Fraction(self.amount_xusd, self.quantity_minor)


@dataclass(frozen=True, slots=True)
class Rates:
    """What a meter's quantity is charged at, and what it costs us."""

    price: Rate
    cost: Rate


def adjusted(pricing: Pricing, catalog: Rates) -> Rates:
    """Return the catalog's rates under a term. A side it leaves out stays as it is.

    Refuses (`Invalid` on `price` or `cost`) what does not fit 64 bits, and a price that
    is not whole for the blocks a meter is sold in.
    """
    if isinstance(pricing, PricingV2):
        cost = _exact_cost(pricing.cost, catalog) if pricing.cost else catalog.cost
        if pricing.price is None:
            return Rates(catalog.price, cost)
        return Rates(_exact_price(pricing.price, catalog, cost), cost)
    cost = _whole_cost(pricing.cost, catalog) if pricing.cost else catalog.cost
    if pricing.price is None:
        return Rates(catalog.price, cost)
    return Rates(_whole_price(pricing.price, catalog, cost), cost)


def _exact_cost(side: CostSideV2, catalog: Rates) -> Rate:
    base = catalog.price if side.base == "catalog_price" else catalog.cost
    return _exact(side, base, catalog.cost, "cost")


def _exact_price(side: PriceSideV2, catalog: Rates, cost: Rate) -> Rate:
    base = {"catalog_cost": catalog.cost, "resolved_cost": cost}.get(
        side.base or "", catalog.price
    )
    return _exact(side, base, catalog.price, "price")


def _exact(side: CostSideV2 | PriceSideV2, base: Rate, own: Rate, name: str) -> Rate:
    per_unit = base.per_unit
    for step in side.adjustments:
        match step:
            case FixedV2():
                per_unit = Fraction(step.numerator_xusd, step.denominator_minor)
            case DeltaV2():
                per_unit += Fraction(step.numerator_xusd, step.denominator_minor)
            case MultiplierV2():
                per_unit *= step.multiplier
        per_unit = max(per_unit, Fraction(0))
    return _stated(per_unit, own, name)


def _stated(per_unit: Fraction, own: Rate, name: str) -> Rate:
    """Return the rate in whole numbers, for the own unit quantity where it can be."""
    amount = per_unit * own.quantity_minor
    if amount.denominator != 1 and own.whole_blocks:
        raise Invalid(
            f"The {name} comes to {amount} XUSD for a block of {own.quantity_minor:,}, "
            "which is no whole number, and the meter bills whole blocks.",
            field=name,
        )
    quantity = own.quantity_minor * amount.denominator
    if max(quantity, amount.numerator) > INT64_MAX and not own.whole_blocks:
        # The same price in its lowest terms.
        amount, quantity = Fraction(per_unit.numerator), per_unit.denominator
    _check(max(quantity, amount.numerator), name)
    return Rate(amount.numerator, quantity, own.whole_blocks)


def _whole_cost(side: CostSideV1, catalog: Rates) -> Rate:
    base = catalog.price if side.base == "unit_price_xusd" else catalog.cost
    return _whole(side, base, catalog.cost, "cost")


def _whole_price(side: PriceSideV1, catalog: Rates, cost: Rate) -> Rate:
    base = {"unit_cost_xusd": catalog.cost, "cost": cost}.get(
        side.base or "", catalog.price
    )
    return _whole(side, base, catalog.price, "price")


def _whole(side: CostSideV1 | PriceSideV1, base: Rate, own: Rate, name: str) -> Rate:
    amount = _rounded(base.per_unit * own.quantity_minor, "nearest")
    for step in side.adjustments:
        match step:
            case FixedV1():
                amount = step.unit_price_xusd
            case DeltaV1():
                amount += step.delta_xusd
            case MultiplierV1():
                amount = _rounded(amount * step.multiplier, step.rounding)
        amount = max(amount, 0)
    _check(amount, name)
    return Rate(amount, own.quantity_minor, own.whole_blocks)


def _rounded(amount: Fraction, rounding: Rounding) -> int:
    if rounding == "floor":
        return floor(amount)
    if rounding == "ceil":
        return ceil(amount)
    return floor(amount + Fraction(1, 2))


def _check(number: int, name: str) -> None:
    if number > INT64_MAX:
        raise Invalid(
            f"The {name} under the contract does not fit 64 bits.", field=name
        )
