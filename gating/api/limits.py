"""`/gate/limits` and `/gate/meters`: what a user may use, and what it costs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from billing.api.context import RuntimeView
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.wire import Code, Instant, Name, SignedInt, UInt, WireModel, omitted
from config.kernel.errors import Invalid
from config.tenancy.models import Scope
from gating.api.coverage import CoverageOut, purse_of
from gating.facts import PolicyWindow
from gating.pricing import MeterRate, rate_identity
from gating.selectors.limits import (
    FeatureLimits,
    MeterLimits,
    Purse,
    feature_limits,
    meter_limits,
)


def _split(values: Any) -> Any:
    """Return `a,b` and repeated parameters as one list."""
    if not isinstance(values, list):
        return values
    return [part.strip() for text in values for part in str(text).split(",")]


FeatureExpand = Annotated[list[Literal["quotas", "rates"]], BeforeValidator(_split)]
MeterExpand = Annotated[
    list[Literal["limits", "limits.quotas", "limits.rates", "pricing", "coverage"]],
    BeforeValidator(_split),
]


class WindowOut(WireModel):
    """A limit in its present window; a `limit_minor` of -1 is unlimited."""

    name: str
    feature_code: str
    subject_scope: Literal["user", "account"]
    window_start: Instant
    window_end: Instant
    limit_minor: SignedInt
    used_minor: UInt
    reserved_minor: UInt

    @classmethod
    def of(cls, window: PolicyWindow) -> "WindowOut":
        """Return the wire form of a window."""
        return cls(
            name=window.name,
            feature_code=window.counter.feature_code,
            subject_scope=window.counter.scope,
            window_start=window.counter.window_start,
            window_end=window.counter.window_end,
            limit_minor=-1 if window.limit is None else window.limit,
            used_minor=window.used_minor,
            reserved_minor=window.reserved_minor,
        )


class FeatureLimitOut(WireModel):
    """A feature that the user may use."""

    feature_code: str
    feature_family_code: str
    unit: str | None
    meters: list[str]
    quotas: list[WindowOut] = omitted()
    rates: list[WindowOut] = omitted()

    @classmethod
    def of(cls, limits: FeatureLimits, expand: Sequence[str]) -> "FeatureLimitOut":
        """Return the wire form of a feature's limits, with what was asked for."""
        feature = limits.feature
        shown: dict[str, Any] = {}
        if "quotas" in expand:
            shown["quotas"] = [WindowOut.of(window) for window in limits.quotas]
        if "rates" in expand:
            shown["rates"] = [WindowOut.of(window) for window in limits.rates]
        return cls(
            feature_code=feature.feature_code,
            feature_family_code=feature.feature_family.feature_family_code,
            unit=limits.unit,
            meters=[meter.meter_code for meter in limits.meters],
            **shown,
        )


class PriceOut(WireModel):
    """The price in force; `fingerprint` is what a commit sends as its etag.

    It is what the contract in force makes of the catalog's; base and dynamic part are
    the catalog's.
    """

    unit_price_xusd: UInt
    unit_price_base_xusd: UInt
    unit_price_dynamic_xusd: SignedInt
    unit_quantity_minor: UInt
    effective_at: Instant
    fingerprint: str
    unit: str
    unit_cost_xusd: UInt
    cost_unit_quantity_minor: UInt

    @classmethod
    def of(cls, rate: MeterRate) -> "PriceOut":
        """Return the wire form of a rate."""
        return cls(
            unit_price_xusd=rate.unit_price_xusd,
            unit_price_base_xusd=rate.unit_price_base_xusd,
            unit_price_dynamic_xusd=rate.unit_price_dynamic_xusd,
            unit_quantity_minor=rate.unit_quantity_minor,
            effective_at=rate.effective_at,
            fingerprint=rate_identity(rate, "revenue"),
            unit=rate.unit,
            unit_cost_xusd=rate.unit_cost_xusd,
            cost_unit_quantity_minor=rate.cost_unit_quantity_minor,
        )


