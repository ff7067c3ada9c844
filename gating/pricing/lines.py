"""Rating: a quantity of a meter becomes a line, lines become a total."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.kernel.errors import Invalid
from config.kernel.money import check_int64, floor_div_carry, parse_uint
from gating.pricing.blocks import price_blocks
from gating.pricing.rates import MeterRate, rate_identity
from gating.pricing.snapshots import (
    Document,
    PricingKind,
    RatingStatus,
    aggregate_component,
    aggregate_snapshot,
    missing_snapshot,
    rational_snapshot,
)

MIXED_UNITS = "mixed"


@dataclass(frozen=True, slots=True)
class PricedSide:
    """One side of a rated line: what was charged, or what it cost.

    Attributes:
        kind: revenue or cost.
        amount_xusd: the amount; 0 when there is no price.
        previous_remainder_numer: what was carried in.
        next_remainder_numer: what is carried on, under the same rate identity.
        rate_identity: where the remainder is kept; None when there is no price.
        snapshot: the evidence, as it goes on the wire.

    """

    kind: PricingKind
    amount_xusd: int
    previous_remainder_numer: int
    next_remainder_numer: int
    rate_identity: str | None
    snapshot: Mapping[str, Any]

    @property
    def fact_fingerprint(self) -> str:
        """The snapshot's fingerprint; it does not depend on when it was computed."""
        return str(self.snapshot["fingerprint"])


@dataclass(frozen=True, slots=True)
class RatedLine:
    """One meter's quantity with its revenue and its cost."""

    status: RatingStatus
    meter_code: str
    unit: str
    quantity_minor: int
    computed_at: datetime
    revenue: PricedSide
    cost: PricedSide

    def as_document(self, line_id: str) -> Document:
        """Return the line as a commit response carries it, under `line_id`."""
        revenue, cost = self.revenue, self.cost
        document: Document = {
            "rating_status": self.status,
            "line_id": line_id,
            "meter_code": self.meter_code,
            "quantity_minor": str(self.quantity_minor),
            "amount_xusd": str(revenue.amount_xusd),
            "pricing_snapshot": dict(revenue.snapshot),
            "pricing_fingerprint": revenue.fact_fingerprint,
            "cost_xusd": str(cost.amount_xusd),
            "cost_snapshot": dict(cost.snapshot),
            "cost_fingerprint": cost.fact_fingerprint,
        }
        if self.status == "priced":
            document["rate_identity"] = revenue.rate_identity
            document["unit_price_xusd"] = revenue.snapshot["unit_price_xusd"]
            document["unit_quantity_minor"] = revenue.snapshot["unit_quantity_minor"]
            document["cost_rate_identity"] = cost.rate_identity
            document["unit_cost_xusd"] = cost.snapshot["unit_price_xusd"]
            document["cost_unit_quantity_minor"] = cost.snapshot["unit_quantity_minor"]
        return document


@dataclass(frozen=True, slots=True)
class RatedTotal:
    """The sum of a rating's lines, with one aggregate snapshot per side."""

    quantity_minor: int
    amount_xusd: int
    cost_xusd: int
    pricing_snapshot: Mapping[str, Any]
    cost_snapshot: Mapping[str, Any]


def price_meter(
    rate: MeterRate | None,
    quantity_minor: int,
    revenue_remainder: int,
    cost_remainder: int,
    computed_at: datetime,
    feature_code: str,
    *,
    meter_code: str | None = None,
    unit: str | None = None,
) -> RatedLine:
    """Return the rated line of one meter's quantity, with both its sides.

    `revenue_remainder` and `cost_remainder` were carried under the two identities of
    this rate; they are 0 for a new one. Without a rate the line is `missing_price`:
    both amounts are 0, nothing is carried in or on, and `meter_code` and `unit`,
    which the rate would name, must be given.

    Refuses, with Invalid on the field at fault: what `floor_div_carry` refuses, an
    amount beyond 64 bits included; a missing rate without `meter_code` or `unit`;
    and a `computed_at` that is not aware UTC (on `instant`).
    """
    parse_uint(check_int64(quantity_minor, "quantity_minor"), "quantity_minor")
    if rate is None:
        return _missing_line(
            quantity_minor, computed_at, feature_code, meter_code, unit
        )
    return RatedLine(
        status="priced",
        meter_code=rate.meter_code,
        unit=rate.unit,
        quantity_minor=quantity_minor,
        computed_at=computed_at,
        revenue=_side(rate, "revenue", quantity_minor, revenue_remainder, computed_at),
        cost=_side(rate, "cost", quantity_minor, cost_remainder, computed_at),
    )


