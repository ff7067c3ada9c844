"""Machine-readable hints that accompany a verdict. Pure."""

from datetime import timedelta

from config.kernel.money import INT64_MAX
from config.kernel.windows import format_instant
from gating.facts import Ask, BudgetFact, Facts, Funding, Hint, PolicyWindow

NEARLY = 3
"""A rate hints when this many requests, or fewer, are left."""


def seconds_left(window: PolicyWindow, facts: Facts) -> int:
    """Return the whole seconds until the window ends, rounded up."""
    return -(-(window.counter.window_end - facts.at) // timedelta(seconds=1))


def rate_hint(window: PolicyWindow, facts: Facts, remaining: int) -> Hint:
    """Return how many requests the window still has, and until when."""
    return {
        "type": "rate.limit",
        "seconds": seconds_left(window, facts),
        "remaining": max(0, remaining),
        "until": format_instant(window.counter.window_end),
    }


def shortfall_hint(needed_xusd: int, funding: Funding) -> Hint:
    """Return what the balance lacks to cover an amount (10^-6 USD)."""
    missing = max(0, needed_xusd - max(0, funding.available_xusd))
    return {
        "type": "funding.xusd_shortfall",
        "shortfall_xusd": min(missing, INT64_MAX),
    }


def budget_shortfall_hint(needed_xusd: int, budget: BudgetFact) -> Hint:
    """Return what a budget lacks to cover an amount (10^-6 USD)."""
    missing = max(0, needed_xusd - max(0, budget.room_xusd))
    return {
        "type": "budget.shortfall",
        "budget_id": str(budget.budget_id),
        "shortfall_xusd": min(missing, INT64_MAX),
    }


def rate_hints(facts: Facts) -> list[Hint]:
    """Return one hint per rate that this request brings near its limit."""
    return [
        rate_hint(window, facts, window.room_minor - 1)
        for window in sorted(facts.rates, key=lambda w: w.rank)
        if window.room_minor - 1 <= NEARLY
    ]


def fault_hints(funding: Funding) -> list[Hint]:
    """Return one hint per term of the contract in force that has no effect."""
    return [fault.hint for fault in funding.faults]


def advice(ask: Ask, facts: Facts) -> list[Hint]:
    """Return what an admitted request should know; it changes no verdict."""
    funding = facts.funding
    hints = fault_hints(funding)
    if not ask.estimate_minor:
        return hints
    if funding.unpriced:
        hints.append(
            {
                "type": "pricing.not_configured",
                "feature_code": ask.feature_code,
                "meters": list(funding.unpriced),
            }
        )
    covered = [w.room_minor for w in facts.quotas]
    for hint, affordable_minor in _shortfalls(ask.estimate_minor, facts):
        covered.append(affordable_minor)
        hints.append(hint)
    if min(covered) < ask.estimate_minor:
        hints.append(
            {"type": "quota.remaining", "max_quantity_minor": max(0, min(covered))}
        )
    return hints


def _shortfalls(estimate_minor: int, facts: Facts) -> list[tuple[Hint, int]]:
    """Return a hint for each purse that an estimate is beyond, and its reach.

    Only a prepaid account is told: another's balance and budgets deny nothing.
    """
    funding, budget = facts.funding, facts.budget
    if funding.billing_mode != "prepaid" or funding.price is None:
        return []
    needed_xusd = funding.price.at_most(estimate_minor)
    purses = [(funding.available_xusd, shortfall_hint(needed_xusd, funding))]
    if budget is not None:
        hint = budget_shortfall_hint(needed_xusd, budget)
        purses.append((budget.room_xusd, hint))
    found = [
        (hint, funding.price.affordable(max(0, left_xusd)))
        for left_xusd, hint in purses
    ]
    return [
        (hint, reach)
        for hint, reach in found
        if reach is not None and reach < estimate_minor
    ]
