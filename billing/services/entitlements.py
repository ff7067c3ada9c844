"""Verbs on what plans entitle to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.models import Effect, Plan, PlanEntitlement
from catalog.models import Feature, FeatureFamily
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event


@dataclass(frozen=True, slots=True)
class Target:
    """A rule as a caller states it: an effect on one feature or one family, by code."""

    effect: str
    feature_code: str | None = None
    feature_family_code: str | None = None


@transaction.atomic
def append_entitlements(
    *, plan: Plan, targets: Sequence[Target], at: datetime, by: AuditContext
) -> None:
    """Add rules to a plan; a rule for a target it already has updates the effect.

    Refuses (`Invalid` on `items.N…`) a target that names neither or both, and unknown
    codes.
    """
    plan = Plan.objects.select_for_update().get(pk=plan.pk)
    rules = _resolve(plan, targets)
    existing = {
        (rule.feature_family_id, rule.feature_id): rule
        for rule in plan.entitlements.all()
    }
    with auditing(by, at=at):
        changed = False
        for rule in rules:
            known = existing.get((rule.feature_family_id, rule.feature_id))
            if known is None:
                rule.save(force_insert=True)
            elif known.effect != rule.effect:
                known.effect = rule.effect
                known.updated_at = at
                known.save(update_fields=["effect", "updated_at"])
            else:
                continue
            changed = True
            existing[rule.feature_family_id, rule.feature_id] = known or rule
        if changed:
            _announce(plan, at=at, by=by)


@transaction.atomic
def replace_entitlements(
    *, plan: Plan, targets: Sequence[Target], at: datetime, by: AuditContext
) -> None:
    """Make `targets` the plan's only rules; rules that stay are left untouched.

    Refuses as `append_entitlements`.
    """
    plan = Plan.objects.select_for_update().get(pk=plan.pk)
    wanted = {
        (rule.feature_family_id, rule.feature_id) for rule in _resolve(plan, targets)
    }
    with auditing(by, at=at):
        for rule in plan.entitlements.all():
            if (rule.feature_family_id, rule.feature_id) not in wanted:
                rule.delete()
        append_entitlements(plan=plan, targets=targets, at=at, by=by)
        _announce(plan, at=at, by=by)


@transaction.atomic
def remove_entitlement(
    *, entitlement: PlanEntitlement, at: datetime, by: AuditContext
) -> None:
    """Remove one rule of a plan. Its history stays."""
    plan = entitlement.plan
    with auditing(by, at=at):
        entitlement.delete()
        _announce(plan, at=at, by=by)


@transaction.atomic
def allow_everything(*, plan: Plan, at: datetime, by: AuditContext) -> PlanEntitlement:
    """Give a plan the rule that allows every feature, unless it has one."""
    known = plan.entitlements.filter(feature=None, feature_family=None).first()
    if known is not None:
        return known
    rule = PlanEntitlement(realm_id=plan.realm_id, plan=plan, effect=Effect.ALLOW)
    with auditing(by, at=at):
        rule.save(force_insert=True)
        _announce(plan, at=at, by=by)
    return rule


def _announce(plan: Plan, *, at: datetime, by: AuditContext) -> None:
    record_event(realm=plan.realm, kind="plan.changed", subject=plan, at=at, by=by)


def _resolve(plan: Plan, targets: Sequence[Target]) -> list[PlanEntitlement]:
    families = _ids(
        FeatureFamily.objects.in_realm(plan.realm_id),
        "feature_family_code",
        [target.feature_family_code for target in targets],
    )
    features = _ids(
        Feature.objects.in_realm(plan.realm_id),
        "feature_code",
        [target.feature_code for target in targets],
    )
    return [
        _rule(plan, index, target, families, features)
        for index, target in enumerate(targets)
    ]


def _ids(rows: object, field: str, codes: list[str | None]) -> dict[str, object]:
    named = {code for code in codes if code}
    found = rows.filter(**{f"{field}__in": named})  # type: ignore[attr-defined]
    return dict(found.values_list(field, "pk"))


def _rule(
    plan: Plan,
    index: int,
    target: Target,
    families: dict[str, object],
    features: dict[str, object],
) -> PlanEntitlement:
    place = f"items.{index}"
    family_code, feature_code = target.feature_family_code, target.feature_code
    if bool(family_code) == bool(feature_code):
        raise Invalid(
            "Name exactly one of feature_family_code and feature_code.", field=place
        )
    if target.effect not in Effect.values:
        raise Invalid("An effect is allow or deny.", field=f"{place}.effect")
    if family_code and family_code not in families:
        raise Invalid(
            f"There is no feature family {family_code}.",
            field=f"{place}.feature_family_code",
        )
    if feature_code and feature_code not in features:
        raise Invalid(
            f"There is no feature {feature_code}.", field=f"{place}.feature_code"
        )
    return PlanEntitlement(
        realm_id=plan.realm_id,
        plan=plan,
        feature_family_id=families.get(family_code or ""),
        feature_id=features.get(feature_code or ""),
        effect=target.effect,
    )
