"""Which plans governed many users at many instants, as recorded by then.

For going through the past: each kind of fact is read at once for many of them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import connection

from billing.policies.effective import AssignedPlan, Effect, EntitlementRule
from billing.selectors.effective import KNOWN, assigned_plan

Moment = tuple[UUID, UUID, datetime]
"""An account, a user of it, and an instant (aware UTC)."""

_AT_MOMENT = {
    "realm_id": "%(realm_id)s",
    "account_id": "moment.account_id",
    "user_id": "moment.user_id",
    "everyone": "false",
    "as_of": "moment.at",
    "known_at": "moment.at",
}

# The plans as known at each moment: what `assigned_plans` asks for one.
_KNOWN_THEN = f"""
SELECT moment.number, known.*
FROM unnest(%(accounts)s::uuid[], %(users)s::uuid[], %(instants)s::timestamptz[])
    WITH ORDINALITY AS moment(account_id, user_id, at, number)
CROSS JOIN LATERAL ({KNOWN % _AT_MOMENT}) known
"""  # noqa: S608 - constant text.

_RULES_OVER_TIME = """
SELECT h.history_date, h.history_type, h.id, h.plan_id, h.effect, h.feature_id,
    h.feature_family_id
FROM billing_plan_entitlements_history h
WHERE h.realm_id = %(realm_id)s AND h.history_date < %(end)s
ORDER BY h.history_date, h.history_id
"""


def plans_then(
    *, realm_id: str, moments: Sequence[Moment]
) -> list[Sequence[AssignedPlan]]:
    """Return, for each moment, every assignment that governed, as known by then."""
    found: list[list[AssignedPlan]] = [[] for _ in moments]
    arguments: dict[str, Any] = {
        "realm_id": realm_id,
        "accounts": [account for account, _, _ in moments],
        "users": [user for _, user, _ in moments],
        "instants": [at for _, _, at in moments],
    }
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_THEN, arguments)
        for number, *row in cursor.fetchall():
            found[number - 1].append(assigned_plan(row))
    return list(found)


@dataclass(slots=True)
class RulesOverTime:
    """The entitlement rules of a realm's plans as they changed.

    `versions` are, of each plan, the rules after each change, and `dates` its instant.
    """

    dates: dict[UUID, list[datetime]] = field(default_factory=dict)
    versions: dict[UUID, list[tuple[EntitlementRule, ...]]] = field(
        default_factory=dict
    )

    def by(self, at: datetime, plan_ids: Iterable[UUID]) -> list[EntitlementRule]:
        """Return the plans' rules as recorded by `at`."""
        rules = list[EntitlementRule]()
        for plan_id in plan_ids:
            changed = bisect_right(self.dates.get(plan_id, ()), at)
            if changed:
                rules += self.versions[plan_id][changed - 1]
        return rules


def rules_over_time(*, realm_id: str, end: datetime) -> RulesOverTime:
    """Return how the entitlement rules of a realm changed until `end`."""
    found, living = RulesOverTime(), dict[UUID, dict[UUID, EntitlementRule]]()
    arguments: dict[str, Any] = {"realm_id": realm_id, "end": end}
    with connection.cursor() as cursor:
        cursor.execute(_RULES_OVER_TIME, arguments)
        changes = cursor.fetchall()
    for at, kind, rule_id, plan_id, effect, feature_id, family_id in changes:
        rules = living.setdefault(plan_id, {})
        if kind == "-":
            rules.pop(rule_id, None)
        else:
            rules[rule_id] = EntitlementRule(
                plan_id, cast("Effect", effect), feature_id, family_id
            )
        found.dates.setdefault(plan_id, []).append(at)
        found.versions.setdefault(plan_id, []).append(tuple(rules.values()))
    return found
