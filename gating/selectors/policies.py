"""Which bundles and policies govern an account or user at an instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.db.models import Q

from billing.policies.effective import (
    AssignedPlan,
    BundleProjection,
    bundle_key_of,
    project_bundles,
)
from config.tenancy.models import Realm
from gating.models import (
    DEFAULT_BUNDLE_KEY,
    BundleStatus,
    GatePolicy,
    GatePolicyBundle,
    PolicyStatus,
)
from gating.projection import PolicyFact, counter_key_of, target_of
from gating.projection import PolicyKind as ProjectedKind

if TYPE_CHECKING:
    from gating.facts import Enforcement, SubjectScope


@dataclass(frozen=True, slots=True)
class Governance:
    """The bundles that govern, and their policies.

    `bundle_missing`: no plan names a bundle, and the default one is not there.
    """

    bundles: BundleProjection
    policies: Sequence[PolicyFact]

    @property
    def bundle_missing(self) -> bool:
        """Return whether the realm lacks the bundle it must have."""
        return self.bundles.is_default and self.bundles.account_key is None


def governance(*, realm: Realm, effective: Sequence[AssignedPlan]) -> Governance:
    """Return what governs those who hold the effective plans, the strongest first."""
    named = [bundle_key_of(plan) for plan in effective]
    keys = {DEFAULT_BUNDLE_KEY, *(key for key in named if key)}
    active = (
        GatePolicyBundle.objects.in_realm(realm)
        .filter(status=BundleStatus.ACTIVE, bundle_key__in=keys)
        .values_list("bundle_key", flat=True)
    )
    bundles = project_bundles(effective, active, default_key=DEFAULT_BUNDLE_KEY)
    rows = (
        GatePolicy.objects.in_realm(realm)
        .filter(
            Q(subject_scope="account", bundle__bundle_key=bundles.account_key)
            | Q(subject_scope="user", bundle__bundle_key=bundles.user_key)
        )
        .exclude(status=PolicyStatus.DISABLED)
        .order_by("pk")
    )
    return Governance(bundles, [policy_fact(row) for row in rows])


def policy_fact(policy: GatePolicy) -> PolicyFact:
    """Return a stored policy as the decision reads it, its metadata applied."""
    return PolicyFact(
        policy_id=policy.pk,
        name=policy.name,
        kind=cast("ProjectedKind", policy.kind),
        scope=cast("SubjectScope", policy.subject_scope),
        feature_code=target_of(policy.feature_code, policy.metadata),
        counter_key=counter_key_of(policy.pk, policy.metadata),
        unit=policy.unit,
        window_seconds=policy.window_sec,
        limit=policy.limit,
        enforcement=cast("Enforcement", policy.enforcement_mode),
        version=policy.updated_at,
    )
