"""The feature of a gate call, with its meters and the rates in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from catalog.models import Feature, FeatureMeter, Meter, MeterPrice, SemanticKind
from catalog.selectors.prices import prices_in_force
from config.tenancy.models import Realm
from gating.facts import FeatureFact, UnitPrice
from gating.pricing import BLOCK_ALGORITHMS, MeterRate


@dataclass(frozen=True, slots=True)
class GatedFeature:
    """A feature with its meters, the primary one first, and their rates by code.

    `activity` are the active meters that usage may be committed on.
    """

    feature: Feature
    meters: Sequence[Meter]
    rates: Mapping[str, MeterRate]

    @property
    def activity(self) -> Sequence[Meter]:
        """Return the active activity meters."""
        return [
            meter
            for meter in self.meters
            if meter.active and meter.semantic_kind == SemanticKind.ACTIVITY
        ]

    @property
    def fact(self) -> FeatureFact:
        """Return the feature as the decision reads it."""
        return FeatureFact(
            feature_code=self.feature.feature_code,
            feature_family_code=self.feature.feature_family.feature_family_code,
            active=self.feature.active,
        )

    @property
    def units(self) -> dict[str, str]:
        """Return the units of the active activity meters, by code."""
        return {meter.meter_code: meter.unit for meter in self.activity}

    @property
    def activity_rates(self) -> dict[str, MeterRate]:
        """Return the rates of the active activity meters, by code."""
        units = self.units
        return {code: rate for code, rate in self.rates.items() if code in units}

    @property
    def zero_cost(self) -> bool:
        """Return whether it has meters, and none of them has a price or a cost."""
        return bool(self.meters) and not any(
            rate.unit_price_xusd or rate.unit_cost_xusd for rate in self.rates.values()
        )

    @property
    def unpriced(self) -> Sequence[str]:
        """Return the codes of the activity meters that have no price in force."""
        return [code for code in self.units if code not in self.rates]

    @property
    def price(self) -> UnitPrice | None:
        """Return the price of the primary activity meter, None where it has none."""
        rate = self.activity_rates.get(self.feature.feature_code)
        if rate is None:
            return None
        return UnitPrice(
            rate.unit_price_xusd,
            rate.unit_quantity_minor,
            whole_blocks=rate.residual_mode is not None,
        )


def gated_feature(
    *, realm: Realm, feature_code: str, at: datetime
) -> GatedFeature | None:
    """Return the realm's feature of that code at `at`, None where there is none."""
    feature = (
        Feature.objects.in_realm(realm)
        .select_related("feature_family")
        .filter(feature_code=feature_code)
        .first()
    )
    if feature is None:
        return None
    links = (
        FeatureMeter.objects.in_realm(realm)
        .filter(feature=feature)
        .select_related("meter")
        .order_by("-is_primary", "meter__meter_code")
    )
    meters = [link.meter for link in links]
    return GatedFeature(
        feature, meters, rates_of(realm, [meter.meter_code for meter in meters], at=at)
    )


def rates_of(
    realm: Realm, meter_codes: Sequence[str], *, at: datetime
) -> dict[str, MeterRate]:
    """Return the rates in force at `at` by meter code; unpriced meters are absent."""
    prices = prices_in_force(realm=realm, meter_codes=meter_codes, at=at)
    return {code: rate_of(price) for code, price in prices.items()}


def rate_of(price: MeterPrice) -> MeterRate:
    """Return a price version as the rate of its meter (`meter` must be loaded)."""
    meter = price.meter
    mode = meter.metadata.get("residual_mode")
    provenance = {"source": "catalog", "meter_price_id": str(price.pk)}
    return MeterRate(
        meter_code=meter.meter_code,
        unit=meter.unit,
        unit_price_xusd=price.unit_price_xusd,
        unit_price_base_xusd=price.unit_price_base_xusd,
        unit_price_dynamic_xusd=price.unit_price_dynamic_xusd,
        unit_quantity_minor=price.unit_quantity_minor,
        unit_cost_xusd=price.unit_cost_xusd,
        cost_unit_quantity_minor=price.cost_unit_quantity_minor,
        effective_at=price.window_start,
        residual_mode=mode if mode in BLOCK_ALGORITHMS else None,
        provenance=provenance,
        cost_provenance=provenance,
    )
