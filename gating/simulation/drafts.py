"""What a draft makes of the rules that a decision was made under. Pure.

Which plans governed is known from history (`Standing`). A draft changes a plan there,
or the policies of a bundle; what follows is resolved before and after the change as the
gate resolves it. What comes out the same keeps what was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast
from uuid import UUID

from billing.policies.effective import (
    AssignedPlan,
    BundleProjection,
    Entitlement,
    EntitlementRule,
    billing_mode,
    decide_entitlement,
    effective_plans,
    project_bundles,
)
from gating.facts import BillingMode, SubjectScope
from gating.projection import PolicyFact, governing
from gating.rules import Rules, ranked
from gating.simulation.recorded import Recorded

SCOPES: tuple[SubjectScope, ...] = ("account", "user")


@dataclass(frozen=True, slots=True)
class Standing:
    """What governed a user at a decision, as recorded by then.

    `assigned` are all assignments, in effect or not; `rules` those of their plans.
    """

    assigned: Sequence[AssignedPlan]
    rules: Sequence[EntitlementRule]
    active_keys: frozenset[str]
    default_key: str
    feature_id: UUID
    family_id: UUID
    required: bool
    realm_metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A draft of a plan: None leaves what was.

    `gate_bundle_key` "" takes the plan's bundle away. `rules` replace those the plan
    had, or (`appended`) are added, the latest for a target counting.
    """

    plan_id: UUID
    priority: int | None = None
    active: bool | None = None
    gate_bundle_key: str | None = None
    billing_mode: str | None = None
    rules: Sequence[EntitlementRule] | None = None
    appended: bool = False

    def of_plan(self, plan: AssignedPlan) -> AssignedPlan:
        """Return the plan as drafted; another plan as it is."""
        if plan.plan_id != self.plan_id:
            return plan
        return replace(
            plan,
            priority=plan.priority if self.priority is None else self.priority,
            plan_active=plan.plan_active if self.active is None else self.active,
            plan_metadata=self.of_metadata(plan.plan_metadata),
        )

    def of_metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plan's metadata as drafted."""
        drafted = dict(metadata)
        if self.gate_bundle_key is not None:
            drafted["gate_bundle_key"] = self.gate_bundle_key
            if not self.gate_bundle_key:
                del drafted["gate_bundle_key"]
        if self.billing_mode is not None:
            defaults = dict(drafted.get("billing_defaults") or {})
            period = {
                **(defaults.get("period") or {}),
                "billing_mode": self.billing_mode,
            }
            drafted["billing_defaults"] = {**defaults, "period": period}
        return drafted

    def of_rules(self, rules: Sequence[EntitlementRule]) -> Sequence[EntitlementRule]:
        """Return the entitlement rules as drafted."""
        if self.rules is None:
            return rules
        named = {(rule.feature_id, rule.family_id) for rule in self.rules}
        kept = [
            rule
            for rule in rules
            if rule.plan_id != self.plan_id
            or (self.appended and (rule.feature_id, rule.family_id) not in named)
        ]
        return [*kept, *self.rules]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a policy stands: its bundle, and whose use it counts."""

    bundle_key: str
    scope: SubjectScope


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft of the policies of the bundle `bundle_key`, of a plan, or of both.

    `policies` are those to bring in, by bundle: as drafted, else as they stand today.
    `homes` tell of every policy there is or was.
    """

    bundle_key: str | None = None
    plan: PlanChange | None = None
    policies: Mapping[str, Sequence[PolicyFact]] = field(default_factory=dict)
    homes: Mapping[UUID, Home] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """Return whether every decision keeps its rules."""
        return self.bundle_key is None and self.plan is None

    def together(self, other: "Draft") -> "Draft":
        """Return this draft, of a bundle, and another one, of a plan, as one."""
        return replace(
            other,
            bundle_key=self.bundle_key,
            policies={**other.policies, **self.policies},
        )

    def applied(self, standing: Standing) -> Standing:
        """Return what would have governed under the draft."""
        if self.plan is None:
            return standing
        return replace(
            standing,
            assigned=[self.plan.of_plan(plan) for plan in standing.assigned],
            rules=self.plan.of_rules(standing.rules),
        )


