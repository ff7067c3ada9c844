"""What a commit counts and costs: the specification, as one pure function.

A commit always leaves its rating; what differs is how much of it is applied:

- *quarantined*: nothing is counted or charged. The lease is no longer open, came too
  late, or the usage cannot be rated; the reasons say which;
- *applied*: each counter takes the quantity, first out of what the lease holds on it,
  then out of what is left;
- *applied_clipped*: not all of it fits (reason `overshoot`). A counter takes what
  fits, so that no limit is ever passed. Postpaid and hybrid accounts owe the whole
  amount all the same; a prepaid one owes the share that fits its quota, rounded down,
  and no more than its balance, and the budget that was named, have. The rating keeps
  the whole.

A budget that the lease names consumes what is owed, once it is settled: of prepaid use
never more than its limit, of other use all (reason `budget_limit_exceeded`).

A feature without any price or cost is free, so its missing prices do not quarantine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from config.kernel.money import INT64_MAX
from config.kernel.windows import format_instant
from gating.facts import BillingMode, BudgetFact, Hint

LOW_XUSD = 1000
"""A budget with no more left than this, or than the commit twice over, hints."""

LeaseState = Literal["active", "closed", "expired", "canceled"]
ApplicationStatus = Literal["applied", "applied_clipped", "quarantined"]


@dataclass(frozen=True, slots=True)
class HeldWindow:
    """A quota counter that the lease names, and its state at the commit.

    `limit` (None: unlimited) and `held_minor` are as authorize left them.
    """

    counter_id: UUID
    limit: int | None
    held_minor: int
    used_minor: int
    reserved_minor: int

    @property
    def capacity_minor(self) -> int:
        """Return the most this lease may count: what it holds, and what is left."""
        limit = INT64_MAX if self.limit is None else self.limit
        return self.held_minor + max(0, limit - self.used_minor - self.reserved_minor)


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """Everything a settlement depends on, at the instant `at` (aware UTC).

    Amounts are canonical: what the whole quantity costs. `available_xusd` is what lots
    have beside the lease's own `held_xusd`, of which `void_xusd` was held on lots that
    pay nothing any more; the `budget` that the lease names holds the same. `unpriced`
    and `not_allowed` name meters; `zero_cost` says that the feature has no price or
    cost at all.
    """

    at: datetime
    feature_code: str
    lease_state: LeaseState
    expires_at: datetime
    grace: timedelta
    windows: Sequence[HeldWindow]
    billing_mode: BillingMode
    held_xusd: int
    available_xusd: int
    quantity_minor: int
    amount_xusd: int
    cost_xusd: int
    unpriced: Sequence[str] = ()
    not_allowed: Sequence[str] = ()
    zero_cost: bool = False
    budget: BudgetFact | None = None
    void_xusd: int = 0

    @property
    def purse_xusd(self) -> int:
        """Return the most that lots pay: what is held on them, and what is left.

        An open lease holds it.
        """
        return self.held_xusd - self.void_xusd + max(0, self.available_xusd)

    @property
    def budget_xusd(self) -> int:
        """Return the most that prepaid use may count on the budget, or 64 bits."""
        room_xusd = INT64_MAX if self.budget is None else self.budget.room_xusd
        return self.held_xusd + max(0, room_xusd)


@dataclass(frozen=True, slots=True)
class Take:
    """What a counter counts, and the reservation it gives up in return."""

    counter_id: UUID
    quantity_minor: int
    held_minor: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a commit applies, and why not all of it.

    `takes` is empty where the lease was not open any more: it holds nothing then.
    `budget_xusd` is what the budget consumes.
    """

    status: ApplicationStatus
    reasons: Sequence[str]
    hints: Sequence[Hint]
    late: bool
    takes: Sequence[Take]
    quantity_minor: int
    amount_xusd: int
    cost_xusd: int
    budget_xusd: int = 0


def settle(facts: CommitFacts) -> Settlement:
    """Return what the commit applies; the same for the same facts."""
    reasons, hints, quarantined = _flags(facts)
    late = facts.at > facts.expires_at
    if quarantined:
        takes = _takes(facts, 0) if facts.lease_state == "active" else ()
        return Settlement("quarantined", reasons, hints, late, takes, 0, 0, 0)
    asked = facts.quantity_minor
    fits = min(asked, *(window.capacity_minor for window in facts.windows))
    if fits < asked:
        hints.append({"type": "quota.remaining", "max_quantity_minor": fits})
    amount_xusd, lacking = _amount(facts, fits)
    clipped = fits < asked or amount_xusd < facts.amount_xusd
    if clipped:
        reasons.append("overshoot")
    budget_xusd, counted, told = budget_takes(
        facts.budget, facts.held_xusd, amount_xusd
    )
    reasons += counted
    hints += [*lacking, *told]
    return Settlement(
        status="applied_clipped" if clipped else "applied",
        reasons=reasons,
        hints=hints,
        late=late,
        takes=_takes(facts, asked),
        quantity_minor=fits,
        amount_xusd=amount_xusd,
        cost_xusd=facts.cost_xusd,
        budget_xusd=budget_xusd,
    )


