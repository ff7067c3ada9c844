"""What was effective at T, as known at K: the facts behind every projection.

`as_of` is valid time, `known_at` the time by which it had been recorded (both aware
UTC). Today's question is answered from the live tables; any other from history.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import connection

from billing.models import BillingAccount, BillingUser, PlanEntitlement
from billing.policies.effective import (
    AssignedPlan,
    Effect,
    EntitlementRule,
    PeriodSetting,
    PlansView,
    billing_mode,
    decide_entitlement,
    effective_plans,
    issue_anchor,
    next_change_at,
    plans_by_kind,
)
from billing.selectors.contracts import ContractInForce, contract_in_force
from billing.selectors.past import offered_features, realm_defaults

_COLUMNS = """
    a.id, a.scope, a.user_id, s.status, a.window_start, a.window_end, a.source_kind,
    a.source_ref, a.subscription_item_id, a.metadata, p.id, p.plan_code, p.name,
    p.kind, p.priority, p.active, p.metadata
"""

# The last status given by K among those effective by T; before the first, the first.
# K is a time, or infinity: everything there is.
_STATUS = """
    JOIN LATERAL (
        SELECT status FROM billing_plan_assignment_statuses
        WHERE realm_id = a.realm_id AND assignment_id = a.id
            AND recorded_at <= {known_at}
        ORDER BY effective_at <= %(as_of)s DESC,
            CASE WHEN effective_at <= %(as_of)s THEN -sequence ELSE sequence END
        LIMIT 1
    ) s ON true
"""

_GOVERNING = """
    a.realm_id = %(realm_id)s AND a.account_id = %(account_id)s
    AND (a.scope = 'account' OR a.user_id = %(user_id)s OR %(everyone)s)
