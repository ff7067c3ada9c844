"""Which plan governs: precedence and the projections of the effective plans.

Pure functions over facts already read. Every order here is total, so that two readers
never disagree. The rules, with worked cases: docs/plans.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from config.kernel.codes import normalize_key
from config.kernel.errors import Invalid

Scope = Literal["account", "user"]
PlanKind = Literal["base", "addon", "promo"]
Effect = Literal["allow", "deny"]

GOVERNING_KINDS = ("base", "addon")
"""Plan kinds that choose the policy bundle, billing mode and issue anchor."""

BILLING_MODES = ("prepaid", "postpaid", "hybrid")
ISSUE_ANCHORS = ("calendar_start", "binding_start", "subscription_period_start")
DEFAULT_BILLING_MODE = "prepaid"
DEFAULT_ISSUE_ANCHOR = "calendar_start"


@dataclass(frozen=True, slots=True)
class AssignedPlan:
    """One plan assignment with the facts of its plan, at one instant.

    `status` is the status in force at that instant; `window_end` None is open.
    """

    assignment_id: UUID
    scope: Scope
    user_id: UUID | None
    status: str
    window_start: datetime
    window_end: datetime | None
    source_kind: str
    source_ref: str
    subscription_item_id: UUID | None
    metadata: Mapping[str, Any]
    plan_id: UUID
    plan_code: str
    plan_name: str
    kind: PlanKind
    priority: int
    plan_active: bool
    plan_metadata: Mapping[str, Any]

    def covers(self, at: datetime) -> bool:
        """Return whether the half-open window contains `at`."""
        return self.window_start <= at and (
            self.window_end is None or at < self.window_end
        )

    def is_effective(self, at: datetime) -> bool:
        """Return whether the plan takes effect at `at` (aware UTC)."""
        return self.status == "active" and self.plan_active and self.covers(at)


def by_precedence(plans: Iterable[AssignedPlan]) -> list[AssignedPlan]:
    """Return the plans, the strongest first.

    Higher priority; then user scope over account scope; then the later window_start;
    then the greater assignment id.
    """
    return sorted(
        plans,
        key=lambda plan: (
            plan.priority,
            plan.scope == "user",
            plan.window_start,
            plan.assignment_id,
        ),
        reverse=True,
    )


def effective_plans(plans: Iterable[AssignedPlan], at: datetime) -> list[AssignedPlan]:
    """Return the plans in effect at `at`, the strongest first."""
    return by_precedence(plan for plan in plans if plan.is_effective(at))


@dataclass(frozen=True, slots=True)
class PlansView:
    """The effective plans by role: at most one base, and the rest beside it."""

    base: AssignedPlan | None
    add_ons: Sequence[AssignedPlan]
    promotions: Sequence[AssignedPlan]


def plans_by_kind(effective: Sequence[AssignedPlan]) -> PlansView:
    """Return the strongest base plan, all add-ons and all promotions."""
    of_kind = {
        kind: [plan for plan in effective if plan.kind == kind]
        for kind in ("base", "addon", "promo")
    }
    bases = of_kind["base"]
    return PlansView(bases[0] if bases else None, of_kind["addon"], of_kind["promo"])


@dataclass(frozen=True, slots=True)
class EntitlementRule:
    """An entitlement row of an effective plan; neither target set means everything."""

    plan_id: UUID
    effect: Effect
    feature_id: UUID | None
    family_id: UUID | None

    @property
    def specificity(self) -> int:
        """Return 2 for a feature, 1 for a family, 0 for everything."""
        if self.feature_id is not None:
            return 2
        return 1 if self.family_id is not None else 0

    def targets(self, feature_id: UUID, family_id: UUID) -> bool:
        """Return whether the rule speaks about the feature."""
        if self.feature_id is not None:
            return self.feature_id == feature_id
        return self.family_id is None or self.family_id == family_id


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The verdict on a feature, and the assignment and rule that gave it."""

    verdict: Literal["allowed", "denied", "missing", "not_required"]
    plan: AssignedPlan | None = None
    rule: EntitlementRule | None = None


def decide_entitlement(
    effective: Sequence[AssignedPlan],
    rules: Iterable[EntitlementRule],
    *,
    feature_id: UUID,
    family_id: UUID,
    required: bool,
) -> Entitlement:
    """Return whether the effective plans entitle to a feature.

    Higher plan priority decides first; at equal priority deny beats allow; then the
    more specific rule, then plan precedence, names the attribution. So a family deny
    of a stronger plan beats a feature allow of a weaker one.
    """
    if not required:
        return Entitlement("not_required")
    by_plan: dict[UUID, list[EntitlementRule]] = {}
    for rule in rules:
        if rule.targets(feature_id, family_id):
            by_plan.setdefault(rule.plan_id, []).append(rule)
    found = [
        (plan.priority, rule.effect == "deny", rule.specificity, -rank, plan, rule)
        for rank, plan in enumerate(effective)
        for rule in by_plan.get(plan.plan_id, ())
    ]
    if not found:
        return Entitlement("missing")
    *_, plan, rule = max(found, key=lambda item: item[:4])
    return Entitlement("denied" if rule.effect == "deny" else "allowed", plan, rule)


