"""Resolving, from the tables, what governs a user's use of a feature at an instant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

import orjson
from django.db import connection

from billing.models import BillingAccount, BillingUser
from billing.policies.effective import (
    AssignedPlan,
    billing_mode,
    decide_entitlement,
    effective_plans,
    next_change_at,
)
from billing.selectors.effective import assigned_plans, entitlement_rules
from gating.facts import BillingMode
from gating.models import RuleSet
from gating.projection import governing
from gating.rules import MeterRule, Rules, ranked, read_rules
from gating.selectors.features import GatedFeature, gated_feature
from gating.selectors.policies import governance

LONGEST = timedelta(days=1)
"""A projection is resolved again after this time, whatever is scheduled."""

_NEXT_CHANGE = """
SELECT min(edge) FROM (
    SELECT s.effective_at AS edge
    FROM billing_plan_assignment_statuses s
    JOIN billing_plan_assignments a ON a.id = s.assignment_id
    WHERE a.realm_id = %(realm)s AND a.account_id = %(account)s
        AND (a.scope = 'account' OR a.user_id = %(user)s)
    UNION ALL
    SELECT unnest(ARRAY[p.window_start, p.window_end])
    FROM meter_prices p JOIN meters m ON m.id = p.meter_id
    WHERE m.realm_id = %(realm)s AND m.meter_code = ANY (%(meters)s)
    UNION ALL
    SELECT unnest(ARRAY[c.window_start, c.window_end])
    FROM billing_contracts c
    WHERE c.realm_id = %(realm)s AND c.account_id = %(account)s
    UNION ALL
    SELECT t.effective_at
    FROM contract_terms t JOIN billing_contracts c ON c.id = t.contract_id
    WHERE c.realm_id = %(realm)s AND c.account_id = %(account)s
        AND t.kind = 'pricing' AND t.term_key = ANY (%(meters)s)
) edges WHERE edge > %(at)s
"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The rules of a feature for a user, and until when nothing changes them.

    `assignment_id` is the plan assignment that entitles to the feature.
    """

    rules: Rules
    assignment_id: UUID | None
    valid_until: datetime


def resolve(
    *, account: BillingAccount, user: BillingUser, feature_code: str, at: datetime
) -> Resolved | None:
    """Return what governs at `at` (aware UTC); None where there is no such feature."""
    gated = gated_feature(account=account, feature_code=feature_code, at=at)
    if gated is None:
        return None
    assigned = assigned_plans(account=account, user_id=user.pk, as_of=at)
    effective = effective_plans(assigned, at)
    entitlement = decide_entitlement(
        effective,
        entitlement_rules(plan_ids=[plan.plan_id for plan in effective]),
        feature_id=gated.feature.pk,
        family_id=gated.feature.feature_family_id,
        required=gated.feature.needs_entitlement,
    )
    governed = governance(realm=account.realm, effective=effective)
    plan = entitlement.plan
    rules = Rules(
        feature=gated.fact,
        entitlement=entitlement.verdict,
        plan_code=plan.plan_code if plan else None,
        bundle_missing=governed.bundle_missing,
        policies=ranked(governing(governed.policies, feature_code)),
        billing_mode=mode_of(effective, account.realm.metadata),
        price=gated.price,
        zero_cost=gated.zero_cost,
        unpriced=tuple(gated.unpriced),
        meters=meter_rules(gated),
    )
    edges = [
        at + LONGEST,
        next_change_at(assigned, at),
        _next_edge(gated, account, user, at),
    ]
    return Resolved(
        rules=rules,
        assignment_id=plan.assignment_id if plan else None,
        valid_until=min(edge for edge in edges if edge is not None),
    )


def mode_of(
    effective: list[AssignedPlan], realm_metadata: Mapping[str, Any]
) -> BillingMode:
    """Return the billing mode of those who hold the plans, the strongest first."""
    return cast("BillingMode", billing_mode(effective, realm_metadata).value)


def meter_rules(gated: GatedFeature) -> tuple[MeterRule, ...]:
    """Return the meters that usage of a feature may name, with their rates."""
    rates = gated.activity_rates
    return tuple(
        MeterRule(code, unit, rates.get(code), gated.faults.get(code))
        for code, unit in gated.units.items()
    )


def _next_edge(
    gated: GatedFeature, account: BillingAccount, user: BillingUser, at: datetime
) -> datetime | None:
    """Return when a scheduled status, price, contract or term next begins or ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            _NEXT_CHANGE,
            {
                "realm": account.realm_id,
                "account": account.pk,
                "user": user.pk,
                "meters": [meter.meter_code for meter in gated.meters],
                "at": at,
            },
        )
        edge: datetime | None = cursor.fetchone()[0]
    return edge


def stored_rules(rule_set_id: UUID) -> Rules:
    """Return the stored rules of that id. They never change, so they are kept."""
    return _stored_rules(rule_set_id)


@lru_cache(maxsize=4096)
def _stored_rules(rule_set_id: UUID) -> Rules:
    document = RuleSet.objects.values_list("document", flat=True).get(pk=rule_set_id)
    return read_rules(orjson.dumps(document).decode())
