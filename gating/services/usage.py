"""Rating what was used: its meters at the rates in force."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.models import BillingUser
from config.tenancy.models import Realm
from gating.facts import Hint
from gating.pricing import MeterRate, RatedLine, RatedTotal, aggregate, price_meter
from gating.selectors.features import gated_feature
from gating.services.remainders import Remainders

UNKNOWN_UNIT = "unit"


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


@dataclass(frozen=True, slots=True)
class RatedUse:
    """Rated usage: lines and total, the meters that could not be rated, and hints.

    `remainders` are to be stored once the usage is applied.
    """

    lines: Sequence[RatedLine]
    total: RatedTotal
    unpriced: Sequence[str]
    not_allowed: Sequence[str]
    hints: Sequence[Hint]
    remainders: Remainders


def rate_use(
    *,
    user: BillingUser,
    realm: Realm,
    feature_code: str,
    uses: Sequence[MeterUse],
    at: datetime,
) -> RatedUse:
    """Return what was used of a feature costs, at the rates in force at `at`.

    A line takes up the remainder that the one before it left under the same rate. A
    meter that the feature does not have is rated as one without a price. Refuses
    amounts beyond 64 bits (`Invalid`). Writes nothing.
    """
    gated = gated_feature(realm=realm, feature_code=feature_code, at=at)
    allowed = gated.units if gated else {}
    rates = gated.activity_rates if gated else {}
    remainders = Remainders(user, rates.values())
    lines = [
        _line(use, rates.get(use.meter_code), allowed, feature_code, remainders, at=at)
        for use in uses
    ]
    used = [use.meter_code for use in uses]
    return RatedUse(
        lines=lines,
        total=aggregate(lines),
        unpriced=_once(code for code in used if code in allowed and code not in rates),
        not_allowed=_once(code for code in used if code not in allowed),
        hints=[
            hint
            for use, line in zip(uses, lines, strict=True)
            for hint in _changed(use, line)
        ],
        remainders=remainders,
    )


def _line(
    use: MeterUse,
    rate: MeterRate | None,
    units: dict[str, str],
    feature_code: str,
    remainders: Remainders,
    *,
    at: datetime,
) -> RatedLine:
    if rate is None:
        return price_meter(
            None,
            use.quantity_minor,
            0,
            0,
            at,
            feature_code,
            meter_code=use.meter_code,
            unit=units.get(use.meter_code) or use.unit or UNKNOWN_UNIT,
        )
    line = price_meter(
        rate,
        use.quantity_minor,
        remainders.carried(rate, "revenue"),
        remainders.carried(rate, "cost"),
        at,
        feature_code,
    )
    remainders.take_up(line, rate)
    return line


def _changed(use: MeterUse, line: RatedLine) -> list[Hint]:
    """Return the hint that the rate is not the one the caller knew."""
    current = line.revenue.rate_identity
    if current is None or use.client_pricing_etag in {None, current}:
        return []
    return [
        {
            "type": "pricing.changed",
            "meter_code": use.meter_code,
            "previous_fingerprint": use.client_pricing_etag,
            "current_fingerprint": current,
        }
    ]


def _once(codes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(codes))