def _side(
    rate: MeterRate,
    kind: PricingKind,
    quantity_minor: int,
    remainder: int,
    computed_at: datetime,
) -> PricedSide:
    amount_xusd, carried = _amount(rate, kind, quantity_minor, remainder)
    identity = rate_identity(rate, kind)
    snapshot = rational_snapshot(
        rate_facts=rate.facts_of(kind),
        rate_identity=identity,
        unit=rate.unit,
        quantity_minor=quantity_minor,
        previous_remainder_numer=remainder,
        amount_xusd=amount_xusd,
        next_remainder_numer=carried,
        computed_at=computed_at,
    )
    return PricedSide(kind, amount_xusd, remainder, carried, identity, snapshot)


def _amount(
    rate: MeterRate, kind: PricingKind, quantity_minor: int, remainder: int
) -> tuple[int, int]:
    price_xusd, unit_quantity_minor = rate.price_of(kind)
    if rate.residual_mode is None:
        return floor_div_carry(
            quantity_minor, price_xusd, unit_quantity_minor, remainder
        )
    return price_blocks(
        quantity_minor, price_xusd, unit_quantity_minor, remainder, rate.residual_mode
    )


def _missing_line(
    quantity_minor: int,
    computed_at: datetime,
    feature_code: str,
    meter_code: str | None,
    unit: str | None,
) -> RatedLine:
    if meter_code is None or unit is None:
        absent = "meter_code" if meter_code is None else "unit"
        raise Invalid(f"{absent} must be given for a missing price.", field=absent)

    def side(kind: PricingKind) -> PricedSide:
        snapshot = missing_snapshot(
            kind=kind,
            feature_code=feature_code,
            meter_code=meter_code,
            unit=unit,
            quantity_minor=quantity_minor,
            computed_at=computed_at,
        )
        return PricedSide(kind, 0, 0, 0, None, snapshot)

    return RatedLine(
        status="missing_price",
        meter_code=meter_code,
        unit=unit,
        quantity_minor=quantity_minor,
        computed_at=computed_at,
        revenue=side("revenue"),
        cost=side("cost"),
    )


def aggregate(lines: Sequence[RatedLine]) -> RatedTotal:
    """Return the sum of lines that were computed at one instant.

    Quantities are summed as they are; when the lines' units differ, the snapshots
    say `mixed`. Refuses, with Invalid: no lines, or lines of several instants (on
    `lines`), and a sum beyond 64 bits (on `quantity_minor`, `amount_xusd` or
    `cost_xusd`).
    """
    if len({line.computed_at for line in lines}) != 1:
        raise Invalid("lines must be computed at one instant.", field="lines")
    quantity_minor = sum(line.quantity_minor for line in lines)
    return RatedTotal(
        quantity_minor=check_int64(quantity_minor, "quantity_minor"),
        amount_xusd=check_int64(_sum([x.revenue for x in lines]), "amount_xusd"),
        cost_xusd=check_int64(_sum([x.cost for x in lines]), "cost_xusd"),
        pricing_snapshot=_total(lines, [line.revenue for line in lines]),
        cost_snapshot=_total(lines, [line.cost for line in lines]),
    )


def _sum(sides: Sequence[PricedSide]) -> int:
    return sum(side.amount_xusd for side in sides)


def _total(lines: Sequence[RatedLine], sides: Sequence[PricedSide]) -> Document:
    units = {line.unit for line in lines}
    return aggregate_snapshot(
        kind=sides[0].kind,
        unit=lines[0].unit if len(units) == 1 else MIXED_UNITS,
        quantity_minor=sum(line.quantity_minor for line in lines),
        amount_xusd=_sum(sides),
        components=[
            aggregate_component(
                meter_code=line.meter_code,
                status=line.status,
                rate_identity=side.rate_identity,
                fact_fingerprint=side.fact_fingerprint,
                quantity_minor=line.quantity_minor,
                amount_xusd=side.amount_xusd,
            )
            for line, side in zip(lines, sides, strict=True)
        ],
        computed_at=lines[0].computed_at,
    )