class MeterLimitOut(WireModel):
    """A meter that the user's entitled features count on."""

    meter_code: str
    unit: str
    features: list[str]
    feature_family_codes: list[str]
    quotas: list[WindowOut] = omitted()
    rates: list[WindowOut] = omitted()
    pricing: PriceOut = omitted()
    coverage: CoverageOut = omitted()

    @classmethod
    def of(
        cls,
        limits: MeterLimits,
        expand: Sequence[str],
        purse: Purse,
        as_of: datetime,
    ) -> "MeterLimitOut":
        """Return the wire form of a meter, with what was asked for."""
        shown: dict[str, Any] = {}
        if {"limits", "limits.quotas"} & set(expand):
            shown["quotas"] = [WindowOut.of(window) for window in limits.quotas]
        if {"limits", "limits.rates"} & set(expand):
            shown["rates"] = [WindowOut.of(window) for window in limits.rates]
        if limits.rate and {"pricing", "coverage"} & set(expand):
            shown["pricing"] = PriceOut.of(limits.rate)
        if limits.rate and "coverage" in expand:
            shown["coverage"] = CoverageOut.of(limits.rate, purse, as_of)
        families = {
            each.feature.feature_family.feature_family_code for each in limits.features
        }
        return cls(
            meter_code=limits.meter.meter_code,
            unit=limits.meter.unit,
            features=[each.feature.feature_code for each in limits.features],
            feature_family_codes=sorted(families),
            **shown,
        )


class FeatureLimitQuery(WireModel):
    """Filters of the feature limits, the instant to judge at, and what to show."""

    feature_code: Code | None = None
    feature_family_code: Code | None = None
    expand: FeatureExpand = []
    as_of: Instant | None = None


class MeterLimitQuery(WireModel):
    """Filters of the meter limits, and what to show.

    Coverage always tells both the conservative and the optimistic quantity, so
    `coverage_profile` changes nothing. That of a budget, named by its id or reference,
    counts what leases hold as used.
    """

    meter_code: Code | None = None
    feature_code: Code | None = None
    feature_family_code: Code | None = None
    expand: MeterExpand = []
    as_of: Instant | None = None
    coverage_basis: Literal["xusd", "budget"] = "xusd"
    coverage_profile: Name | None = None
    coverage_budget_id: Name | None = None
    coverage_as_of: Instant | None = None


class FeatureLimitsView(RuntimeView):
    """What the user may use."""

    @operation(
        "gate_list_feature_limits",
        query=FeatureLimitQuery,
        answer=list[FeatureLimitOut],
        scope=Scope.RUNTIME,
    )
    def get(self, call: Call, query: FeatureLimitQuery) -> Answer:
        """List the features that the user is entitled to, with their limits."""
        limits = _feature_limits(call, query)
        return Answer([FeatureLimitOut.of(each, query.expand) for each in limits])


class MeterLimitsView(RuntimeView):
    """What the user's use costs."""

    @operation(
        "gate_list_meter_limits",
        query=MeterLimitQuery,
        answer=list[MeterLimitOut],
        scope=Scope.RUNTIME,
    )
    def get(self, call: Call, query: MeterLimitQuery) -> Answer:
        """List the meters of those features, with limits, prices and coverage."""
        as_of = query.coverage_as_of or call.at
        basis, name = query.coverage_basis, query.coverage_budget_id
        purse = purse_of(call.user, basis, name, as_of)
        meters = meter_limits(
            _feature_limits(call, query),
            account=call.account,
            as_of=query.as_of or call.at,
            at=call.at,
            meter_code=query.meter_code,
        )
        return Answer([MeterLimitOut.of(m, query.expand, purse, as_of) for m in meters])


LAST_YEAR = 9900
"""Windows last up to 68 years, and the calendar ends with the year 9999."""


def _feature_limits(
    call: Call, query: FeatureLimitQuery | MeterLimitQuery
) -> list[FeatureLimits]:
    as_of = query.as_of or call.at
    if as_of.year >= LAST_YEAR:
        raise Invalid(f"as_of lies before the year {LAST_YEAR}.", field="as_of")
    return feature_limits(
        account=call.account,
        user=call.user,
        as_of=as_of,
        at=call.at,
        feature_code=query.feature_code,
        feature_family_code=query.feature_family_code,
    )
