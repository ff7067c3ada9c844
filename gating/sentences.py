"""Denials in words: the thing, the rule and the numbers. Pure."""

import re
from datetime import datetime

from config.kernel.money import format_xusd
from gating.facts import BudgetFact, Facts, Funding, PolicyWindow, SeatWindow


def instant(at: datetime) -> str:
    """Return a whole-second aware UTC instant as `2026-01-10 00:00:00 UTC`."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


_MACHINE_INSTANT = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)Z")


def told_today(sentence: str) -> str:
    """Return a stored sentence with its instants as `instant` writes them today.

    Before December 2026 they were written `2026-01-10T00:00:00Z`.
    """
    return _MACHINE_INSTANT.sub(r"\1 \2 UTC", sentence)


def feature_unknown(code: str) -> str:
    """Return why a code that the realm does not have is denied."""
    return f"feature not found: this realm has no feature {code}."


def feature_elsewhere(code: str, family: str, asked: str) -> str:
    """Return why a feature asked for in another family is denied."""
    return f"feature not found: {code} belongs to the family {family}, not to {asked}."


def feature_inactive(code: str) -> str:
    """Return why a switched-off feature is denied."""
    return f"feature inactive: {code} is switched off."


def not_entitled(facts: Facts, code: str) -> str:
    """Return why the plans do not entitle to the feature."""
    if facts.entitlement == "denied":
        return f"The plan {facts.plan_code} denies the feature {code}."
    return f"No plan in effect allows the feature {code}."


def no_policy(code: str) -> str:
    """Return why a feature that no policy governs is denied."""
    return f"no active policy for feature {code}."


def no_quota(code: str) -> str:
    """Return why a feature that only rate or seats policies govern is denied."""
    return f"no quota policy for feature {code}: an operator must add one."


def no_default_bundle(code: str) -> str:
    """Return why a feature is denied where the default bundle is gone."""
    return (
        f"no default policy bundle governs feature {code}: an operator must restore it."
    )


def no_seat(seats: SeatWindow) -> str:
    """Return why a user without a seat is denied."""
    until = ""
    if seats.window_end is not None:
        until = f" in the window that ends {instant(seats.window_end)}"
    return (
        f"Seats {seats.name}: {seats.taken:,} of {seats.limit:,} seats taken{until}; "
        "this user has none."
    )


def quota_used_up(window: PolicyWindow, asked_minor: int) -> str:
    """Return why a quota denies a quantity."""
    held = f" and {window.reserved_minor:,} held" if window.reserved_minor else ""
    limit = "64 bits" if window.limit is None else f"{window.limit:,}"
    return (
        f"Quota {window.name}: {window.used_minor:,} of {limit} used{held} in the "
        f"window that ends {instant(window.counter.window_end)}; {asked_minor:,} asked."
    )


def rate_exceeded(window: PolicyWindow, seconds: int) -> str:
    """Return why a rate limit denies one more request."""
    return (
        f"Rate {window.name}: {window.used_minor:,} of {window.limit:,} requests made "
        f"in the window that ends {instant(window.counter.window_end)}; ask again in "
        f"{seconds:,} seconds."
    )


def no_budget(reference: str) -> str:
    """Return why a budget that the user does not have is denied."""
    return f"there is no budget {reference}."


def budget_shut(
    reference: str, budget: BudgetFact, code: str, at: datetime
) -> str | None:
    """Return why a budget may not be used for a feature at `at`; None where it may."""
    if budget.closed_at is not None:
        return f"budget {reference} was closed at {instant(budget.closed_at)}."
    if budget.window_start is not None and at < budget.window_start:
        return f"budget {reference} begins only at {instant(budget.window_start)}."
    if budget.window_end is not None and at >= budget.window_end:
        return f"budget {reference} ended at {instant(budget.window_end)}."
    if budget.feature_codes is not None and code not in budget.feature_codes:
        features = ", ".join(budget.feature_codes)
        return f"budget {reference} is for {features}, not for {code}."
    return None


def budget_state(reference: str, budget: BudgetFact) -> str:
    """Return what was consumed of a budget, and what is held on it."""
    limit = budget.limit_xusd
    held = budget.reserved_xusd
    return (
        f"budget {reference}: {format_xusd(budget.consumed_xusd)} of "
        f"{'unlimited' if limit is None else format_xusd(limit)} consumed"
        + (f" and {format_xusd(held)} held" if held else "")
    )


def budget_used_up(
    reference: str, budget: BudgetFact, needed_xusd: int, asked_minor: int
) -> str:
    """Return why a budget does not cover a quantity."""
    state = budget_state(reference, budget)
    if needed_xusd == 0:
        return f"{state}; nothing is left."
    return f"{state}; {format_xusd(needed_xusd)} needed for {asked_minor:,}."


def funds_lacking(funding: Funding, needed_xusd: int, asked_minor: int) -> str:
    """Return why a prepaid balance does not cover a quantity."""
    available = format_xusd(funding.available_xusd)
    if needed_xusd == 0:
        return f"grant balance exhausted: {available} available."
    return (
        f"grant balance exhausted: {available} available, {format_xusd(needed_xusd)} "
        f"needed for {asked_minor:,}."
    )


def under_contract(funding: Funding) -> list[str]:
    """Return what the contract in force made of the price, and what it could not."""
    told = [
        f"The contract's term on {fault.meter_code} has no effect: {fault.message}"
        for fault in funding.faults
    ]
    price = funding.price
    if price is not None and price.term is not None:
        term = price.term
        told.append(
            f"Priced under the contract {term.contract_id}, by its term from "
            f"{instant(term.effective_at)}: {price.price_xusd:,} XUSD for "
            f"{price.quantity_minor:,}, where the catalog says "
            f"{term.catalog_price_xusd:,} XUSD for {term.catalog_quantity_minor:,}."
        )
    return told
