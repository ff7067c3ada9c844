"""Verbs on plans."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing.models import Plan, PlanKind
from billing.services.entitlements import (
    Target,
    allow_everything,
    append_entitlements,
    replace_entitlements,
)
from catalog.services.rows import locked, locked_or_inserted, rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.ids import parse_uuid
from config.kernel.metadata import PlanMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event

DEFAULT_PLAN_CODE = "default_billing_plan"
_FIELDS = ("name", "kind", "priority", "active", "metadata")


def default_plan(realm: Realm) -> Plan | None:
    """Return the plan that new users start on, None where the realm has none active.

    The realm's `metadata.default_plan_id`, else the plan `default_billing_plan`.
    """
    plans = Plan.objects.in_realm(realm).filter(active=True)
    named = realm.metadata.get("default_plan_id")
    if named:
        plan_id = parse_uuid(named)
        return plans.filter(pk=plan_id).first() if plan_id else None
    return plans.filter(plan_code=DEFAULT_PLAN_CODE).first()


def create_default_plan(
    *, subject: Realm, at: datetime, by: AuditContext, **_: Any
) -> None:
    """Give a new realm its default plan, which allows everything (`realm.created`)."""
    plan, _created = upsert_plan(
        realm=subject,
        plan_code=DEFAULT_PLAN_CODE,
        name="Default plan",
        kind=PlanKind.BASE,
        at=at,
        by=by,
    )
    allow_everything(plan=plan, at=at, by=by)


def check_plan(kind: str, metadata: dict[str, Any]) -> None:
    """Refuse (`Invalid`) a kind or metadata that no plan may have."""
    if kind not in PlanKind.values:
        raise Invalid(
            f"A plan's kind is one of {', '.join(PlanKind.values)}.", field="kind"
        )
    for index, grant in enumerate(check_metadata(PlanMetadata, metadata).known.grants):
        if grant.amount_xusd is None:
            # The official client cannot read a plan, nor a list with it, otherwise.
            raise Invalid(
                "A grant of a plan needs its amount.",
                field=f"metadata.grants.{index}.amount_xusd",
            )


@transaction.atomic
def upsert_plan(
    *,
    realm: Realm,
    plan_code: str,
    name: str,
    kind: str,
    priority: int = 0,
    active: bool = True,
    metadata: dict[str, Any] | None = None,
    feature_codes: list[str] | None = None,
    feature_family_codes: list[str] | None = None,
    at: datetime,
    by: AuditContext,
) -> tuple[Plan, bool]:
    """Create the plan of a code or overwrite it; return it and whether it is new.

    What is left out takes its default, also on an existing plan. Codes of features
    and families add `allow` rules and never remove any. Refuses (`Invalid`) an
    unknown kind, bad metadata and unknown codes, and (`Conflict`) a code that exists
    in other upper and lower case.
    """
    document = metadata or {}
    check_plan(kind, document)
    values = {
        "name": name,
        "kind": kind,
        "priority": priority,
        "active": active,
        "metadata": document,
    }
    with auditing(by, at=at):
        plan, created = _found_or_created(realm, plan_code, values)
        if created:
            record_event(realm=realm, kind="plan.changed", subject=plan, at=at, by=by)
    if not created:
        _save(plan, values, at=at, by=by)
    targets = _targets(feature_codes, feature_family_codes)
    if targets:
        append_entitlements(plan=plan, targets=targets, at=at, by=by)
    return plan, created


def _found_or_created(
    realm: Realm, plan_code: str, values: dict[str, Any]
) -> tuple[Plan, bool]:
    """Return the plan of a code, locked, and whether it was just inserted."""
    new = Plan(realm=realm, plan_code=plan_code, **values)
    same = Plan.objects.in_realm(realm).filter(plan_code=plan_code)
    try:
        return locked_or_inserted(same, new)
    except Plan.DoesNotExist:
        raise Conflict(
            "A plan with this code exists, in other upper and lower case.",
            field="plan_code",
        ) from None


@transaction.atomic
def change_plan_definition(
    *,
    plan: Plan,
    changes: dict[str, Any],
    feature_codes: list[str] | None = None,
    feature_family_codes: list[str] | None = None,
    at: datetime,
    by: AuditContext,
) -> Plan:
    """Change the given fields of a plan (name, kind, priority, active, metadata).

    Naming either list of codes replaces the whole entitlement set by `allow` rules.
    Refuses (`Invalid`) another plan_code, an unknown kind, bad metadata and unknown
    codes.
    """
    plan = locked(Plan.objects.all(), plan)
    if changes.get("plan_code", plan.plan_code) != plan.plan_code:
        raise Invalid("A plan's code cannot change.", field="plan_code")
    values = {name: changes.get(name, getattr(plan, name)) for name in _FIELDS}
    check_plan(values["kind"], values["metadata"])
    _save(plan, values, at=at, by=by)
    if feature_codes is not None or feature_family_codes is not None:
        replace_entitlements(
            plan=plan,
            targets=_targets(feature_codes, feature_family_codes),
            at=at,
            by=by,
        )
    return plan


def _save(
    plan: Plan, values: dict[str, Any], *, at: datetime, by: AuditContext
) -> None:
    with auditing(by, at=at):
        if rewritten(plan, values, at=at):
            record_event(
                realm=plan.realm, kind="plan.changed", subject=plan, at=at, by=by
            )


def _targets(features: list[str] | None, families: list[str] | None) -> list[Target]:
    return [
        Target("allow", **{named: code}, code_place=f"{named}s.{index}")
        for named, codes in (
            ("feature_family_code", families),
            ("feature_code", features),
        )
        for index, code in enumerate(codes or ())
    ]
