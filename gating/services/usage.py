"""What was used of a feature's meters, on its way into and out of the function."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gating.answers import Committed, Line
from gating.rules import Rules
from gating.services.functions import Document

NUMBERS = 6
"""Numbers per line: amount, cost, and of each side the remainder carried in and on."""


@dataclass(frozen=True, slots=True)
class MeterUse:
    """A quantity used on one meter.

    `client_pricing_etag` is the rate identity that the caller last knew; `unit` is
    the caller's word for the meter's unit, kept for a meter that we do not have.
    """

    meter_code: str
    quantity_minor: int
    unit: str | None = None
    client_pricing_etag: str | None = None

    @property
    def document(self) -> list[str | None]:
        """Return the use as JSON, for the digest of its request."""
        quantity = str(self.quantity_minor)
        return [self.meter_code, quantity, self.unit, self.client_pricing_etag]

    def item(self, line_id: UUID) -> Document:
        """Return the use as the gate's function takes it."""
        return {
            "id": str(line_id),
            "meter": self.meter_code,
            "quantity": self.quantity_minor,
            "unit": self.unit,
            "etag": self.client_pricing_etag,
        }


def committed_of(
    answer: Document, item: Document, rules: Rules, at: datetime
) -> Committed:
    """Return the rating that the function has just stored for the item at `at`."""
    return Committed(
        rating_id=UUID(item["id"]),
        at=at,
        billing_mode=answer["mode"],
        quantity_minor=item["quantity"],
        status=answer["status"],
        reasons=answer["reasons"],
        applied_minor=answer["quantity"],
        applied_xusd=answer["amount"],
        cost_xusd=answer["cost"],
        lines=_lines(answer, item, rules),
        evidence=answer["evidence"],
    )


def _lines(answer: Document, item: Document, rules: Rules) -> list[Line]:
    rates, units, numbers = rules.rates, rules.units, answer["numbers"]
    lines = []
    for place, use in enumerate(item["uses"]):
        start = place * NUMBERS
        amount, cost, carried, _, cost_carried, _ = numbers[start : start + NUMBERS]
        meter = use["meter"]
        lines.append(
            Line(
                line_id=UUID(use["id"]),
                meter_code=meter,
                unit=units.get(meter) or use["unit"] or "unit",
                quantity_minor=use["quantity"],
                amount_xusd=amount,
                cost_xusd=cost,
                remainder_in=carried,
                cost_remainder_in=cost_carried,
                client_pricing_etag=use["etag"],
                priced=meter in rates,
            )
        )
    return lines
