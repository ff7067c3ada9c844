"""`/billing-plans` and their entitlements."""

from typing import Any, Literal, cast

from billing.api.changes import given_changes
from billing.api.entitlements import EntitlementOut
from billing.models import Plan
from billing.selectors.plans import list_plans, plan_of
from billing.services.plans import change_plan_definition, upsert_plan
from config.api.envelope import Answer
from config.api.expansion import asked_for
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.sorting import Sort, sorting
from config.api.views import ServiceView
from config.api.wire import (
    Code,
    Flag,
    Instant,
    JsonObject,
    ListQuery,
    Name,
    PlanCode,
    QueryFlag,
    SmallInt,
    WireModel,
    WriteModel,
)
from config.kernel.metadata import PlanMetadata

Kind = Literal["base", "addon", "promo"]


def wire_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return a plan's metadata as the official client reads it.

    It knows `grants` as a list only, and amounts as digits only; a writer may leave a
    lone grant without its list, and amounts as numbers.
    """
    grants = metadata.get("grants")
    if not grants:
        return metadata
    listed = [grants] if isinstance(grants, dict) else grants
    return {**metadata, "grants": [_with_digits(each) for each in listed]}


def _with_digits(grant: dict[str, Any]) -> dict[str, Any]:
    amount = grant.get("amount_xusd")
    return grant if amount is None else {**grant, "amount_xusd": str(amount)}


class PlanOut(WireModel):
    """A plan as the wire shows it."""

    plan_id: str
    plan_code: str
    name: str
    kind: Kind
    priority: int
    active: bool
    metadata: JsonObject
    feature_codes: list[str] | None = None
    feature_family_codes: list[str] | None = None
    entitlements: list[EntitlementOut] | None = None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, plan: Plan) -> "PlanOut":
        """Return the wire form of a plan read with its entitlements."""
        allows = [rule for rule in plan.entitlements.all() if rule.effect == "allow"]
        return cls(
            plan_id=str(plan.pk),
            plan_code=plan.plan_code,
            name=plan.name,
            kind=cast("Kind", plan.kind),
            priority=plan.priority,
            active=plan.active,
            metadata=wire_metadata(plan.metadata),
            feature_codes=[r.feature.feature_code for r in allows if r.feature],
            feature_family_codes=[
                r.feature_family.feature_family_code for r in allows if r.feature_family
            ],
            created_at=plan.created_at,
            updated_at=plan.updated_at,
        )

    @classmethod
    def complete(cls, plan: Plan) -> "PlanOut":
        """Return the wire form with every entitlement, also those that deny."""
        rules = [EntitlementOut.of(rule) for rule in plan.entitlements.all()]
        return cls.of(plan).model_copy(update={"entitlements": rules})


class PlanPage(WireModel):
    """A page of plans."""

    items: list[PlanOut]
    next_cursor: str | None = None


class PlanUpsert(WriteModel):
    """A plan to create, or to overwrite by its code."""

    plan_code: PlanCode
    name: Name
    kind: Kind
    priority: SmallInt = 0
    active: Flag = True
    metadata: JsonObject = {}
    feature_codes: list[Code] | None = None
    feature_family_codes: list[Code] | None = None


class PlanChange(WriteModel):
    """The fields of a plan to change."""

    plan_code: PlanCode | None = None
    name: Name | None = None
    kind: Kind | None = None
    priority: SmallInt | None = None
    active: Flag | None = None
    metadata: JsonObject | None = None
    feature_codes: list[Code] | None = None
    feature_family_codes: list[Code] | None = None


class PlanQuery(ListQuery):
    """Filters of the plan list; `include` takes entitlements."""

    sort: Sort = None
    order: Literal["asc", "desc"] | None = None
    include: list[str] | None = None
    kind: Kind | None = None
    active: QueryFlag | None = None
    plan_id: str | None = None
    plan_code: str | None = None
    q: str | None = None
    feature_family_code: str | None = None
    feature_code: str | None = None
    gate_bundle_key: str | None = None
    grant_program_code: str | None = None
    issue_anchor: str | None = None
    billing_mode: str | None = None


class Plans(ServiceView):
    """`/billing-plans`."""

    @operation("list_billing_plans", query=PlanQuery, answer=PlanPage)
    def get(self, call: Call, query: PlanQuery) -> Answer:
        """List plans."""
        included = asked_for(query.include, ("entitlements",), "include")
        page = paginate(
            list_plans(
                call.realm, **query.given("limit", "cursor", "sort", "order", "include")
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=sorting(query.sort, query.order),
        )
        render = PlanOut.complete if included else PlanOut.of
        return Answer(items(page, render))

    @operation(
        "upsert_billing_plan", body=PlanUpsert, answer=PlanOut, statuses=(201, 200)
    )
    def post(self, call: Call, body: PlanUpsert) -> Answer:
        """Create a plan, or overwrite the one of this code."""
        plan, created = upsert_plan(
            realm=call.realm, **body.given(), at=call.at, by=call.by
        )
        return Answer(
            PlanOut.of(plan_of(call.realm, plan.pk)),
            status=201 if created else 200,
            meta=warnings_meta(PlanMetadata, body.metadata),
        )


class PlanDetail(ServiceView):
    """`/billing-plans/{plan_id}`."""

    @operation("get_billing_plan", answer=PlanOut)
    def get(self, call: Call, plan_id: str) -> Answer:
        """Read a plan."""
        return Answer(PlanOut.of(plan_of(call.realm, plan_id)))

    @operation("update_billing_plan", body=PlanChange, answer=PlanOut)
    def patch(self, call: Call, plan_id: str, body: PlanChange) -> Answer:
        """Change a plan; naming either code list replaces its entitlements."""
        changes = given_changes(body)
        codes = {
            name: changes.pop(name)
            for name in ("feature_codes", "feature_family_codes")
            if name in changes
        }
        plan = change_plan_definition(
            plan=plan_of(call.realm, plan_id), changes=changes, **codes,
            at=call.at, by=call.by,
        )  # fmt: skip
        return Answer(
            PlanOut.of(plan_of(call.realm, plan.pk)),
            meta=warnings_meta(PlanMetadata, changes.get("metadata", {})),
        )
