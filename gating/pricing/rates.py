"""The resolved rate of a meter, and the identity that remainders are kept under."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from config.kernel.errors import Invalid
from config.kernel.money import check_int64, parse_posint, parse_uint
from config.kernel.windows import format_instant, require_utc
from gating.pricing.snapshots import (
    RATIONAL_FLOOR,
    Document,
    PricingKind,
    fingerprint,
)

ResidualMode = Literal["prepaid", "postpaid"]

BLOCK_ALGORITHMS: Mapping[str, str] = {
    "prepaid": "block_prepaid_v1",
    "postpaid": "block_postpaid_floor_v1",
}


def _catalog() -> Document:
    return {"source": "catalog"}


class _Remembering:
    """Holds what was computed of a rate: it never changes, and is asked for often."""

    __slots__ = ("_facts", "_identities")
    _facts: dict[PricingKind, Document]
    _identities: dict[PricingKind, str]

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy be made of what the rate is, and remember for itself."""
        kind: Any = type(self)
        return kind, tuple(getattr(self, each.name) for each in fields(kind))


@dataclass(frozen=True, slots=True)
class MeterRate(_Remembering):
    """The resolved rate of one meter: what is charged, and what it costs us.

    Attributes:
        meter_code: the meter.
        unit: the meter's unit, such as token.
        unit_price_xusd: revenue price of `unit_quantity_minor`, 0 or more.
        unit_price_base_xusd: the catalog's base price, 0 or more.
        unit_price_dynamic_xusd: the catalog's signed adjustment of the base price.
        unit_quantity_minor: the quantity that the price is for, 1 or more.
        unit_cost_xusd: cost of `cost_unit_quantity_minor`, 0 or more.
        cost_unit_quantity_minor: the quantity that the cost is for, 1 or more.
        effective_at: aware UTC instant from which the price version holds.
        residual_mode: bill whole blocks, prepaid or postpaid; None: exact rational.
        provenance: stable JSON facts on where the revenue price comes from.
        cost_provenance: the same for the cost.

    Refuses, with Invalid on the attribute at fault, values outside these ranges.

    """

    meter_code: str
    unit: str
    unit_price_xusd: int
    unit_price_base_xusd: int
    unit_price_dynamic_xusd: int
    unit_quantity_minor: int
    unit_cost_xusd: int
    cost_unit_quantity_minor: int
    effective_at: datetime
    residual_mode: ResidualMode | None = None
    provenance: Mapping[str, Any] = field(default_factory=_catalog)
    cost_provenance: Mapping[str, Any] = field(default_factory=_catalog)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_facts", {})
        object.__setattr__(self, "_identities", {})
        for name in ("unit_price_xusd", "unit_price_base_xusd", "unit_cost_xusd"):
            parse_uint(check_int64(getattr(self, name), name), name)
        for name in ("unit_quantity_minor", "cost_unit_quantity_minor"):
            parse_posint(check_int64(getattr(self, name), name), name)
        check_int64(self.unit_price_dynamic_xusd, "unit_price_dynamic_xusd")
        require_utc(self.effective_at, "effective_at")
        if self.residual_mode not in (None, *BLOCK_ALGORITHMS):
            raise Invalid(
                f"residual_mode must be prepaid or postpaid, or None; it is "
                f"{self.residual_mode!r}.",
                field="residual_mode",
            )

    def price_of(self, kind: PricingKind) -> tuple[int, int]:
        """Return one side's (unit price, unit quantity)."""
        if kind == "revenue":
            return self.unit_price_xusd, self.unit_quantity_minor
        return self.unit_cost_xusd, self.cost_unit_quantity_minor

    def facts_of(self, kind: PricingKind) -> Document:
        """Return one side's kind, prices, effective instant and provenance as JSON."""
        if kind not in self._facts:
            self._facts[kind] = self._told(kind)
        return dict(self._facts[kind])

    def _told(self, kind: PricingKind) -> Document:
        unit_price_xusd, unit_quantity_minor = self.price_of(kind)
        revenue = kind == "revenue"
        facts: Document = {
            "pricing_kind": kind,
            "unit_price_xusd": str(unit_price_xusd),
            "unit_quantity_minor": str(unit_quantity_minor),
            "effective_at": format_instant(self.effective_at),
            "provenance": dict(self.provenance if revenue else self.cost_provenance),
        }
        if revenue:
            facts["unit_price_base_xusd"] = str(self.unit_price_base_xusd)
            facts["unit_price_dynamic_xusd"] = str(self.unit_price_dynamic_xusd)
        if self.residual_mode is not None:
            facts["residual_mode"] = self.residual_mode
            facts["residual_algorithm"] = BLOCK_ALGORITHMS[self.residual_mode]
        return facts


def rate_identity(rate: MeterRate, kind: PricingKind) -> str:
    """Return the stable identity, a sha256 in hex, of one side of a rate.

    It covers algorithm, meter, kind, prices, unit quantity, `effective_at`, residual
    mode and provenance. Carried remainders are kept under it, and clients hold it as
    the price they know.
    """
    known = rate._identities
    if kind not in known:
        algorithm = RATIONAL_FLOOR
        if rate.residual_mode is not None:
            algorithm = BLOCK_ALGORITHMS[rate.residual_mode]
        identity = {"algorithm": algorithm, "meter_code": rate.meter_code}
        known[kind] = fingerprint(rate.facts_of(kind) | identity)
    return known[kind]