@dataclass(frozen=True, slots=True)
class BundleProjection:
    """Which bundle gives the account policies and which the user policies.

    A key of None means that scope has no policies; `is_default` that no plan names a
    bundle, so the realm's default bundle gives both.
    """

    account_key: str | None
    user_key: str | None
    is_default: bool = False


def bundle_key_of(plan: AssignedPlan) -> str | None:
    """Return the plan's bundle candidate: the assignment's key, else the plan's.

    In its one spelling; what is no key at all names no bundle.
    """
    for metadata in (plan.metadata, plan.plan_metadata):
        with suppress(Invalid):
            return normalize_key(metadata.get("gate_bundle_key"), "gate_bundle_key")
    return None


def project_bundles(
    effective: Sequence[AssignedPlan], active_keys: Iterable[str], *, default_key: str
) -> BundleProjection:
    """Return the bundles that govern a gate call.

    Per scope the strongest base or add-on plan whose bundle is active wins; a disabled
    bundle falls through to the next candidate. With both, each gives its own scope;
    an account bundle alone gives both; a user bundle alone only the user scope. With
    candidates but no active bundle nothing governs, and the gate refuses: falling back
    to the default bundle would turn switching a bundle off into unlimited use.
    """
    known = set(active_keys)
    chosen: dict[str, str] = {}
    any_candidate = False
    for plan in effective:
        key = bundle_key_of(plan) if plan.kind in GOVERNING_KINDS else None
        if key is None:
            continue
        any_candidate = True
        if key in known:
            chosen.setdefault(plan.scope, key)
    if not any_candidate:
        key = default_key if default_key in known else None
        return BundleProjection(key, key, is_default=True)
    account, user = chosen.get("account"), chosen.get("user")
    return BundleProjection(account, user if user is not None else account)


@dataclass(frozen=True, slots=True)
class PeriodSetting:
    """A billing-period setting, and where its value came from."""

    value: str
    source: Literal["assignment", "plan", "realm_default", "system_default"]
    plan: AssignedPlan | None = None


def _period(metadata: Mapping[str, Any], root: str) -> Mapping[str, Any]:
    period = metadata
    for step in (root, "period"):
        found = period.get(step)
        if not isinstance(found, Mapping):
            return {}
        period = found
    return period


def _period_setting(
    name: str,
    allowed: Sequence[str],
    default: str,
    effective: Sequence[AssignedPlan],
    realm_metadata: Mapping[str, Any],
) -> PeriodSetting:
    def said(metadata: Mapping[str, Any], root: str) -> str | None:
        value = _period(metadata, root).get(name)
        return value if isinstance(value, str) and value in allowed else None

    governing = next((p for p in effective if p.kind in GOVERNING_KINDS), None)
    if governing is not None:
        if own := said(governing.metadata, "billing"):
            return PeriodSetting(own, "assignment", governing)
        if of_plan := said(governing.plan_metadata, "billing_defaults"):
            return PeriodSetting(of_plan, "plan", governing)
    if of_realm := said(realm_metadata, "billing_defaults"):
        return PeriodSetting(of_realm, "realm_default")
    return PeriodSetting(default, "system_default")


def billing_mode(
    effective: Sequence[AssignedPlan], realm_metadata: Mapping[str, Any]
) -> PeriodSetting:
    """Return prepaid, postpaid or hybrid.

    From the strongest base or add-on plan: its assignment's metadata, else the
    plan's; else the realm's default; else prepaid. Values outside the three are
    ignored at each level.
    """
    return _period_setting(
        "billing_mode", BILLING_MODES, DEFAULT_BILLING_MODE, effective, realm_metadata
    )


def issue_anchor(
    effective: Sequence[AssignedPlan], realm_metadata: Mapping[str, Any]
) -> PeriodSetting:
    """Return the anchor of billing periods, resolved like `billing_mode`."""
    return _period_setting(
        "issue_anchor", ISSUE_ANCHORS, DEFAULT_ISSUE_ANCHOR, effective, realm_metadata
    )


def next_change_at(plans: Iterable[AssignedPlan], at: datetime) -> datetime | None:
    """Return the earliest instant after `at` at which a window opens or closes.

    Only assignments that would take effect count: active, of an active plan.
    """
    edges = (
        edge
        for plan in plans
        if plan.status == "active" and plan.plan_active
        for edge in (plan.window_start, plan.window_end)
        if edge is not None and edge > at
    )
    return min(edges, default=None)
