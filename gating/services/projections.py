"""Projections: what the gate's functions find by one look-up."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from django.db import connection
from django.db.models.functions import Now

from billing.models import BillingAccount, BillingUser, UserStatus
from config.kernel.ids import new_id
from gating.facts import UnitPrice
from gating.models import AccountVersion, CatalogVersion, GateState, RuleSet
from gating.pricing import rate_identity
from gating.projection import PolicyFact
from gating.rules import MeterRule, Rules, rules_id, write_rules
from gating.selectors.past_rules import rules_as_of
from gating.selectors.rules import resolve

if TYPE_CHECKING:
    from django.db.models import Model

# What was resolved of the same versions, for times that meet, holds for both: else two
# who ask first at once would take each other's projection away.
_SAME = """
    p.catalog_version = excluded.catalog_version
    AND p.account_version = excluded.account_version
    AND p.valid_from < excluded.valid_until AND excluded.valid_from < p.valid_until
"""
_PROJECT = f"""
INSERT INTO gate_projections AS p (
    id, realm_id, principal_id, business_user_id, feature_code, account_id, user_id,
    user_active, rule_set_id, plan_assignment_id, catalog_version, account_version,
    valid_from, valid_until)
VALUES (
    %(id)s, %(realm)s, %(principal)s, %(business_user)s, %(feature)s, %(account)s,
    %(user)s, %(active)s, %(rules)s, %(assignment)s, %(catalog_version)s,
    %(account_version)s, %(at)s, %(until)s)
ON CONFLICT (realm_id, principal_id, business_user_id, feature_code) DO UPDATE
SET account_id = excluded.account_id, user_id = excluded.user_id,
    user_active = excluded.user_active, rule_set_id = excluded.rule_set_id,
    plan_assignment_id = excluded.plan_assignment_id,
    catalog_version = excluded.catalog_version,
    account_version = excluded.account_version,
    valid_from = CASE WHEN {_SAME} THEN least(p.valid_from, excluded.valid_from)
        ELSE excluded.valid_from END,
    valid_until = CASE WHEN {_SAME} THEN greatest(p.valid_until, excluded.valid_until)
        ELSE excluded.valid_until END
"""  # noqa: S608 - constant text.


def project(
    *, account: BillingAccount, user: BillingUser, feature_code: str, at: datetime
) -> bool:
    """Resolve what governs from `at` on (aware UTC), for the gate's functions to find.

    Returns False, and writes nothing, where the realm has no such feature. The
    versions are read first: what changes meanwhile makes the projection stale at once.
    """
    catalog, of_account = _versions(account)
    fresh = BillingUser.objects.select_related("account__realm").get(pk=user.pk)
    resolved = resolve(
        account=fresh.account, user=fresh, feature_code=feature_code, at=at
    )
    if resolved is None:
        return False
    rule_set = rule_set_of(account.realm_id, resolved.rules)
    RuleSet.objects.bulk_create([rule_set], ignore_conflicts=True)
    with connection.cursor() as cursor:
        cursor.execute(
            _PROJECT,
            {
                "id": new_id(),
                "realm": account.realm_id,
                "principal": account.billing_principal_id,
                "business_user": user.business_user_id,
                "feature": feature_code,
                "account": account.pk,
                "user": user.pk,
                "active": fresh.status == UserStatus.ACTIVE,
                "rules": rule_set.pk,
                "assignment": resolved.assignment_id,
                "catalog_version": catalog,
                "account_version": of_account,
                "at": at,
                "until": resolved.valid_until,
            },
        )
    return True


def resolve_past(
    *,
    account: BillingAccount,
    user: BillingUser,
    feature_code: str,
    as_of: datetime,
    at: datetime,
) -> dict[str, Any] | None:
    """Resolve what governed at `as_of`, for one item of the gate's functions.

    Returns the rules and the versions at which they were resolved at `at`, as the
    function takes them. None, and nothing is written, where the realm has no such
    feature. A projection is not made of it: that is of the present.
    """
    catalog, of_account = _versions(account)
    fresh = BillingUser.objects.select_related("account__realm").get(pk=user.pk)
    found = rules_as_of(
        account=fresh.account,
        user=fresh,
        feature_code=feature_code,
        as_of=as_of,
        at=at,
    )
    if found is None:
        return None
    rules, assignment_id = found
    rule_set = rule_set_of(account.realm_id, rules)
    RuleSet.objects.bulk_create([rule_set], ignore_conflicts=True)
    return {
        "rules": str(rule_set.pk),
        "assignment": str(assignment_id) if assignment_id else None,
        "catalog": catalog,
        "account_version": of_account,
    }


def _versions(account: BillingAccount) -> tuple[int, int]:
    """Return the counts of changes, and make sure that the account's rows exist."""
    realm_id = account.realm_id
    rows: list[Model] = [
        CatalogVersion(realm_id=realm_id),
        AccountVersion(account_id=account.pk, realm_id=realm_id),
        GateState(account_id=account.pk, realm_id=realm_id),
    ]
    for row in rows:
        known = type(row)._default_manager
        if not known.filter(pk=row.pk).exists():
            known.bulk_create([row], ignore_conflicts=True)
    catalog = CatalogVersion.objects.values_list("version", flat=True).get(pk=realm_id)
    accounts = AccountVersion.objects.values_list("version", flat=True)
    return catalog, accounts.get(pk=account.pk)


