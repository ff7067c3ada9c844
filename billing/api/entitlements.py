"""`/billing-plans/{plan_id}/entitlements`."""

from datetime import datetime
from typing import Literal, cast

from billing.models import PlanEntitlement
from billing.selectors.plans import plan_of, rule_of, rules_of
from billing.services.entitlements import (
    Target,
    append_entitlements,
    remove_entitlement,
    replace_entitlements,
)
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import Code, ListQuery, WireModel, WriteModel

Effect = Literal["allow", "deny"]


class EntitlementOut(WireModel):
    """An entitlement as the wire shows it."""

    bpe_id: str
    plan_id: str
    feature_family_id: str | None
    feature_family_code: str | None
    feature_id: str | None
    feature_code: str | None
    effect: Effect
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
            effect=cast("Effect", rule.effect),
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
    effect: Effect = "allow"


class EntitlementsUpsert(WriteModel):
    """Rules to add to a plan, or to replace all of its rules with."""

    mode: Literal["append", "replace"]
    items: list[EntitlementIn]


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
        targets = [
            Target(**item.model_dump(), place=f"items.{index}")
            for index, item in enumerate(body.items)
        ]
        append = body.mode == "append"
        verb = append_entitlements if append else replace_entitlements
        verb(plan=plan, targets=targets, at=call.at, by=call.by)
        return Answer(
            {"items": [EntitlementOut.of(rule) for rule in rules_of(plan)]},
            status=201 if append else 200,
        )


class PlanEntitlementDetail(ServiceView):
    """`/billing-plans/{plan_id}/entitlements/{bpe_id}`."""

    @operation(
        "delete_billing_plan_entitlement", body=WriteModel, answer=EntitlementOut
    )
    def delete(self, call: Call, plan_id: str, bpe_id: str, body: WriteModel) -> Answer:
        """Remove one entitlement; returns it."""
        rule = rule_of(plan_of(call.realm, plan_id), bpe_id)
        removed = EntitlementOut.of(rule)
        remove_entitlement(entitlement=rule, at=call.at, by=call.by)
        return Answer(removed)
