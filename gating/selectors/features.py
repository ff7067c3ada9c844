"""The feature of a gate call, with its meters and the rates in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.models import BillingAccount
from billing.selectors.contracts import pricing_terms
from catalog.models import Feature, FeatureMeter, Meter, MeterPrice, SemanticKind
from catalog.selectors.prices import prices_in_force
from config.kernel.windows import parse_instant
from gating.facts import FeatureFact, PriceTerm, UnitPrice
from gating.pricing import BLOCK_ALGORITHMS, MeterRate, TermFault, under_contract


@dataclass(frozen=True, slots=True)
class GatedFeature:
    """A feature with its meters, the primary one first, and their rates by code.

    `activity` are the active meters that usage may be committed on; `faults` say by
    meter code why a term of the contract in force has no effect.
    """

    feature: Feature
    meters: Sequence[Meter]
    rates: Mapping[str, MeterRate]
    faults: Mapping[str, TermFault]

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
            term=_term_of(rate),
        )


def _term_of(rate: MeterRate) -> PriceTerm | None:
    """Return the contract's term that made a rate's price, None where none did."""
    made = rate.provenance
    if "contract" not in made:
        return None
    return PriceTerm(
        contract_id=made["contract"]["contract_id"],
        effective_at=parse_instant(made["contract"]["effective_at"]),
        catalog_price_xusd=int(made["catalog_unit_price_xusd"]),
        catalog_quantity_minor=int(made["catalog_unit_quantity_minor"]),
    )


def gated_feature(
    *, account: BillingAccount, feature_code: str, at: datetime
) -> GatedFeature | None:
    """Return the feature of that code as the account has it at `at`, None for none."""
    realm = account.realm
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
    codes = [meter.meter_code for meter in meters]
    prices = prices_in_force(realm=realm, meter_codes=codes, at=at)
    catalog = {code: rate_of(price) for code, price in prices.items()}
    terms = pricing_terms(account=account, meter_codes=codes, as_of=at)
    found = under_contract(catalog, terms)
    return GatedFeature(feature, meters, found.rates, found.faults)


def rate_of(price: MeterPrice) -> MeterRate:
    """Return a price version as the catalog's rate of its meter, which is loaded."""
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
