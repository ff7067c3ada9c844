"""What governed usage at an instant that has passed."""

from datetime import datetime
from uuid import UUID

from billing.models import BillingAccount, BillingUser
from billing.policies.effective import (
    AssignedPlan,
    Entitlement,
    decide_entitlement,
    effective_plans,
)
from billing.selectors.effective import assigned_plans, entitlement_rules
from billing.selectors.past import FeatureThen, feature_then, realm_defaults
from gating.facts import FeatureFact
from gating.rules import Rules
from gating.selectors.features import gated_feature
from gating.selectors.rules import meter_rules, mode_of


def rules_as_of(
    *,
    account: BillingAccount,
    user: BillingUser,
    feature_code: str,
    as_of: datetime,
    at: datetime,
) -> tuple[Rules, UUID | None] | None:
    """Return what governed at `as_of`, and the assignment that entitled then.

    As it is known at `at`, the present: an assignment counts by its window, also where
    it was recorded later; what plans, catalog and realm said then is read from their
    history. Without policies, which count nothing that is past. None where the realm
    does not have the feature any more, or never had.
    """
    gated = gated_feature(account=account, feature_code=feature_code, at=as_of)
    if gated is None:
        return None
    then = feature_then(gated.feature, as_of)
    assigned = assigned_plans(account=account, user_id=user.pk, as_of=as_of, at=at)
    effective = effective_plans(assigned, as_of)
    entitlement = _entitlement(effective, gated.feature.pk, then, as_of)
    plan = entitlement.plan
    rules = Rules(
        feature=FeatureFact(feature_code, then.feature_family_code, then.active),
        entitlement=entitlement.verdict,
        plan_code=plan.plan_code if plan else None,
        bundle_missing=False,
        policies=(),
        billing_mode=mode_of(effective, realm_defaults(account.realm, as_of)),
        price=gated.price,
        zero_cost=gated.zero_cost,
        unpriced=tuple(gated.unpriced),
        meters=meter_rules(gated),
    )
    return rules, plan.assignment_id if plan else None


def _entitlement(
    effective: list[AssignedPlan], feature_id: UUID, then: FeatureThen, as_of: datetime
) -> Entitlement:
    plan_ids = [plan.plan_id for plan in effective]
    return decide_entitlement(
        effective,
        entitlement_rules(plan_ids=plan_ids, known_by=as_of),
        feature_id=feature_id,
        family_id=then.family_id,
        required=then.needs_entitlement,
    )
