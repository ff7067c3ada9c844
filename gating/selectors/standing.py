"""What governed the recorded decisions: plans, bundles and features, as known then."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import connection

from billing.selectors.standing import RulesOverTime, plans_then, rules_over_time
from catalog.models import Feature
from config.tenancy.models import Realm
from gating.models import DEFAULT_BUNDLE_KEY, BundleStatus, GatePolicy, PolicyStatus
from gating.projection import PolicyFact
from gating.selectors.policies import policy_fact
from gating.selectors.recorded import Span
from gating.simulation import Home, Recorded, Standing
from grants.selectors.past import balances_then

_BUNDLES_OVER_TIME = """
SELECT history_date, history_type, id, bundle_key, status
FROM gate_policy_bundles_history
WHERE realm_id = %(realm_id)s AND history_date < %(end)s
ORDER BY history_date, history_id
"""

# Also of policies and bundles that are gone: their decisions are still on record.
_HOMES = """
SELECT DISTINCT ON (p.id) p.id, b.bundle_key, p.subject_scope
FROM gate_policies_history p
JOIN (
    SELECT DISTINCT id, bundle_key FROM gate_policy_bundles_history
    WHERE realm_id = %(realm_id)s
) b ON b.id = p.bundle_id
WHERE p.realm_id = %(realm_id)s
ORDER BY p.id, p.history_date DESC, p.history_id DESC
"""


def policy_homes(realm_id: str) -> dict[UUID, Home]:
    """Return where every policy stands, or stood last, by its id."""
    return {row[0]: Home(*row[1:]) for row in _rows(_HOMES, realm_id=realm_id)}


def policies_by_bundle(realm_id: str) -> dict[str, list[PolicyFact]]:
    """Return the policies that are not disabled, as they stand, by bundle key."""
    policies = (
        GatePolicy.objects.in_realm(realm_id)
        .exclude(status=PolicyStatus.DISABLED)
        .select_related("bundle")
        .order_by("pk")
    )
    found = dict[str, list[PolicyFact]]()
    for policy in policies:
        found.setdefault(policy.bundle.bundle_key, []).append(policy_fact(policy))
    return found


@dataclass(frozen=True, slots=True)
class Past:
    """The definitions of a realm over a span; users' plans are read as they come.

    Features, and the realm's defaults, are those of today: where they were others, the
    plans do not come to what was recorded, and the decision is left out.
    """

    realm: Realm
    features: Mapping[str, Feature]
    rules: RulesOverTime
    bundle_dates: Sequence[datetime]
    bundle_keys: Sequence[frozenset[str]]

    @classmethod
    def of(cls, realm: Realm, span: Span) -> Self:
        """Return the past of a span."""
        dates, keys = _bundles_over_time(realm.pk, span.end)
        features = Feature.objects.in_realm(realm).select_related("feature_family")
        return cls(
            realm=realm,
            features={feature.feature_code: feature for feature in features},
            rules=rules_over_time(realm_id=realm.pk, end=span.end),
            bundle_dates=dates,
            bundle_keys=keys,
        )

    def standings(self, decisions: Sequence[Recorded]) -> list[Standing | None]:
        """Return what governed at each decision, None where the feature is gone."""
        moments = [(each.account_id, each.user_id, each.at) for each in decisions]
        plans = plans_then(realm_id=self.realm.pk, moments=moments)
        return [
            self._standing(decision, assigned)
            for decision, assigned in zip(decisions, plans, strict=True)
        ]

    def _standing(self, decision: Recorded, assigned: Sequence[Any]) -> Standing | None:
        feature = self.features.get(decision.ask.feature_code)
        if feature is None:
            return None
        at = decision.at
        changed = bisect_right(self.bundle_dates, at)
        return Standing(
            assigned=assigned,
            rules=self.rules.by(at, {plan.plan_id for plan in assigned}),
            active_keys=self.bundle_keys[changed - 1] if changed else frozenset(),
            default_key=DEFAULT_BUNDLE_KEY,
            feature_id=feature.pk,
            family_id=feature.feature_family_id,
            required=feature.needs_entitlement,
            realm_metadata=self.realm.metadata,
        )


def with_balances(realm_id: str, decisions: Sequence[Recorded]) -> list[Recorded]:
    """Return the decisions, with the balance of those that did not look at one."""
    blind = [each for each in decisions if _is_blind(each)]
    moments = [(each.user_id, each.at) for each in blind]
    balances = iter(balances_then(realm_id=realm_id, moments=moments))
    return [
        replace(each, balance_xusd=next(balances)) if _is_blind(each) else each
        for each in decisions
    ]


def _is_blind(decision: Recorded) -> bool:
    rules = decision.rules
    return rules is not None and (rules.billing_mode != "prepaid" or rules.zero_cost)


def _bundles_over_time(
    realm_id: str, end: datetime
) -> tuple[list[datetime], list[frozenset[str]]]:
    """Return when bundles changed, and which were active after each change."""
    active, dates, keys = dict[UUID, str](), list[datetime](), list[frozenset[str]]()
    for at, kind, bundle_id, key, status in _rows(
        _BUNDLES_OVER_TIME, realm_id=realm_id, end=end
    ):
        active.pop(bundle_id, None)
        if kind != "-" and status == BundleStatus.ACTIVE:
            active[bundle_id] = key
        dates.append(at)
        keys.append(frozenset(active.values()))
    return dates, keys


def _rows(statement: str, **arguments: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        found: list[Any] = cursor.fetchall()
    return found
