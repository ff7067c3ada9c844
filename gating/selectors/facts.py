"""Reading, once, everything that an admission depends on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast
from uuid import UUID

from django.db import connection, transaction

from billing.models import BillingAccount, BillingUser
from billing.policies.effective import (
    AssignedPlan,
    Entitlement,
    billing_mode,
    decide_entitlement,
    effective_plans,
)
from billing.selectors.effective import assigned_plans, entitlement_rules
from catalog.models import Feature
from gating.facts import (
    Ask,
    BillingMode,
    CounterKey,
    Facts,
    FeatureFact,
    Funding,
    PolicyWindow,
)
from gating.projection import governing
from gating.selectors.counters import (
    Counters,
    counters_of,
    overdue_xusd,
    policy_windows,
    seat_windows,
    without_overdue,
)
from gating.selectors.features import GatedFeature, gated_feature
from gating.selectors.policies import Governance, governance
from grants.selectors.balances import available_xusd


@dataclass(frozen=True, slots=True)
class Reading:
    """The facts, and what the verbs need to act on them.

    `counter_ids` are the stored counters'; `assignment_id` is the plan assignment that
    entitled to the feature.
    """

    facts: Facts
    zero_cost: bool = False
    counter_ids: dict[CounterKey, UUID] | None = None
    assignment_id: UUID | None = None


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Read everything inside this block as of one instant, and write nothing.

    The database enforces both, except inside a caller's own transaction.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def read_facts(
    *,
    account: BillingAccount,
    user: BillingUser,
    ask: Ask,
    at: datetime,
    overdue_before: datetime | None = None,
) -> Reading:
    """Return what the decision on `ask` depends on, at `at` (aware UTC).

    With `overdue_before`, active leases that ran out before it count as expired
    already: their holds are left out. Writes nothing.
    """
    gated = gated_feature(realm=account.realm, feature_code=ask.feature_code, at=at)
    if gated is None:
        return Reading(Facts(at))
    effective = effective_plans(
        assigned_plans(account=account, user_id=user.pk, as_of=at), at
    )
    entitlement = entitlement_of(gated.feature, effective)
    counters = counters_of(
        account=account, user=user, at=at, feature_code=ask.feature_code
    )
    if overdue_before is not None:
        counters = without_overdue(counters, account=account, before=overdue_before)
    facts = Facts(
        at=at,
        feature=gated.fact,
        entitlement=entitlement.verdict,
        plan_code=entitlement.plan.plan_code if entitlement.plan else None,
        funding=_funding(gated, effective, account, user, overdue_before, at=at),
    )
    governed = governance(realm=account.realm, effective=effective)
    return Reading(
        _limited(facts, gated.fact, governed, counters, account, user),
        zero_cost=gated.zero_cost,
        counter_ids={key: state.counter_id for key, state in counters.items()},
        assignment_id=entitlement.plan.assignment_id if entitlement.plan else None,
    )


def _limited(
    facts: Facts,
    feature: FeatureFact,
    governed: Governance,
    counters: Counters,
    account: BillingAccount,
    user: BillingUser,
) -> Facts:
    """Return the facts with the limits that govern their feature."""
    policies = governing(governed.policies, feature.feature_code)

    def windows(kind: str) -> list[PolicyWindow]:
        return policy_windows(
            [policy for policy in policies if policy.kind == kind],
            counters,
            feature_code=feature.feature_code,
            account=account,
            user=user,
            at=facts.at,
        )

    seats = [policy for policy in policies if policy.kind == "seats"]
    return replace(
        facts,
        bundle_missing=governed.bundle_missing,
        quotas=windows("quota"),
        rates=windows("rate"),
        seats=seat_windows(seats, account=account, user=user, at=facts.at),
    )


def entitlement_of(feature: Feature, effective: Sequence[AssignedPlan]) -> Entitlement:
    """Return whether the effective plans entitle to the feature (family loaded)."""
    rules = entitlement_rules(plan_ids=[plan.plan_id for plan in effective])
    return decide_entitlement(
        effective,
        rules,
        feature_id=feature.pk,
        family_id=feature.feature_family_id,
        required=is_entitlement_required(feature),
    )


def is_entitlement_required(feature: Feature) -> bool:
    """Return whether a plan must allow the feature: its own word, else its family's."""
    if feature.entitlement_required is not None:
        return feature.entitlement_required
    return feature.feature_family.entitlement_required


def _funding(
    gated: GatedFeature,
    effective: Sequence[AssignedPlan],
    account: BillingAccount,
    user: BillingUser,
    overdue_before: datetime | None,
    *,
    at: datetime,
) -> Funding:
    setting = billing_mode(effective, account.realm.metadata)
    mode = cast("BillingMode", setting.value)
    available = 0
    # Where the balance decides nothing it is not read.
    if mode == "prepaid" and not gated.zero_cost:
        available = available_xusd(user_id=user.pk, at=at)
        if overdue_before is not None:
            available += overdue_xusd(user=user, before=overdue_before)
    return Funding(
        billing_mode=mode,
        available_xusd=available,
        price=gated.price,
        zero_cost=gated.zero_cost,
        unpriced=gated.unpriced,
    )
