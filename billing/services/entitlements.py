"""Verbs on what plans entitle to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from billing.models import Effect, Plan, PlanEntitlement
from catalog.models import Feature, FeatureFamily
from catalog.services.rows import locked, rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event


@dataclass(frozen=True, slots=True)
class Target:
    """A rule as a caller states it: an effect on one feature or one family, by code.

    `place` is the input field that holds it, for refusals; `code_place` the field of
    its code, where that is not below it.
    """

    effect: str
    feature_code: str | None = None
    feature_family_code: str | None = None
    place: str = "items"
    code_place: str | None = None


@transaction.atomic
def append_entitlements(
    *, plan: Plan, targets: Sequence[Target], at: datetime, by: AuditContext
) -> None:
    """Add rules to a plan; a rule for a target it already has updates the effect.

    Refuses (`Invalid` on the target's place) a target that names neither or both, and
    unknown codes.
    """
    _set_rules(plan, targets, replace=False, at=at, by=by)


@transaction.atomic
def replace_entitlements(
    *, plan: Plan, targets: Sequence[Target], at: datetime, by: AuditContext
) -> None:
    """Make `targets` the plan's only rules; rules that stay are left untouched.

    Refuses as `append_entitlements`.
    """
    _set_rules(plan, targets, replace=True, at=at, by=by)


def _set_rules(
    plan: Plan,
    targets: Sequence[Target],
    *,
    replace: bool,
    at: datetime,
    by: AuditContext,
) -> None:
    plan = locked(Plan.objects.all(), plan)
    # Of two rules for one target the last one counts.
    wanted = {_target(rule): rule for rule in resolved_rules(plan, targets)}
    existing = {_target(rule): rule for rule in plan.entitlements.all()}
    dropped = [rule for key, rule in existing.items() if replace and key not in wanted]
    changed = bool(dropped)
    with auditing(by, at=at):
        for rule in dropped:
            rule.delete()
        for key, rule in wanted.items():
            known = existing.get(key)
            if known is None:
                rule.save(force_insert=True)
                changed = True
            elif rewritten(known, {"effect": rule.effect}, at=at):
                changed = True
        if changed:
            _announce(plan, at=at, by=by)


def _target(rule: PlanEntitlement) -> tuple[object, object]:
    return rule.feature_family_id, rule.feature_id


@transaction.atomic
def remove_entitlement(
    *, entitlement: PlanEntitlement, at: datetime, by: AuditContext
) -> None:
    """Remove one rule of a plan. Its history stays.

    Refuses (`NotFound`) a rule removed meanwhile.
    """
    plan = locked(Plan.objects.all(), entitlement.plan)
    entitlement = locked(PlanEntitlement.objects.all(), entitlement)
    with auditing(by, at=at):
        entitlement.delete()
        _announce(plan, at=at, by=by)


@transaction.atomic
def allow_everything(*, plan: Plan, at: datetime, by: AuditContext) -> PlanEntitlement:
    """Give a plan the rule that allows every feature, unless it has one."""
    plan = locked(Plan.objects.all(), plan)
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


def resolved_rules(plan: Plan, targets: Sequence[Target]) -> list[PlanEntitlement]:
    """Return the rules of a plan that `targets` state, unsaved.

    Refuses as `append_entitlements`.
    """
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
    return [_rule(plan, target, families, features) for target in targets]


def _ids(
    rows: QuerySet[Any], field: str, codes: Sequence[str | None]
) -> dict[str, UUID]:
    named = {code for code in codes if code}
    found = rows.filter(**{f"{field}__in": named})
    return dict(found.values_list(field, "pk"))


def _rule(
    plan: Plan,
    target: Target,
    families: dict[str, UUID],
    features: dict[str, UUID],
) -> PlanEntitlement:
    place = target.place
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
            field=target.code_place or f"{place}.feature_family_code",
        )
    if feature_code and feature_code not in features:
        raise Invalid(
            f"There is no feature {feature_code}.",
            field=target.code_place or f"{place}.feature_code",
        )
    return PlanEntitlement(
        realm_id=plan.realm_id,
        plan=plan,
        feature_family_id=families.get(family_code or ""),
        feature_id=features.get(feature_code or ""),
        effect=target.effect,
    )
