"""Reads of plans."""

from typing import Any

from django.db.models import Prefetch, Q, QuerySet

from billing.models import Plan, PlanEntitlement
from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm


def _complete(realm: Realm) -> QuerySet[Plan]:
    rules = PlanEntitlement.objects.select_related("feature", "feature_family")
    return Plan.objects.in_realm(realm).prefetch_related(
        Prefetch("entitlements", rules.order_by("pk"))
    )


def plan_of(realm: Realm, plan_id: object) -> Plan:
    """Return the realm's plan of that id, with its entitlements (404 if none)."""
    key = parse_uuid(str(plan_id))
    plan = _complete(realm).filter(pk=key).first() if key else None
    if plan is None:
        raise NotFound(f"Billing plan not found: there is no {plan_id}.")
    return plan


def list_plans(realm: Realm, **filters: Any) -> QuerySet[Plan]:
    """Return the realm's plans that match every given filter.

    `kind`, `active` (a bool), `plan_id`, `plan_code`, `q` (code or name),
    `feature_code`, `feature_family_code`, and the metadata keys `gate_bundle_key`,
    `grant_program_code`, `issue_anchor`, `billing_mode`.
    """
    plans = _complete(realm)
    for name, value in filters.items():
        if value not in {None, ""}:
            plans = plans.filter(_condition(name, value))
    return plans


def grants_of(program_code: str, *, plan: str = "") -> Q:
    """Return the condition that a plan grants of a program.

    `plan` is the lookup of the plan, such as `plan__`. A lone grant may stand in the
    metadata without its list.
    """
    binding = {"grant_program_code": program_code}
    field = f"{plan}metadata__grants__contains"
    return Q(**{field: [binding]}) | Q(**{field: binding})


def _condition(name: str, value: Any) -> Q:
    period = "metadata__billing_defaults__period__"
    simple = {
        "kind": "kind",
        "plan_code": "plan_code",
        # Kept as it was written, and read in lower case.
        "gate_bundle_key": "metadata__gate_bundle_key__iexact",
        "issue_anchor": f"{period}issue_anchor",
        "billing_mode": f"{period}billing_mode",
    }
    if name in simple:
        return Q(**{simple[name]: value})
    if name == "active":
        return Q(active=value)
    if name == "plan_id":
        key = parse_uuid(value)
        return Q(pk=key) if key else Q(pk__in=[])
    if name == "q":
        return Q(plan_code__icontains=value) | Q(name__icontains=value)
    if name == "grant_program_code":
        return grants_of(value)
    target = {
        "feature_code": "feature__feature_code",
        "feature_family_code": "feature_family__feature_family_code",
    }[name]
    rules = PlanEntitlement.objects.filter(**{target: value})
    return Q(pk__in=rules.values("plan"))


def rules_of(plan: Plan) -> QuerySet[PlanEntitlement]:
    """Return a plan's entitlements with their targets, the oldest first."""
    return (
        PlanEntitlement.objects.filter(realm_id=plan.realm_id, plan=plan)
        .select_related("plan__realm", "feature", "feature_family")
        .order_by("pk")
    )


def rule_of(plan: Plan, entitlement_id: object) -> PlanEntitlement:
    """Return one entitlement of a plan (404 if none)."""
    key = parse_uuid(str(entitlement_id))
    rule = rules_of(plan).filter(pk=key).first() if key else None
    if rule is None:
        raise NotFound(
            f"Billing plan entitlement not found: {plan} has no {entitlement_id}."
        )
    return rule
