"""Decisions in words: each check in its order, with its arithmetic. Pure.

What a person reads who asks "why was I blocked at 14:03?", and what a machine reads
beside it: the same checks, each `passed`, `failed` or `not_reached`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from config.kernel.money import format_xusd
from gating.decide import decide, held_minor
from gating.facts import Ask, Facts, Funding, PolicyWindow
from gating.sentences import budget_state, instant, under_contract
from gating.verdicts import Verdict

Outcome = Literal["passed", "failed", "not_reached"]

ORDER: dict[str, tuple[str, ...]] = {
    "feature": ("feature_not_found", "feature_in_other_family", "feature_inactive"),
    "entitlement": ("entitlement_denied", "entitlement_required"),
    "policies": ("default_bundle_missing", "policy_not_found", "quota_missing"),
    "seats": ("seats_taken",),
    "quota": ("quota_exhausted",),
    "rate": ("rate_exceeded",),
    "budget": ("budget_not_found", "budget_exhausted"),
    "funding": ("funding_exhausted",),
}
"""The checks in the order of `decide`, with the reasons that each denies for."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a decision: how it came out, and the sentences that say why."""

    name: str
    outcome: Outcome
    sentences: Sequence[str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision made again, in words: the headline, then check by check."""

    verdict: Verdict
    headline: str
    checks: Sequence[Check]

    def also(self, name: str, sentences: Sequence[str]) -> "Explanation":
        """Return the explanation with more to say about one check."""
        checks = [
            replace(check, sentences=[*check.sentences, *sentences])
            if check.name == name
            else check
            for check in self.checks
        ]
        return replace(self, checks=checks)


def explain(ask: Ask, facts: Facts) -> Explanation:
    """Return the decision on `ask` under `facts`, made again and told."""
    verdict = decide(ask, facts)
    failed = None
    if verdict.denial is not None:
        reason = verdict.denial.reason
        failed = next(name for name, reasons in ORDER.items() if reason in reasons)
    checks, reached = list[Check](), True
    for name, tell in _TOLD.items():
        if name == failed and verdict.denial is not None:
            why = [_sentence(verdict.denial.sentence)]
            if name == "funding":
                why += under_contract(facts.funding)
            checks.append(Check(name, "failed", why))
            reached = False
        elif reached:
            checks.append(Check(name, "passed", tell(ask, facts, verdict)))
        else:
            checks.append(Check(name, "not_reached", []))
    return Explanation(verdict, _headline(ask, facts, verdict), checks)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _headline(ask: Ask, facts: Facts, verdict: Verdict) -> str:
    at = instant(facts.at)
    if verdict.denial is not None:
        return f"Blocked at {at}: {verdict.denial.sentence}"
    asked = "any quantity" if ask.estimate_minor is None else f"{ask.estimate_minor:,}"
    return f"Admitted at {at}: {ask.feature_code}, {asked}."


def _feature(ask: Ask, facts: Facts, _verdict: Verdict) -> list[str]:
    family = facts.feature.feature_family_code if facts.feature else ""
    return [f"The feature {ask.feature_code}, of the family {family}, is switched on."]


def _entitlement(ask: Ask, facts: Facts, _verdict: Verdict) -> list[str]:
    if facts.entitlement == "not_required":
        return [f"The feature {ask.feature_code} needs no plan."]
    return [f"The plan {facts.plan_code} allows {ask.feature_code}."]


def _policies(_ask: Ask, facts: Facts, _verdict: Verdict) -> list[str]:
    counts = [
        (len(facts.quotas), "quota"),
        (len(facts.rates), "rate"),
        (len(facts.seats), "seats policy"),
    ]
    named = [f"{count} {name}" for count, name in counts if count]
    return [f"Governed by {', '.join(named)}."]


def _seats(_ask: Ask, facts: Facts, _verdict: Verdict) -> list[str]:
    told = []
    for seats in facts.seats:
        limit = "unlimited" if seats.limit is None else f"{seats.limit:,}"
        state = "this user has one" if seats.holds else "one is taken for this user"
        told.append(f"Seats {seats.name}: {seats.taken:,} of {limit} taken; {state}.")
    return told or ["No seats policy governs the feature."]


def _used(window: PolicyWindow) -> str:
    limit = "unlimited" if window.limit is None else f"{window.limit:,}"
    held = f" and {window.reserved_minor:,} held" if window.reserved_minor else ""
    return (
        f"{window.name}: {window.used_minor:,} of {limit} used{held} in the window "
        f"that ends {instant(window.counter.window_end)}"
    )


def _quota(ask: Ask, facts: Facts, _verdict: Verdict) -> list[str]:
    return [
        f"Quota {_used(window)}; {held_minor(ask):,} "
        + ("held." if window.enforcement == "reserve" else "expected.")
        for window in facts.quotas
    ]


def _rate(_ask: Ask, facts: Facts, _verdict: Verdict) -> list[str]:
    told = [f"Rate {_used(window)}; this request is 1 more." for window in facts.rates]
    return told or ["No rate governs the feature."]


def _budget(ask: Ask, facts: Facts, verdict: Verdict) -> list[str]:
    if ask.budget is None or facts.budget is None:
        return ["No budget was named."]
    state = _sentence(budget_state(ask.budget, facts.budget))
    if facts.funding.billing_mode == "prepaid":
        return [f"{state}; {format_xusd(verdict.wallet_xusd)} more held."]
    return [f"{state}; {facts.funding.billing_mode} usage may pass its limit."]


def _funding(_ask: Ask, facts: Facts, verdict: Verdict) -> list[str]:
    return [_balance(facts.funding, verdict), *under_contract(facts.funding)]


def _balance(funding: Funding, verdict: Verdict) -> str:
    if funding.billing_mode != "prepaid":
        return f"Usage is {funding.billing_mode}: no balance is needed beforehand."
    if funding.zero_cost:
        return "The feature has neither price nor cost: no balance is needed."
    available = format_xusd(funding.available_xusd)
    return f"Balance: {available} available, {format_xusd(verdict.wallet_xusd)} held."


_TOLD: dict[str, Callable[[Ask, Facts, Verdict], list[str]]] = {
    "feature": _feature,
    "entitlement": _entitlement,
    "policies": _policies,
    "seats": _seats,
    "quota": _quota,
    "rate": _rate,
    "budget": _budget,
    "funding": _funding,
}