"""

_LIVE = f"""
SELECT {_COLUMNS}
FROM billing_plan_assignments a
JOIN billing_plans p ON p.id = a.plan_id
{_STATUS.format(known_at="'infinity'")}
WHERE {_GOVERNING}
"""  # noqa: S608 - constant text.

# Each assignment as its last history row by K says; its plan as it stood at the
# earlier of T and K, for what a plan was later changed to did not govern then.
KNOWN = f"""
SELECT {_COLUMNS}
FROM (
    SELECT DISTINCT ON (h.id) h.*
    FROM billing_plan_assignments_history h
    WHERE h.id IN (
            SELECT a.id FROM billing_plan_assignments a WHERE {_GOVERNING})
        AND h.history_date <= %(known_at)s
    ORDER BY h.id, h.history_date DESC, h.history_id DESC
) a
JOIN LATERAL (
    SELECT h.* FROM billing_plans_history h
    WHERE h.id = a.plan_id
    ORDER BY h.history_date <= least(%(as_of)s, %(known_at)s) DESC,
        CASE WHEN h.history_date <= least(%(as_of)s, %(known_at)s)
            THEN -h.history_id ELSE h.history_id END
    LIMIT 1
) p ON true
{_STATUS.format(known_at="%(known_at)s")}
WHERE a.history_type <> '-'
"""  # noqa: S608 - constant text.


def assigned_plans(
    *,
    account: BillingAccount,
    user_id: UUID | None,
    as_of: datetime,
    known_at: datetime | None = None,
    at: datetime | None = None,
    everyone: bool = False,
) -> list[AssignedPlan]:
    """Return every assignment that governs the account, or one user of it.

    With `everyone`, those of all its users too. Whether effective or not:
    `effective_plans` chooses. `at` is the present instant;
    where neither time lies before it, the live tables answer.
    """
    present = at or as_of
    live = as_of >= present and (known_at is None or known_at >= present)
    arguments: dict[str, Any] = {
        "realm_id": account.realm_id,
        "account_id": account.pk,
        "user_id": user_id,
        "everyone": everyone,
        "as_of": as_of,
        "known_at": known_at or max(present, as_of),
    }
    with connection.cursor() as cursor:
        cursor.execute(_LIVE if live else KNOWN, arguments)
        return [assigned_plan(row) for row in cursor.fetchall()]


def assigned_plan(row: Sequence[Any]) -> AssignedPlan:
    """Return a row of these statements as the plan it tells of."""
    return AssignedPlan(
        assignment_id=row[0],
        scope=row[1],
        user_id=row[2],
        status=row[3],
        window_start=row[4],
        window_end=row[5],
        source_kind=row[6],
        source_ref=row[7],
        subscription_item_id=row[8],
        metadata=_document(row[9]),
        plan_id=row[10],
        plan_code=row[11],
        plan_name=row[12],
        kind=row[13],
        priority=row[14],
        plan_active=row[15],
        plan_metadata=_document(row[16]),
    )


def _document(value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return document


# A plan's rules as its history says by an instant. Before the plan itself, which may be
# assigned to an earlier start, its first rules; a plan that had none then has none.
_RULES_KNOWN = """
SELECT r.plan_id, r.effect, r.feature_id, r.feature_family_id
FROM (
    SELECT DISTINCT ON (h.id) h.*
    FROM billing_plan_entitlements_history h
    JOIN (
        SELECT p.id, min(p.history_date) AS made, (
            SELECT min(r.history_date) FROM billing_plan_entitlements_history r
            WHERE r.plan_id = p.id) AS began
        FROM billing_plans_history p
        WHERE p.id = ANY(%(plan_ids)s) GROUP BY p.id
    ) first ON first.id = h.plan_id
    WHERE h.history_date <= CASE WHEN %(known_by)s < first.made
        THEN first.began ELSE %(known_by)s END
    ORDER BY h.id, h.history_date DESC, h.history_id DESC
) r
WHERE r.history_type <> '-'
ORDER BY r.id
"""


def entitlement_rules(
    *, plan_ids: Iterable[UUID], known_by: datetime | None = None
) -> list[EntitlementRule]:
    """Return the plans' entitlement rules: today's, or those recorded by an instant."""
    listed = list(plan_ids)
    if known_by is None:
        found: Iterable[Sequence[Any]] = (
            PlanEntitlement.objects.filter(plan_id__in=listed)
            .order_by("pk")
            .values_list("plan_id", "effect", "feature_id", "feature_family_id")
        )
    else:
        with connection.cursor() as cursor:
            arguments: dict[str, Any] = {"plan_ids": listed, "known_by": known_by}
            cursor.execute(_RULES_KNOWN, arguments)
            found = cursor.fetchall()
    return [
        EntitlementRule(
            plan_id=plan,
            effect=cast("Effect", effect),
            feature_id=feature,
            family_id=family,
        )
        for plan, effect, feature, family in found
    ]


@dataclass(frozen=True, slots=True)
class BillingState:
    """What governs an account, or one user of it, at one instant.

    `assigned` holds every governing assignment, `effective` those in effect, the
    strongest first. `next_change_at` is None where nothing is scheduled for them;
    `contract` is the account's, None where none is in force. `is_present` says that
    neither time lies in the past.
    """

    account: BillingAccount
    user: BillingUser | None
    as_of: datetime
    known_at: datetime
    assigned: Sequence[AssignedPlan]
    effective: Sequence[AssignedPlan]
    plans: PlansView
    billing_mode: PeriodSetting
    issue_anchor: PeriodSetting
    next_change_at: datetime | None
    contract: ContractInForce | None
    is_present: bool


def billing_state(
    *,
    account: BillingAccount,
    user: BillingUser | None = None,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
    at: datetime,
) -> BillingState:
    """Return the effective state at `as_of`, as known at `known_at`.

    Both default to `at`, the present instant.
    """
    instant = as_of or at
    assigned = assigned_plans(
        account=account,
        user_id=user.pk if user else None,
        as_of=instant,
        known_at=known_at,
        at=at,
    )
    effective = effective_plans(assigned, instant)
    is_present = instant >= at and (known_at is None or known_at >= at)
    known_by = None if is_present else min(instant, known_at or at)
    defaults = realm_defaults(account.realm, known_by)
    return BillingState(
        account=account,
        user=user,
        as_of=instant,
        known_at=known_at or at,
        assigned=assigned,
        effective=effective,
        plans=plans_by_kind(effective),
        billing_mode=billing_mode(effective, defaults),
        issue_anchor=issue_anchor(effective, defaults),
        next_change_at=next_change_at(assigned, instant),
        contract=contract_in_force(
            account=account, as_of=instant, known_at=known_at, at=at
        ),
        is_present=is_present,
    )


def entitled_features(state: BillingState) -> dict[str, str]:
    """Return the features the effective plans speak about: code → what they say.

    "included in <plan>" or "denied by <plan>"; features nobody needs a plan for, and
    those no plan names, are left out. In the past, by the rules and catalog recorded
    at the earlier of the state's two times: what May added did not govern April.
    """
    known_by = None if state.is_present else min(state.as_of, state.known_at)
    rules = entitlement_rules(
        plan_ids={plan.plan_id for plan in state.effective}, known_by=known_by
    )
    found = {}
    for feature in offered_features(state.account.realm_id, known_by):
        verdict = decide_entitlement(
            state.effective,
            rules,
            feature_id=feature.feature_id,
            family_id=feature.family_id,
            required=feature.needs_entitlement,
        )
        if verdict.plan is not None:
            word = "included in" if verdict.verdict == "allowed" else "denied by"
            found[feature.feature_code] = f"{word} {verdict.plan.plan_name}"
    return found
