"""What a user may use, within which limits, and what it costs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.models import BillingAccount, BillingUser
from billing.policies.effective import decide_entitlement, effective_plans
from billing.selectors.contracts import pricing_terms
from billing.selectors.effective import assigned_plans, entitlement_rules
from catalog.models import Feature, Meter, SemanticKind
from catalog.selectors.features import features
from gating.facts import PolicyWindow, UnitPrice
from gating.pricing import MeterRate, under_contract
from gating.projection import PolicyFact, governing
from gating.selectors.counters import Counters, counters_of, policy_windows
from gating.selectors.features import rate_of
from gating.selectors.policies import governance


@dataclass(frozen=True, slots=True)
class FeatureLimits:
    """An entitled feature, its activity meters, and the windows that bound it now."""

    feature: Feature
    meters: Sequence[Meter]
    quotas: Sequence[PolicyWindow]
    rates: Sequence[PolicyWindow]

    @property
    def unit(self) -> str | None:
        """Return the unit of the feature's primary meter."""
        units = {meter.meter_code: meter.unit for meter in self.meters}
        return units.get(self.feature.feature_code)


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """A meter, and the entitled features whose use it counts.

    `rate` is the price in force, None where there is none.
    """

    meter: Meter
    features: Sequence[FeatureLimits]
    rate: MeterRate | None

    @property
    def quotas(self) -> Sequence[PolicyWindow]:
        """Return the quota windows of all its features."""
        return [window for each in self.features for window in each.quotas]

    @property
    def rates(self) -> Sequence[PolicyWindow]:
        """Return the rate windows of all its features."""
        return [window for each in self.features for window in each.rates]


@dataclass(frozen=True, slots=True)
class Purse:
    """What use is measured against: a balance, or the budget of that id (10^-6 USD).

    An unlimited budget is not `limited`, whatever is left of its 64 bits.
    """

    left_xusd: int
    budget_id: str | None = None
    limited: bool = True


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a purse reaches on a meter; None where it does not limit use.

    `conservative_minor` is what it pays for in full; `optimistic_minor` also
    counts on the remainders that rating rounds down.
    """

    conservative_minor: int | None
    optimistic_minor: int | None


def coverage_of(rate: MeterRate, purse: Purse) -> Coverage:
    """Return how far a purse reaches at a rate."""
    price, quantity = rate.price_of("revenue")
    if price == 0 or not purse.limited:
        return Coverage(None, None)
    balance = max(0, purse.left_xusd)
    unit = UnitPrice(price, quantity, whole_blocks=rate.residual_mode is not None)
    optimistic = ((balance + 1) * quantity - 1) // price
    return Coverage(unit.affordable(balance), optimistic)


def feature_limits(
    *,
    account: BillingAccount,
    user: BillingUser,
    as_of: datetime,
    at: datetime,
    feature_code: str | None = None,
    feature_family_code: str | None = None,
) -> list[FeatureLimits]:
    """Return the features that the user is entitled to at `as_of`, by code.

    `at` is the present. Policies and entitlement rules are those of the present.
    """
    effective = effective_plans(
        assigned_plans(account=account, user_id=user.pk, as_of=as_of, at=at), as_of
    )
    rules = entitlement_rules(plan_ids=[plan.plan_id for plan in effective])
    policies = governance(realm=account.realm, effective=effective).policies
    counters = counters_of(
        account=account, user=user, at=as_of, feature_code=feature_code
    )
    family = feature_family_code
    found = features(
        realm=account.realm, at=as_of, active=True, feature_family_code=family
    )
    if feature_code is not None:
        found = found.filter(feature_code=feature_code)
    return [
        _limits(feature, policies, counters, account, user, as_of)
        for feature in found.order_by("feature_code")
        if decide_entitlement(
            effective,
            rules,
            feature_id=feature.pk,
            family_id=feature.feature_family_id,
            required=feature.needs_entitlement,
        ).verdict
        in {"allowed", "not_required"}
    ]


def _limits(
    feature: Feature,
    policies: Iterable[PolicyFact],
    counters: Counters,
    account: BillingAccount,
    user: BillingUser,
    as_of: datetime,
) -> FeatureLimits:
    governed = governing(policies, feature.feature_code)

    def windows(kind: str) -> list[PolicyWindow]:
        found = policy_windows(
            [policy for policy in governed if policy.kind == kind],
            counters,
            feature_code=feature.feature_code,
            account=account,
            user=user,
            at=as_of,
        )
        return sorted(found, key=lambda window: window.rank)

    return FeatureLimits(
        feature=feature,
        meters=[
            link.meter
            for link in feature.shown_links
            if link.meter.active and link.meter.semantic_kind == SemanticKind.ACTIVITY
        ],
        quotas=windows("quota"),
        rates=windows("rate"),
    )


def meter_limits(
    limits: Iterable[FeatureLimits],
    *,
    account: BillingAccount,
    as_of: datetime,
    at: datetime,
    meter_code: str | None = None,
) -> list[MeterLimits]:
    """Return the activity meters of the features, by code, with their prices.

    The prices are the account's at `as_of`: the catalog's, or what its contract makes
    of them. `at` is the present.
    """
    by_code: dict[str, tuple[Meter, list[FeatureLimits]]] = {}
    for each in limits:
        for meter in each.meters:
            known = by_code.setdefault(meter.meter_code, (meter, []))
            known[1].append(each)
    codes = sorted(code for code in by_code if meter_code in {None, code})
    catalog = {
        code: rate for code in codes if (rate := _catalog_rate(by_code[code][0]))
    }
    terms = pricing_terms(account=account, meter_codes=codes, as_of=as_of, at=at)
    rates = under_contract(catalog, terms).rates
    return [MeterLimits(*by_code[code], rates.get(code)) for code in codes]


def _catalog_rate(meter: Meter) -> MeterRate | None:
    if not meter.current_prices:
        return None
    price = meter.current_prices[0]
    price.meter = meter
    return rate_of(price)