def _flags(facts: CommitFacts) -> tuple[list[str], list[Hint], bool]:
    """Return reasons, hints, and whether the commit is quarantined."""
    reasons, hints = list[str](), list[Hint]()
    quarantined = False
    if facts.lease_state != "active":
        reasons.append("lease_closed_at_commit")
        hints.append({"type": "lease.closed_at_commit", "state": facts.lease_state})
        quarantined = True
    overdue = facts.at - facts.expires_at
    if overdue > timedelta(0):
        exceeded = overdue > facts.grace
        reasons.append("late_commit_exceeded" if exceeded else "late_commit")
        hints.append(_expired_hint(facts, overdue, exceeded=exceeded))
        quarantined |= exceeded
    for found, reason, hint in _misfits(facts):
        if found:
            reasons.append(reason)
            hints.append({**hint, "feature_code": facts.feature_code})
            quarantined |= reason != "pricing_not_configured" or not facts.zero_cost
    return reasons, hints, quarantined


def _misfits(facts: CommitFacts) -> list[tuple[bool, str, Hint]]:
    return [
        (
            not facts.windows,
            "policy_window_not_found",
            {"type": "policy.window_not_found"},
        ),
        (
            bool(facts.not_allowed),
            "meter_not_allowed_for_feature",
            {"type": "feature.meter_not_allowed", "meters": list(facts.not_allowed)},
        ),
        (
            bool(facts.unpriced),
            "pricing_not_configured",
            {"type": "pricing.not_configured", "meters": list(facts.unpriced)},
        ),
    ]


def _expired_hint(facts: CommitFacts, overdue: timedelta, *, exceeded: bool) -> Hint:
    millisecond = timedelta(milliseconds=1)
    return {
        "type": "lease.expired",
        "expires_at": format_instant(facts.expires_at),
        "delta_ms": overdue // millisecond,
        "grace_ms": facts.grace // millisecond,
        "exceeded_grace": exceeded,
    }


def _amount(facts: CommitFacts, fits_minor: int) -> tuple[int, list[Hint]]:
    """Return what is owed, and what purse lacks the rest."""
    if facts.billing_mode != "prepaid":
        return facts.amount_xusd, []
    share = facts.amount_xusd * fits_minor // facts.quantity_minor
    paid, hints = min(share, facts.purse_xusd), list[Hint]()
    if paid < facts.amount_xusd:
        missing = facts.amount_xusd - paid
        hints.append({"type": "funding.xusd_shortfall", "shortfall_xusd": missing})
    if facts.budget is not None and facts.budget_xusd < share:
        hints.append(budget_lacks(facts.budget, share - facts.budget_xusd))
    return min(paid, facts.budget_xusd), hints


def budget_takes(
    budget: BudgetFact | None, held_xusd: int, amount_xusd: int
) -> tuple[int, list[str], list[Hint]]:
    """Return what a budget consumes of an amount, with reasons and hints.

    `held_xusd` is what is held on it for the amount.
    """
    if budget is None:
        return 0, [], []
    # Its numbers have 64 bits; within them, no limit stops what is paid later.
    most = INT64_MAX - budget.consumed_xusd - budget.reserved_xusd + held_xusd
    consumed_xusd = min(amount_xusd, most)
    if consumed_xusd == 0:
        return 0, [], []
    if budget.limit_xusd is None:
        return consumed_xusd, ["budget_consumed"], []
    hints = list[Hint]()
    over = budget.consumed_xusd + consumed_xusd - budget.limit_xusd
    if over > 0:
        hints.append(budget_lacks(budget, over))
    left = max(0, budget.room_xusd + held_xusd - consumed_xusd)
    threshold = max(LOW_XUSD, min(2 * consumed_xusd, INT64_MAX))
    if left <= threshold:
        hints.append(_low(budget, left, threshold))
    reason = "budget_limit_exceeded" if over > 0 else "budget_consumed"
    return consumed_xusd, [reason], hints


def budget_lacks(budget: BudgetFact, missing_xusd: int) -> Hint:
    """Return the hint that a budget lacks an amount (10^-6 USD)."""
    return {
        "type": "budget.shortfall",
        "budget_id": str(budget.budget_id),
        "shortfall_xusd": missing_xusd,
    }


def _low(budget: BudgetFact, headroom_xusd: int, threshold_xusd: int) -> Hint:
    return {
        "type": "budget.low_headroom",
        "budget_id": str(budget.budget_id),
        "headroom_xusd": headroom_xusd,
        "threshold_xusd": threshold_xusd,
    }


def _takes(facts: CommitFacts, asked_minor: int) -> list[Take]:
    """Return what each counter takes: not the least that fits all, but its own."""
    return [
        Take(
            counter_id=window.counter_id,
            quantity_minor=min(asked_minor, window.capacity_minor),
            held_minor=window.held_minor,
            limit=window.limit,
        )
        for window in facts.windows
    ]