@dataclass(frozen=True, slots=True)
class _Resolved:
    entitlement: Entitlement
    bundles: BundleProjection
    billing_mode: BillingMode

    @property
    def bundle_missing(self) -> bool:
        return self.bundles.is_default and self.bundles.account_key is None

    def key(self, scope: SubjectScope) -> str | None:
        bundles = self.bundles
        return bundles.account_key if scope == "account" else bundles.user_key


def redrafted(
    draft: Draft, recorded: Recorded, standing: Standing | None
) -> Rules | Literal["plans_not_reconstructed", "numbers_not_recorded"] | None:
    """Return the decision's rules under the draft, as far as it changes them.

    `plans_not_reconstructed`: history tells other plans than the decision was made
    under, so that nobody knows what the draft would have changed. So does nobody
    (`numbers_not_recorded`) where the draft lifts a denial that looked at no policy,
    as that of ingested usage.
    """
    rules = recorded.rules
    if draft.changes_nothing or rules is None:
        return rules
    if standing is None:
        return "plans_not_reconstructed"
    before = _resolved(standing, recorded)
    if not _is_recorded(before, rules, draft):
        return "plans_not_reconstructed"
    after = before
    if draft.plan is not None:
        after = _resolved(draft.applied(standing), recorded)
    lifted = _entitles(after) and not _entitles(before)
    if lifted and not rules.policies:
        return "numbers_not_recorded"
    plan = after.entitlement.plan
    return replace(
        rules,
        entitlement=after.entitlement.verdict,
        plan_code=plan.plan_code if plan else None,
        bundle_missing=after.bundle_missing,
        billing_mode=after.billing_mode,
        policies=_policies(draft, rules, before, after),
    )


def _resolved(standing: Standing, recorded: Recorded) -> _Resolved:
    effective = effective_plans(standing.assigned, recorded.at)
    named = {plan.plan_id for plan in effective}
    return _Resolved(
        entitlement=decide_entitlement(
            effective,
            [rule for rule in standing.rules if rule.plan_id in named],
            feature_id=standing.feature_id,
            family_id=standing.family_id,
            required=standing.required,
        ),
        bundles=project_bundles(
            effective, standing.active_keys, default_key=standing.default_key
        ),
        billing_mode=cast(
            "BillingMode", billing_mode(effective, standing.realm_metadata).value
        ),
    )


def _entitles(resolved: _Resolved) -> bool:
    return resolved.entitlement.verdict in {"allowed", "not_required"}


def _scope(policy: PolicyFact, draft: Draft) -> SubjectScope:
    """Return whose use a policy counts; evidence of a denial does not tell of seats."""
    home = draft.homes.get(policy.policy_id)
    return home.scope if home and policy.kind == "seats" else policy.scope


def _is_recorded(before: _Resolved, rules: Rules, draft: Draft) -> bool:
    """Return whether history comes to what the decision was made under."""
    plan = before.entitlement.plan
    found = (
        before.entitlement.verdict,
        plan.plan_code if plan else None,
        before.bundle_missing,
        before.billing_mode,
    )
    return found == (
        rules.entitlement,
        rules.plan_code,
        rules.bundle_missing,
        rules.billing_mode,
    ) and all(
        home.bundle_key == before.key(_scope(policy, draft))
        for policy in rules.policies
        if (home := draft.homes.get(policy.policy_id))
    )


def _policies(
    draft: Draft, rules: Rules, before: _Resolved, after: _Resolved
) -> tuple[PolicyFact, ...]:
    """Return the policies: of a scope whose bundle stays, those that were recorded."""
    policies = list[PolicyFact]()
    for scope in SCOPES:
        key = after.key(scope)
        if key == before.key(scope) and (key is None or key != draft.bundle_key):
            policies += [p for p in rules.policies if _scope(p, draft) == scope]
        elif key is not None:
            found = [p for p in draft.policies.get(key, ()) if p.scope == scope]
            policies += governing(found, rules.feature.feature_code)
    return ranked(policies)
