"""`/meters`, and meters where features list them."""

from datetime import datetime
from typing import Any, Literal, cast

from catalog.api.fields import Scale
from catalog.api.lookup import row_named
from catalog.models import Feature, Meter, MeterPrice
from catalog.selectors.meters import meters
from catalog.services.meters import MeterFields, change_meter, upsert_meter
from catalog.services.prices import PriceTerms
from config.api.envelope import Answer
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import Sorting, items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Code,
    Flag,
    Id,
    Instant,
    JsonObject,
    ListQuery,
    Name,
    PosInt,
    Prose,
    QueryFlag,
    SignedInt,
    UInt,
    WireModel,
    WriteModel,
    omitted,
)
from config.kernel.audit import MOST_AHEAD
from config.kernel.errors import Invalid
from config.kernel.metadata import MeterMetadata

BY_CODE = Sorting("meter_code", descending=False)

Rounding = Literal["round", "floor", "ceil", "truncate"]
SemanticKind = Literal["activity", "outcome"]


class MeterPriceOut(WireModel):
    """A price as the wire shows it."""

    unit_price_xusd: UInt
    unit_price_base_xusd: UInt
    unit_price_dynamic_xusd: SignedInt
    unit_quantity_minor: PosInt
    unit_cost_xusd: UInt
    cost_unit_quantity_minor: PosInt
    effective_at: Instant

    @classmethod
    def of(cls, price: MeterPrice) -> "MeterPriceOut":
        """Return the wire form of a price."""
        amounts = {name: getattr(price, name) for name in MeterPrice.AMOUNTS}
        return cls(effective_at=price.window_start, **amounts)


class MeterOut(WireModel):
    """A meter as the wire shows it; `meter_prices` is absent where it has no price."""

    meter_id: Id
    meter_code: str
    feature_id: Id = omitted()
    feature_code: str = omitted()
    unit: str
    scale: int
    rounding: Rounding
    semantic_kind: SemanticKind
    active: bool
    metadata: JsonObject
    meter_prices: MeterPriceOut = omitted()
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, meter: Meter, feature: Feature | None = None) -> "MeterOut":
        """Return the wire form of a meter read with its price.

        `feature` is the one it is shown under, else the one the selector chose.
        """
        shown: dict[str, Any] = {}
        if feature is not None:
            shown = {"feature_id": feature.pk, "feature_code": feature.feature_code}
        elif meter.shown_feature is not None:
            shown = meter.shown_feature
        for price in meter.current_prices:
            shown = {**shown, "meter_prices": MeterPriceOut.of(price)}
        return cls(
            meter_id=meter.pk,
            meter_code=meter.meter_code,
            unit=meter.unit,
            scale=meter.scale,
            rounding=cast("Rounding", meter.rounding),
            semantic_kind=cast("SemanticKind", meter.semantic_kind),
            active=meter.active,
            metadata=meter.metadata,
            created_at=meter.created_at,
            updated_at=meter.updated_at,
            **shown,
        )


class MeterPage(WireModel):
    """A page of meters, by code."""

    items: list[MeterOut]
    next_cursor: str | None = None


class MeterPriceIn(WireModel):
    """A price to put in force now.

    The server stamps `effective_at`: one that was read may be sent back, and one yet
    to come is refused, for the price would hold before it.
    """

    unit_price_xusd: UInt
    unit_price_base_xusd: UInt = omitted()
    unit_price_dynamic_xusd: SignedInt = omitted()
    unit_quantity_minor: PosInt
    unit_cost_xusd: UInt
    cost_unit_quantity_minor: PosInt
    effective_at: Instant = omitted()

    def terms(self, *, at: datetime, place: str) -> PriceTerms:
        """Return the terms of the price; refuse (`Invalid`) one for later than `at`.

        `place` is the input field that holds it.
        """
        said = self.effective_at if "effective_at" in self.model_fields_set else at
        if said > at + MOST_AHEAD:
            raise Invalid(
                "A price takes effect when it is set, so its effective_at cannot lie "
                "in the future.",
                field=f"{place}.effective_at",
            )
        return PriceTerms(**self.given("effective_at"))


class MeterIn(WireModel):
    """What may be said of a meter; what is absent stays as it is."""

    meter_code: Code = omitted()
    feature_code: Code = omitted()
    unit: Name = omitted()
    scale: Scale = omitted()
    rounding: Rounding = omitted()
    semantic_kind: SemanticKind = omitted()
    active: Flag = omitted()
    metadata: JsonObject = omitted()
    meter_prices: MeterPriceIn = omitted()

    def values(self) -> MeterFields:
        """Return the columns given."""
        given = self.given("meter_code", "feature_code", "meter_prices")
        return cast("MeterFields", given)

    def price(self, *, at: datetime, place: str = "meter_prices") -> PriceTerms | None:
        """Return the terms of the price given, None where none is. Refuses as they."""
        given = "meter_prices" in self.model_fields_set
        return self.meter_prices.terms(at=at, place=place) if given else None


class MeterChange(MeterIn, WriteModel):
    """The fields of a meter to change."""


class MeterUpsert(MeterChange):
    """A meter to create, or to change by its code."""

    meter_code: Code


class MeterQuery(ListQuery):
    """Filters of the meter list; `q` is looked for in the code."""

    q: Prose | None = None
    active: QueryFlag | None = None
    feature_code: Code | None = None
    semantic_kind: SemanticKind | None = None
    unit: Name | None = None


class MetersView(ServiceView):
    """All meters of the realm."""

    @operation("list_meters", query=MeterQuery, answer=MeterPage)
    def get(self, call: Call, query: MeterQuery) -> Answer:
        """List meters by code, with the prices in force."""
        filters = query.model_dump(exclude={"q", "limit", "cursor"})
        page = paginate(
            meters(realm=call.realm, at=call.at, text=query.q, **filters),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=BY_CODE,
        )
        return Answer(items(page, MeterOut.of))

    @operation("upsert_meter", body=MeterUpsert, answer=MeterOut, statuses=(200, 201))
    def post(self, call: Call, body: MeterUpsert) -> Answer:
        """Create a meter or change the one of that code, and supersede its price."""
        meter, created = upsert_meter(
            realm=call.realm,
            price=body.price(at=call.at),
            at=call.at,
            by=call.by,
            **body.given("meter_prices"),
        )
        return _answer(call, meter, body, status=201 if created else 200)


class MeterView(ServiceView):
    """One meter."""

    @operation("get_meter", answer=MeterOut)
    def get(self, call: Call, meter_id: str) -> Answer:
        """Read one meter, with the price in force."""
        return Answer(
            MeterOut.of(row_named(meters(realm=call.realm, at=call.at), meter_id))
        )

    @operation("update_meter", body=MeterChange, answer=MeterOut)
    def patch(self, call: Call, meter_id: str, body: MeterChange) -> Answer:
        """Change the given fields of a meter, and supersede its price."""
        meter = change_meter(
            meter=row_named(Meter.objects.in_realm(call.realm), meter_id),
            price=body.price(at=call.at),
            at=call.at,
            by=call.by,
            **body.given("meter_prices"),
        )
        return _answer(call, meter, body)


def _answer(
    call: Call, meter: Meter, body: MeterChange, *, status: int = 200
) -> Answer:
    shown = meters(realm=call.realm, at=call.at, feature_code=body.feature_code)
    return Answer(
        MeterOut.of(shown.get(pk=meter.pk)),
        status=status,
        meta=warnings_meta(MeterMetadata, body.metadata),
    )