def rule_set_of(realm_id: str, rules: Rules) -> RuleSet:
    """Return the rules as their row, unsaved."""
    text = write_rules(rules)
    feature, price = rules.feature, rules.price or UnitPrice(0, 1)
    return RuleSet(
        id=rules_id(realm_id, text),
        realm_id=realm_id,
        feature_code=feature.feature_code,
        feature_family_code=feature.feature_family_code,
        active=feature.active,
        entitlement=rules.entitlement,
        bundle_missing=rules.bundle_missing,
        billing_mode=rules.billing_mode,
        zero_cost=rules.zero_cost,
        price_xusd=price.price_xusd if rules.price else None,
        price_quantity_minor=price.quantity_minor if rules.price else None,
        price_whole_blocks=price.whole_blocks,
        document=orjson.loads(text),
        created_at=Now(),
        **_policy_columns(rules.policies),
        **_meter_columns(rules.meters),
    )


def _policy_columns(policies: tuple[PolicyFact, ...]) -> dict[str, list[object]]:
    return {
        "policy_ids": [policy.policy_id for policy in policies],
        "policy_kinds": [policy.kind for policy in policies],
        "policy_scopes": [policy.scope for policy in policies],
        "policy_features": [policy.feature_code for policy in policies],
        "policy_keys": [policy.counter_key for policy in policies],
        "policy_seconds": [policy.window_seconds for policy in policies],
        "policy_limits": [policy.limit for policy in policies],
        "policy_reserves": [policy.enforcement == "reserve" for policy in policies],
    }


def _meter_columns(meters: tuple[MeterRule, ...]) -> dict[str, list[object]]:
    rates = [meter.rate for meter in meters]
    per_cost: list[object] = [r and r.cost_unit_quantity_minor for r in rates]
    return {
        "meter_codes": [meter.meter_code for meter in meters],
        "meter_units": [meter.unit for meter in meters],
        "meter_prices_xusd": [r and r.unit_price_xusd for r in rates],
        "meter_quantities_minor": [r and r.unit_quantity_minor for r in rates],
        "meter_costs_xusd": [r and r.unit_cost_xusd for r in rates],
        "meter_cost_quantities_minor": per_cost,
        "meter_modes": [r and r.residual_mode for r in rates],
        "meter_rate_identities": [r and rate_identity(r, "revenue") for r in rates],
        "meter_cost_identities": [r and rate_identity(r, "cost") for r in rates],
    }
