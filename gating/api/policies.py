"""`/gate/policies`. On the wire -1 is unlimited."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from catalog.api.lookup import row_named
from config.api.envelope import Answer
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Id,
    Instant,
    JsonObject,
    ListQuery,
    Name,
    Prose,
    SignedInt,
    WireModel,
    WriteModel,
    omitted,
)
from config.kernel.codes import normalize_key
from config.kernel.errors import Invalid, NotFound
from config.kernel.metadata import PolicyMetadata
from gating.api.bundles import Deleted, bundle_named
from gating.models import GatePolicy, GatePolicyBundle
from gating.services.policies import change_policy, create_policy, delete_policy

UNLIMITED = -1
Kind = Literal["rate", "quota", "seats"]
Scope = Literal["user", "account"]
Status = Literal["default", "assignable", "ceiling", "disabled"]
Mode = Literal["reserve", "optimistic"]
Seconds = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


COPIED = (
    "description",
    "feature_code",
    "kind",
    "subject_scope",
    "unit",
    "window_sec",
    "status",
    "enforcement_mode",
    "metadata",
)


class PolicyOut(WireModel):
    """A gate policy as the wire shows it."""

    policy_id: Id
    bundle_id: Id
    bundle_key: str
    name: str
    description: str
    feature_code: str
    kind: Kind
    subject_scope: Scope
    unit: str
    window_sec: int
    limit_count: SignedInt = omitted()
    limit_minor: SignedInt = omitted()
    status: Status
    enforcement_mode: Mode
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, policy: GatePolicy) -> "PolicyOut":
        """Return the wire form of a policy (its bundle loaded)."""
        limit = UNLIMITED if policy.limit is None else policy.limit
        column = "limit_minor" if policy.kind == "quota" else "limit_count"
        fields: dict[str, Any] = {
            name: getattr(policy, name) for name in ("bundle_id", "name", *COPIED)
        }
        return cls(
            policy_id=policy.pk,
            bundle_key=policy.bundle.bundle_key,
            created_at=policy.created_at,
            updated_at=policy.updated_at,
            **{column: limit, **fields},
        )


class PolicyPage(WireModel):
    """A page of gate policies, the latest first."""

    items: list[PolicyOut]
    next_cursor: str | None = None


class PolicyValues(WireModel):
    """What may be said of a policy."""

    name: Name = omitted()
    description: Prose = omitted()
    limit_count: SignedInt = omitted()
    limit_minor: SignedInt = omitted()
    status: Status = omitted()
    enforcement_mode: Mode = omitted()
    metadata: JsonObject = omitted()

    def values(self) -> dict[str, Any]:
        """Return what the verb takes; -1 has become None, unlimited."""
        values = self.given("policy_id", "bundle_id", "bundle_key")
        for field in ("limit_count", "limit_minor"):
            limit = values.get(field)
            if limit is not None and limit < UNLIMITED:
                raise Invalid(f"{field} is 0 or more, or -1 for none.", field=field)
            if limit == UNLIMITED:
                values[field] = None
        return values


class PolicyCreate(PolicyValues, WriteModel):
    """A policy to create in the bundle that id or key names."""

    bundle_id: Id = omitted()
    bundle_key: Name = omitted()
    feature_code: Name
    kind: Kind
    subject_scope: Scope = omitted()
    unit: Name
    window_sec: Seconds


class PolicyChange(PolicyValues, WriteModel):
    """The fields of a policy to change."""

    feature_code: Name = omitted()
    kind: Kind = omitted()
    subject_scope: Scope = omitted()
    unit: Name = omitted()
    window_sec: Seconds = omitted()


class PolicyQuery(ListQuery):
    """Filters of the policy list; `q` is looked for in name and feature code."""

    q: Prose | None = None
    bundle_id: Id | None = None
    bundle_key: Name | None = None
    feature_code: Name | None = None
    kind: Kind | None = None
    subject_scope: Scope | None = None
    status: Status | None = None


class PoliciesView(ServiceView):
    """All gate policies of the realm."""

    @operation("list_gate_policies", query=PolicyQuery, answer=PolicyPage)
    def get(self, call: Call, query: PolicyQuery) -> Answer:
        """List gate policies."""
        return _page(call, query)

    @operation(
        "create_gate_policy", body=PolicyCreate, answer=PolicyOut, statuses=(201,)
    )
    def post(self, call: Call, body: PolicyCreate) -> Answer:
        """Create a gate policy."""
        policy = create_policy(
            bundle=bundle_of(call, body.given()),
            at=call.at,
            by=call.by,
            **body.values(),
        )
        return _answer(policy, body.metadata, status=201)


class BundlePoliciesView(ServiceView):
    """The policies of one bundle."""

    @operation("list_gate_bundle_policies", query=PolicyQuery, answer=PolicyPage)
    def get(self, call: Call, bundle_id: str, query: PolicyQuery) -> Answer:
        """List the policies of a bundle."""
        return _page(call, query, bundle=bundle_named(call, bundle_id))


class PolicyView(ServiceView):
    """One gate policy."""

    @operation("get_gate_policy", answer=PolicyOut)
    def get(self, call: Call, policy_id: str) -> Answer:
        """Read one gate policy."""
        return Answer(PolicyOut.of(_policy(call, policy_id)))

    @operation("update_gate_policy", body=PolicyChange, answer=PolicyOut)
    def patch(self, call: Call, policy_id: str, body: PolicyChange) -> Answer:
        """Change the given fields of a gate policy."""
        policy = _policy(call, policy_id)
        policy = change_policy(policy=policy, at=call.at, by=call.by, **body.values())
        return _answer(policy, body.metadata)

    @operation("delete_gate_policy", body=WriteModel, answer=Deleted)
    def delete(self, call: Call, policy_id: str, body: WriteModel) -> Answer:
        """Delete a gate policy."""
        delete_policy(policy=_policy(call, policy_id), at=call.at, by=call.by)
        return Answer(Deleted(deleted=True))


def _policy(call: Call, policy_id: str) -> GatePolicy:
    policies = GatePolicy.objects.in_realm(call.realm).select_related("bundle", "realm")
    return row_named(policies, policy_id)


def _page(
    call: Call, query: PolicyQuery, *, bundle: GatePolicyBundle | None = None
) -> Answer:
    policies = GatePolicy.objects.in_realm(call.realm).matching(
        text=query.q,
        bundle_id=query.bundle_id,
        bundle__bundle_key=query.bundle_key,
        feature_code=query.feature_code,
        kind=query.kind,
        subject_scope=query.subject_scope,
        status=query.status,
        bundle=bundle,
    )
    page = paginate(
        policies.select_related("bundle"),
        limit=page_limit(query.limit),
        cursor=query.cursor,
        scope=call.list_scope,
    )
    return Answer(items(page, PolicyOut.of))


def bundle_of(call: Call, named: Mapping[str, Any]) -> GatePolicyBundle:
    """Return the bundle that `bundle_id` and `bundle_key` name.

    Both, if given, must agree. Refuses neither (`Invalid`) and an unknown one (404).
    """
    bundles = GatePolicyBundle.objects.in_realm(call.realm).select_related("realm")
    if "bundle_id" not in named and "bundle_key" not in named:
        raise Invalid("Name the bundle by bundle_id or bundle_key.", field="bundle_key")
    if "bundle_id" in named:
        bundles = bundles.filter(pk=named["bundle_id"])
    if "bundle_key" in named:
        key = normalize_key(named["bundle_key"], "bundle_key")
        bundles = bundles.filter(bundle_key=key)
    bundle = bundles.first()
    if bundle is None:
        raise NotFound("There is no policy bundle by that id and key in this realm.")
    return bundle


def _answer(
    policy: GatePolicy, metadata: dict[str, Any] | None, *, status: int = 200
) -> Answer:
    return Answer(
        PolicyOut.of(policy),
        status=status,
        meta=warnings_meta(PolicyMetadata, metadata),
    )
