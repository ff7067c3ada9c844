"""`/gate/policy-bundles`."""

from typing import Any, Literal, cast

from catalog.api.lookup import row_named
from config.api.envelope import Answer
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import Sorting, items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Id,
    Instant,
    JsonObject,
    ListQuery,
    Name,
    Prose,
    WireModel,
    WriteModel,
    omitted,
)
from config.kernel.metadata import BundleMetadata
from gating.models import GatePolicyBundle
from gating.services.bundles import change_bundle, delete_bundle, upsert_bundle

BY_KEY = Sorting("bundle_key", descending=False)
BundleStatusName = Literal["active", "disabled"]


class BundleOut(WireModel):
    """A policy bundle as the wire shows it."""

    bundle_id: Id
    bundle_key: str
    name: str
    status: BundleStatusName
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, bundle: GatePolicyBundle) -> "BundleOut":
        """Return the wire form of a bundle."""
        return cls(
            bundle_id=bundle.pk,
            bundle_key=bundle.bundle_key,
            name=bundle.name,
            status=cast("BundleStatusName", bundle.status),
            metadata=bundle.metadata,
            created_at=bundle.created_at,
            updated_at=bundle.updated_at,
        )


class BundlePage(WireModel):
    """A page of policy bundles, by key."""

    items: list[BundleOut]
    next_cursor: str | None = None


class BundleUpsert(WriteModel):
    """A bundle to create, or to change by its key."""

    bundle_key: Name
    name: Prose = omitted()
    status: BundleStatusName = omitted()
    metadata: JsonObject = omitted()


class BundleChange(WriteModel):
    """The fields of a bundle to change."""

    name: Prose = omitted()
    status: BundleStatusName = omitted()
    metadata: JsonObject = omitted()


class BundleQuery(ListQuery):
    """Filters of the bundle list; `q` is looked for in key and name."""

    q: Prose | None = None
    status: BundleStatusName | None = None


class Deleted(WireModel):
    """The row is gone."""

    deleted: Literal[True] = True


class BundlesView(ServiceView):
    """All policy bundles of the realm."""

    @operation("list_gate_policy_bundles", query=BundleQuery, answer=BundlePage)
    def get(self, call: Call, query: BundleQuery) -> Answer:
        """List policy bundles by key."""
        page = paginate(
            GatePolicyBundle.objects.in_realm(call.realm).matching(
                text=query.q, status=query.status
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=BY_KEY,
        )
        return Answer(items(page, BundleOut.of))

    @operation(
        "upsert_gate_policy_bundle",
        body=BundleUpsert,
        answer=BundleOut,
        statuses=(200, 201),
    )
    def post(self, call: Call, body: BundleUpsert) -> Answer:
        """Create a policy bundle, or change the one of that key."""
        bundle, created = upsert_bundle(
            realm=call.realm, at=call.at, by=call.by, **body.given()
        )
        return _answer(bundle, body.metadata, status=201 if created else 200)


class BundleView(ServiceView):
    """One policy bundle."""

    @operation("get_gate_policy_bundle", answer=BundleOut)
    def get(self, call: Call, bundle_id: str) -> Answer:
        """Read one policy bundle."""
        return Answer(BundleOut.of(bundle_named(call, bundle_id)))

    @operation("update_gate_policy_bundle", body=BundleChange, answer=BundleOut)
    def patch(self, call: Call, bundle_id: str, body: BundleChange) -> Answer:
        """Change the given fields of a policy bundle."""
        bundle = change_bundle(
            bundle=bundle_named(call, bundle_id),
            at=call.at,
            by=call.by,
            **body.given(),
        )
        return _answer(bundle, body.metadata)

    @operation("delete_gate_policy_bundle", body=WriteModel, answer=Deleted)
    def delete(self, call: Call, bundle_id: str, body: WriteModel) -> Answer:
        """Delete a policy bundle that governs nobody, with its policies."""
        bundle = bundle_named(call, bundle_id)
        delete_bundle(bundle=bundle, at=call.at, by=call.by)
        return Answer(Deleted(deleted=True))


def bundle_named(call: Call, bundle_id: str) -> GatePolicyBundle:
    """Return the realm's bundle of that id. Refuses an unknown one (404)."""
    bundles = GatePolicyBundle.objects.in_realm(call.realm).select_related("realm")
    return row_named(bundles, bundle_id)


def _answer(
    bundle: GatePolicyBundle, metadata: dict[str, Any] | None, *, status: int = 200
) -> Answer:
    return Answer(
        BundleOut.of(bundle),
        status=status,
        meta=warnings_meta(BundleMetadata, metadata),
    )
