"""`/billing-plans` and their entitlements."""

from datetime import datetime
from typing import Any, Literal

from billing.models import Plan, PlanEntitlement
from billing.selectors.plans import list_plans, plan_of, rule_of, rules_of
from billing.services.entitlements import (
    Target,
    append_entitlements,
    remove_entitlement,
    replace_entitlements,
)
from billing.services.plans import change_plan_definition, upsert_plan
from config.api.envelope import Answer
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
    SmallInt,
    WireModel,
    WriteModel,
    YesNo,
)
from config.kernel.metadata import PlanMetadata

Kind = Literal["base", "addon", "promo"]


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
    entitlements: list[dict[str, Any]] | None = None
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
            kind=plan.kind,
            priority=plan.priority,
            active=plan.active,
            metadata=plan.metadata,
            feature_codes=[r.feature.feature_code for r in allows if r.feature],
            feature_family_codes=[
                r.feature_family.feature_family_code for r in allows if r.feature_family
            ],
            created_at=plan.created_at,
            updated_at=plan.updated_at,
        )


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
    """Filters of the plan list."""

    sort: Sort = None
    order: Literal["asc", "desc"] | None = None
    include: str | None = None
    kind: Kind | None = None
    active: YesNo | None = None
    plan_id: str | None = None
    plan_code: str | None = None
    q: str | None = None
    feature_family_code: str | None = None
    feature_code: str | None = None
    gate_bundle_key: str | None = None
    grant_program_code: str | None = None
    issue_anchor: str | None = None
    billing_mode: str | None = None


class EntitlementOut(WireModel):
    """An entitlement as the wire shows it."""

    bpe_id: str
    plan_id: str
    feature_family_id: str | None
    feature_family_code: str | None
    feature_id: str | None
    feature_code: str | None
    effect: Literal["allow", "deny"]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, rule: PlanEntitlement) -> "EntitlementOut":
        """Return the wire form of a rule read with its targets."""
        family, feature = rule.feature_family, rule.feature
        return cls(
            bpe_id=str(rule.pk),
            plan_id=str(rule.plan_id),
            feature_family_id=str(family.pk) if family else None,
            feature_family_code=family.feature_family_code if family else None,
            feature_id=str(feature.pk) if feature else None,
            feature_code=feature.feature_code if feature else None,
            effect=rule.effect,
            created_at=rule.created_at,
            updated_at=rule.updated_at,
        )


class EntitlementPage(WireModel):
    """A page of entitlements."""

    items: list[EntitlementOut]
    next_cursor: str | None = None


class EntitlementIn(WireModel):
    """One rule: an effect on one feature or one family."""

    feature_family_code: Code | None = None
    feature_code: Code | None = None
    effect: Literal["allow", "deny"] = "allow"


class EntitlementsUpsert(WriteModel):
    """Rules to add to a plan, or to replace all of its rules with."""

    mode: Literal["append", "replace"]
    items: list[EntitlementIn]


class Plans(ServiceView):
    """`/billing-plans`."""

    @operation("list_billing_plans", query=PlanQuery, answer=PlanPage)
    def get(self, call: Call, query: PlanQuery) -> Answer:
        """List plans."""
        page = paginate(
            list_plans(
                call.realm, **query.given("limit", "cursor", "sort", "order", "include")
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=sorting(query.sort, query.order),
        )
        return Answer(items(page, PlanOut.of))

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
        changes = {k: v for k, v in body.given().items() if v is not None}
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


class PlanEntitlements(ServiceView):
    """`/billing-plans/{plan_id}/entitlements`."""

    @operation(
        "list_billing_plan_entitlements", query=ListQuery, answer=EntitlementPage
    )
    def get(self, call: Call, plan_id: str, query: ListQuery) -> Answer:
        """List a plan's entitlements."""
        page = paginate(
            rules_of(plan_of(call.realm, plan_id)),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, EntitlementOut.of))

    @operation(
        "upsert_billing_plan_entitlements",
        body=EntitlementsUpsert,
        answer=EntitlementPage,
        statuses=(201, 200),
    )
    def post(self, call: Call, plan_id: str, body: EntitlementsUpsert) -> Answer:
        """Add entitlements, or replace all of them."""
        plan = plan_of(call.realm, plan_id)
        targets = [Target(**item.model_dump()) for item in body.items]
        append = body.mode == "append"
        verb = append_entitlements if append else replace_entitlements
        verb(plan=plan, targets=targets, at=call.at, by=call.by)
        return Answer(
            {"items": [EntitlementOut.of(rule) for rule in rules_of(plan)]},
            status=201 if append else 200,
        )


class PlanEntitlementDetail(ServiceView):
    """`/billing-plans/{plan_id}/entitlements/{bpe_id}`."""

    @operation("delete_billing_plan_entitlement", answer=EntitlementOut)
    def delete(self, call: Call, plan_id: str, bpe_id: str) -> Answer:
        """Remove one entitlement; returns it."""
        rule = rule_of(plan_of(call.realm, plan_id), bpe_id)
        removed = EntitlementOut.of(rule)
        remove_entitlement(entitlement=rule, at=call.at, by=call.by)
        return Answer(removed)
