"""`/features`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from catalog.api.families import DeleteResult
from catalog.api.lookup import row_named
from catalog.api.meters import MeterIn, MeterOut
from catalog.models import Feature
from catalog.selectors.features import (
    features,
    features_needing_configuration,
    missing_price_reason,
)
from catalog.services.entries import MeterEntry
from catalog.services.features import change_feature, delete_feature, upsert_feature
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
    NameOrEmpty,
    Prose,
    QueryFlag,
    WireModel,
    WriteModel,
    omitted,
)
from config.kernel.metadata import FeatureMetadata, MeterMetadata

BY_CODE = Sorting("feature_code", descending=False)
MAX_METERS = 100


class FeatureOut(WireModel):
    """A feature as the wire shows it, with its meters and their prices.

    `missing_price_reason` is present where the feature needs configuration.
    """

    feature_id: Id
    feature_family_id: Id
    feature_family_code: str
    missing_price_reason: Literal["auto_registry", "missing_price", "both"] = omitted()
    feature_code: str
    name: str
    description: str
    entitlement_required: bool | None
    active: bool
    metadata: JsonObject
    unit: str | None
    meters: list[MeterOut]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, feature: Feature) -> "FeatureOut":
        """Return the wire form of a feature read with its meters."""
        reason = missing_price_reason(feature)
        return cls(
            feature_id=feature.pk,
            feature_family_id=feature.feature_family_id,
            feature_family_code=feature.feature_family.feature_family_code,
            feature_code=feature.feature_code,
            name=feature.name,
            description=feature.description,
            entitlement_required=feature.entitlement_required,
            active=feature.active,
            metadata=feature.metadata,
            unit=feature.unit or None,
            meters=[MeterOut.of(link.meter, feature) for link in feature.shown_links],
            created_at=feature.created_at,
            updated_at=feature.updated_at,
            **({"missing_price_reason": reason} if reason else {}),
        )


class FeaturePage(WireModel):
    """A page of features, by code."""

    items: list[FeatureOut]
    next_cursor: str | None = None


class FeatureBody(WriteModel):
    """What a feature's creation and its changes have in common."""

    feature_family_id: Id = omitted()
    feature_family_code: Code = omitted()
    description: Prose = omitted()
    entitlement_required: Flag | None = None
    active: Flag = omitted()
    metadata: JsonObject = omitted()
    unit: Name = omitted()
    meters: Annotated[list[MeterIn], Field(max_length=MAX_METERS)] = omitted()

    def arguments(self, *, at: datetime) -> dict[str, Any]:
        """Return what the verb takes at `at`; an absent field stays absent.

        Refuses (`Invalid`) a price for later.
        """
        entries = [
            MeterEntry(
                meter_code=meter.meter_code,
                feature_code=meter.feature_code,
                values=meter.values(),
                price=meter.price(at=at, place=f"meters.{index}.meter_prices"),
            )
            for index, meter in enumerate(self.meters or ())
        ]
        return {**self.given(), "meters": entries}

    def warnings(self) -> dict[str, Any] | None:
        """Return the envelope's `meta`: keys of metadata that are nearly known ones."""
        own = warnings_meta(FeatureMetadata, self.metadata) or {"warnings": []}
        for index, meter in enumerate(self.meters or ()):
            meta = warnings_meta(MeterMetadata, meter.metadata) or {"warnings": []}
            own["warnings"] += [
                {**each, "path": f"meters.{index}.{each['path']}"}
                for each in meta["warnings"]
            ]
        return own if own["warnings"] else None


class FeatureUpsert(FeatureBody):
    """A feature to create, or to overwrite by its code; name its family."""

    feature_code: Code
    name: NameOrEmpty = omitted()


class FeatureChange(FeatureBody):
    """The fields of a feature to change, and meters to put or to take away."""

    name: Name = omitted()
    delete_meters: Annotated[list[Code], Field(max_length=MAX_METERS)] = omitted()


class FeatureQuery(ListQuery):
    """Filters of the feature list; `q` is looked for in code and name."""

    q: Prose | None = None
    active: QueryFlag | None = None
    feature_family_code: Code | None = None


class FeaturesView(ServiceView):
    """All features of the realm."""

    @operation("list_features", query=FeatureQuery, answer=FeaturePage)
    def get(self, call: Call, query: FeatureQuery) -> Answer:
        """List features by code, with their meters and the prices in force."""
        filters = query.model_dump(exclude={"q", "limit", "cursor"})
        page = paginate(
            features(realm=call.realm, at=call.at, text=query.q, **filters),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=BY_CODE,
        )
        return Answer(items(page, FeatureOut.of))

    @operation(
        "upsert_feature", body=FeatureUpsert, answer=FeatureOut, statuses=(200, 201)
    )
    def post(self, call: Call, body: FeatureUpsert) -> Answer:
        """Create a feature or overwrite the one of that code, and put its meters."""
        feature, created = upsert_feature(
            realm=call.realm, at=call.at, by=call.by, **body.arguments(at=call.at)
        )
        return _answer(call, feature, body, status=201 if created else 200)


class FeaturesNeedingConfigView(ServiceView):
    """The features that nobody placed in a family or priced."""

    @operation("list_features_needing_config", query=ListQuery, answer=FeaturePage)
    def get(self, call: Call, query: ListQuery) -> Answer:
        """List active features in the fallback family or without a price in force."""
        page = paginate(
            features_needing_configuration(realm=call.realm, at=call.at),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=BY_CODE,
        )
        return Answer(items(page, FeatureOut.of))


class FeatureView(ServiceView):
    """One feature."""

    @operation("get_feature", answer=FeatureOut)
    def get(self, call: Call, feature_id: str) -> Answer:
        """Read one feature, with its meters and the prices in force."""
        found = row_named(features(realm=call.realm, at=call.at), feature_id)
        return Answer(FeatureOut.of(found))

    @operation("update_feature", body=FeatureChange, answer=FeatureOut)
    def patch(self, call: Call, feature_id: str, body: FeatureChange) -> Answer:
        """Change the given fields of a feature; put and take away meters."""
        feature = change_feature(
            feature=row_named(Feature.objects.in_realm(call.realm), feature_id),
            at=call.at,
            by=call.by,
            **body.arguments(at=call.at),
        )
        return _answer(call, feature, body)

    @operation("delete_feature", body=WriteModel, answer=DeleteResult)
    def delete(self, call: Call, feature_id: str, body: WriteModel) -> Answer:
        """Delete a feature nothing refers to, else deactivate it."""
        feature = row_named(Feature.objects.in_realm(call.realm), feature_id)
        gone = delete_feature(feature=feature, at=call.at, by=call.by)
        return Answer(DeleteResult.of(gone=gone))


def _answer(
    call: Call, feature: Feature, body: FeatureBody, *, status: int = 200
) -> Answer:
    stored = features(realm=call.realm, at=call.at).get(pk=feature.pk)
    return Answer(FeatureOut.of(stored), status=status, meta=body.warnings())
