"""`/feature-families`."""

from typing import Any

from catalog.api.lookup import row_named
from catalog.models import FeatureFamily
from catalog.selectors.families import feature_families
from catalog.services.families import (
    change_feature_family,
    delete_feature_family,
    upsert_feature_family,
)
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
from config.kernel.metadata import FeatureFamilyMetadata

BY_CODE = Sorting("feature_family_code", descending=False)


class FeatureFamilyOut(WireModel):
    """A feature family as the wire shows it."""

    feature_family_id: Id
    feature_family_code: str
    is_fallback: bool
    name: str
    description: str
    entitlement_required: bool
    active: bool
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, family: FeatureFamily) -> "FeatureFamilyOut":
        """Return the wire form of a family."""
        return cls(
            feature_family_id=family.pk,
            feature_family_code=family.feature_family_code,
            is_fallback=family.is_fallback,
            name=family.name,
            description=family.description,
            entitlement_required=family.entitlement_required,
            active=family.active,
            metadata=family.metadata,
            created_at=family.created_at,
            updated_at=family.updated_at,
        )


class FeatureFamilyPage(WireModel):
    """A page of feature families, by code."""

    items: list[FeatureFamilyOut]
    next_cursor: str | None = None


class DeleteResult(WireModel):
    """Whether the row is gone, or was deactivated because others refer to it."""

    deleted: bool
    soft_deleted: bool

    @classmethod
    def of(cls, *, gone: bool) -> "DeleteResult":
        """Return the wire form of what a deletion came to."""
        return cls(deleted=gone, soft_deleted=not gone)


class FeatureFamilyUpsert(WriteModel):
    """A feature family to create, or to overwrite by its code."""

    feature_family_code: Code
    name: NameOrEmpty = omitted()
    description: Prose = omitted()
    entitlement_required: Flag = omitted()
    active: Flag = omitted()
    metadata: JsonObject = omitted()


class FeatureFamilyChange(WriteModel):
    """The fields of a feature family to change."""

    name: Name = omitted()
    description: Prose = omitted()
    entitlement_required: Flag = omitted()
    active: Flag = omitted()
    metadata: JsonObject = omitted()


class FeatureFamilyQuery(ListQuery):
    """Filters of the feature family list; `q` is looked for in code and name."""

    q: Prose | None = None
    active: QueryFlag | None = None


class FeatureFamiliesView(ServiceView):
    """All feature families of the realm."""

    @operation(
        "list_feature_families", query=FeatureFamilyQuery, answer=FeatureFamilyPage
    )
    def get(self, call: Call, query: FeatureFamilyQuery) -> Answer:
        """List feature families by code."""
        page = paginate(
            feature_families(realm=call.realm, text=query.q, active=query.active),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=BY_CODE,
        )
        return Answer(items(page, FeatureFamilyOut.of))

    @operation(
        "upsert_feature_family",
        body=FeatureFamilyUpsert,
        answer=FeatureFamilyOut,
        statuses=(200, 201),
    )
    def post(self, call: Call, body: FeatureFamilyUpsert) -> Answer:
        """Create a feature family, or overwrite the one of that code."""
        family, created = upsert_feature_family(
            realm=call.realm, at=call.at, by=call.by, **body.given()
        )
        return _answer(family, body.metadata, status=201 if created else 200)


class FeatureFamilyView(ServiceView):
    """One feature family."""

    @operation("get_feature_family", answer=FeatureFamilyOut)
    def get(self, call: Call, feature_family_id: str) -> Answer:
        """Read one feature family."""
        family = _family(call, feature_family_id)
        return Answer(FeatureFamilyOut.of(family))

    @operation(
        "update_feature_family", body=FeatureFamilyChange, answer=FeatureFamilyOut
    )
    def patch(
        self, call: Call, feature_family_id: str, body: FeatureFamilyChange
    ) -> Answer:
        """Change the given fields of a feature family."""
        family = change_feature_family(
            family=_family(call, feature_family_id),
            at=call.at,
            by=call.by,
            **body.given(),
        )
        return _answer(family, body.metadata)

    @operation("delete_feature_family", body=WriteModel, answer=DeleteResult)
    def delete(self, call: Call, feature_family_id: str, body: WriteModel) -> Answer:
        """Delete a family nothing refers to, else deactivate it."""
        family = _family(call, feature_family_id)
        gone = delete_feature_family(family=family, at=call.at, by=call.by)
        return Answer(DeleteResult.of(gone=gone))


def _family(call: Call, feature_family_id: str) -> FeatureFamily:
    return row_named(FeatureFamily.objects.in_realm(call.realm), feature_family_id)


def _answer(
    family: FeatureFamily, metadata: dict[str, Any] | None, *, status: int = 200
) -> Answer:
    return Answer(
        FeatureFamilyOut.of(family),
        status=status,
        meta=warnings_meta(FeatureFamilyMetadata, metadata),
    )
