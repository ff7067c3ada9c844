"""Drafts of a bundle or a plan, checked as saving them would, and not saved."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from billing.models import Plan
from billing.policies.effective import EntitlementRule
from billing.services.entitlements import Target, resolved_rules
from billing.services.plans import check_plan
from config.kernel.errors import DomainError, Invalid
from gating.models import GatePolicy, GatePolicyBundle, PolicyStatus
from gating.selectors.policies import policy_fact
from gating.selectors.recorded import only_reading
from gating.selectors.standing import policies_by_bundle, policy_homes
from gating.services.policies import (
    PolicyExists,
    PolicyFields,
    drafted_change,
    drafted_policy,
    refuse_kept,
)
from gating.simulation import Draft, PlanChange

_NEEDED = ("feature_code", "kind", "unit", "window_sec")
_PLACES = {
    "metadata.gate_bundle_key": "gate_bundle_key",
    "metadata.billing_defaults.period.billing_mode": "billing_mode",
}
"""Where a plan's metadata is found in a draft of it."""


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A policy of a drafted bundle: changes of one there is, or (no id) a new one.

    `place` is the input field that holds it, for refusals.
    """

    values: PolicyFields
    policy_id: UUID | None = None
    place: str = "policies"


@dataclass(frozen=True, slots=True)
class BundleDraft:
    """What is drafted of a bundle: its policies, or another bundle in its place."""

    policies: Sequence[PolicyDraft] = ()
    left_out: Sequence[UUID] = ()
    replaced_by: GatePolicyBundle | None = None
    place: str = "bundle"


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """What is drafted of a plan: `change`, and where given, what it entitles to."""

    change: PlanChange
    targets: Sequence[Target] | None = None
    place: str = "plan"


@only_reading()
def draft_of_bundle(
    bundle: GatePolicyBundle, drafted: BundleDraft, *, at: datetime
) -> Draft:
    """Return the draft: the bundle's policies as they stand, changed as drafted.

    Refuses, on its field, what saving each of them would refuse: a policy that is not
    the bundle's (`Invalid`), bad values (`Invalid`), a name or shape in use
    (`PolicyExists`), and to take away the last resort (`PolicyKept`).
    """
    if drafted.replaced_by is not None and (drafted.policies or drafted.left_out):
        raise Invalid(
            "Draft policies, or name the bundle that takes their place; not both.",
            field=f"{drafted.place}.replaced_by",
        )
    source = drafted.replaced_by or bundle
    policies = {
        policy.pk: policy
        for policy in GatePolicy.objects.in_realm(bundle.realm_id)
        .filter(bundle=source)
        .select_related("bundle", "realm")
        .order_by("pk")
    }
    changed = _changed(bundle, policies, drafted, at=at)
    governing = [p for p in changed if p.status != PolicyStatus.DISABLED]
    return Draft(
        bundle_key=bundle.bundle_key,
        policies={bundle.bundle_key: [policy_fact(policy) for policy in governing]},
        homes=policy_homes(bundle.realm_id),
    )


@only_reading()
def draft_of_plan(plan: Plan, drafted: PlanDraft) -> Draft:
    """Return the draft of a plan. Refuses (`Invalid`), on its field, what saving would.

    Bundles that it brings in are taken as they stand today.
    """
    change = drafted.change
    with placed(drafted.place):
        check_plan(plan.kind, change.of_metadata(plan.metadata))
    if drafted.targets is not None:
        rules = [
            EntitlementRule(
                plan.pk,
                "deny" if rule.effect == "deny" else "allow",
                rule.feature_id,
                rule.feature_family_id,
            )
            for rule in resolved_rules(plan, drafted.targets)
        ]
        # Of two rules for one target the last one counts.
        last = {(rule.feature_id, rule.family_id): rule for rule in rules}
        change = replace(change, rules=tuple(last.values()))
    return Draft(
        plan=change,
        policies=policies_by_bundle(plan.realm_id),
        homes=policy_homes(plan.realm_id),
    )


def _changed(
    bundle: GatePolicyBundle,
    policies: dict[UUID, GatePolicy],
    drafted: BundleDraft,
    *,
    at: datetime,
) -> list[GatePolicy]:
    """Return the policies as drafted, unsaved."""
    found, named = dict(policies), set[UUID]()
    for number, policy_id in enumerate(drafted.left_out):
        place = f"{drafted.place}.left_out.{number}"
        known = _of_bundle(bundle, policies, policy_id, place)
        with placed(place):
            refuse_kept(known)
        found.pop(policy_id, None)
    for entry in drafted.policies:
        if entry.policy_id is None:
            policy = _new(bundle, entry, at=at)
        else:
            place = f"{entry.place}.policy_id"
            known = _of_bundle(bundle, policies, entry.policy_id, place)
            if entry.policy_id in named or entry.policy_id not in found:
                raise Invalid("This policy is named twice.", field=place)
            named.add(entry.policy_id)
            with placed(entry.place):
                policy, _ = drafted_change(policy=known, **entry.values)
        found[policy.pk] = policy
        _refuse_same_name(found, policy, entry)
    return list(found.values())


def _new(bundle: GatePolicyBundle, entry: PolicyDraft, *, at: datetime) -> GatePolicy:
    for name in _NEEDED:
        if name not in entry.values:
            raise Invalid(f"A new policy needs {name}.", field=f"{entry.place}.{name}")
    with placed(entry.place):
        return drafted_policy(bundle=bundle, at=at, **entry.values)


def _of_bundle(
    bundle: GatePolicyBundle,
    policies: dict[UUID, GatePolicy],
    policy_id: UUID,
    place: str,
) -> GatePolicy:
    if policy_id not in policies:
        raise Invalid(
            f"The bundle {bundle.bundle_key} has no policy {policy_id}.", field=place
        )
    return policies[policy_id]


def _refuse_same_name(
    found: dict[UUID, GatePolicy], policy: GatePolicy, entry: PolicyDraft
) -> None:
    if any(p.name == policy.name and p.pk != policy.pk for p in found.values()):
        raise PolicyExists(
            f"The draft has two policies {policy.name}.", field=f"{entry.place}.name"
        )


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Tell a refusal of what stands at `place` by its path from there."""
    try:
        yield
    except DomainError as refusal:
        own = _PLACES.get(refusal.field or "", refusal.field)
        refusal.field = f"{place}.{own}" if own else place
        refusal.meta.pop("errors", None)
        raise
