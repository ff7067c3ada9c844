"""What admissions and their ends take, in the recorded world and the drafted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from gating.decide import held_minor
from gating.facts import BillingMode, BudgetFact, CounterKey, Facts, least_limits
from gating.settle import CommitFacts, HeldWindow, Settlement, settle
from gating.simulation.recorded import Ended, Recorded
from gating.simulation.worlds import Pair, Worlds
from gating.verdicts import Verdict

Side = tuple[Facts, Verdict]
"""A decision in one world: what was known, and what was said."""

QuotaWindow = tuple[CounterKey, int | None, int]
"""A quota counter of a lease: its limit (None: unlimited), and the quantity held."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an admission holds in one world, until it ends.

    `wallet_xusd` is held on the balance, and on the `budget` that was named.
    """

    windows: tuple[QuotaWindow, ...]
    wallet_xusd: int
    billing_mode: BillingMode
    zero_cost: bool
    budget: BudgetFact | None

    @classmethod
    def of(cls, side: Side) -> "Terms":
        """Return what an admission holds."""
        facts, verdict = side
        held = {hold.counter: hold.quantity_minor for hold in verdict.holds}
        limits = least_limits(facts.quotas)
        return cls(
            tuple((key, limit, held.get(key, 0)) for key, limit in limits.items()),
            verdict.wallet_xusd,
            facts.funding.billing_mode,
            facts.funding.zero_cost,
            facts.budget,
        )

    def held_windows(self, states: Sequence[Pair]) -> list[HeldWindow]:
        """Return the windows as a commit sees them; `states` are of their counters."""
        return [
            HeldWindow(UUID(int=place), limit, held, *states[place])
            for place, (_, limit, held) in enumerate(self.windows)
        ]


@dataclass(frozen=True, slots=True)
class Held:
    """A lease until its end: what it holds in each world, None where it is denied."""

    user_id: UUID
    ended: Ended
    recorded: Terms
    drafted: Terms | None


def take_recorded(worlds: Worlds, recorded: Recorded, side: Side) -> None:
    """Take what the recorded admission took."""
    facts, verdict = side
    for hold in verdict.holds:
        worlds.take(hold.counter, recorded=(0, hold.quantity_minor))
    for hold in verdict.increments:
        worlds.take(hold.counter, recorded=(hold.quantity_minor, 0))
    for seats in verdict.seats:
        place = recorded.account_id, seats.scope_code, seats.key, seats.window_start
        worlds.seats_of(place).recorded.add(recorded.user_id)
    worlds.pay(recorded.user_id, recorded=verdict.wallet_xusd)
    worlds.spend(facts.budget, recorded=(0, verdict.wallet_xusd))


def take_drafted(worlds: Worlds, recorded: Recorded, side: Side) -> None:
    """Take what the draft's admission takes.

    Where the recorded world denied, nobody knows what would have been used: what was
    asked for counts as committed at once.
    """
    facts, verdict = side
    for hold in verdict.holds:
        worlds.take(hold.counter, drafted=(0, hold.quantity_minor))
    for hold in verdict.increments:
        worlds.take(hold.counter, drafted=(hold.quantity_minor, 0))
    for seats in verdict.seats:
        place = recorded.account_id, seats.scope_code, seats.key, seats.window_start
        worlds.seats_of(place).drafted.add(recorded.user_id)
    worlds.pay(recorded.user_id, drafted=verdict.wallet_xusd)
    worlds.spend(facts.budget, drafted=(0, verdict.wallet_xusd))
    asked = held_minor(recorded.ask)
    if not recorded.admitted and asked:
        terms = Terms.of(side)
        commit = _at_once(worlds, facts, terms, asked)
        _end_drafted(worlds, recorded.user_id, terms, commit)


def _at_once(
    worlds: Worlds, facts: Facts, terms: Terms, asked_minor: int
) -> CommitFacts:
    """Return the commit of all that was asked for, as soon as it was admitted."""
    funding, budget = facts.funding, facts.budget
    price = None if funding.zero_cost else funding.price
    if budget is not None:
        held_xusd = budget.reserved_xusd + terms.wallet_xusd
        budget = replace(budget, reserved_xusd=held_xusd)
    return CommitFacts(
        at=facts.at,
        feature_code=facts.feature.feature_code if facts.feature else "",
        lease_state="active",
        expires_at=facts.at,
        grace=timedelta(0),
        windows=terms.held_windows([worlds.drafted(key) for key, *_ in terms.windows]),
        billing_mode=terms.billing_mode,
        held_xusd=terms.wallet_xusd,
        available_xusd=max(0, funding.available_xusd - terms.wallet_xusd),
        quantity_minor=asked_minor,
        amount_xusd=price.at_most(asked_minor) if price else 0,
        cost_xusd=0,
        budget=budget,
    )


def end(worlds: Worlds, held: Held) -> None:
    """Give back what a lease held, and take what its commit used, in each world."""
    commit, terms = held.ended.commit, held.recorded
    if commit is not None and len(commit.windows) == len(terms.windows):
        for (key, _, _), window in zip(terms.windows, commit.windows, strict=True):
            worlds.tell(key, (window.used_minor, window.reserved_minor))
    drafted = _drafted(worlds, held, commit) if commit else None
    settlement = settle(commit) if commit else None
    for (key, _, quantity), used in _taken(terms, settlement):
        worlds.take(key, recorded=(used, -quantity))
    funded, consumed = _paid(commit, settlement)
    worlds.pay(held.user_id, recorded=funded - terms.wallet_xusd)
    worlds.spend(terms.budget, recorded=(consumed, -terms.wallet_xusd))
    if held.drafted is not None:
        _end_drafted(worlds, held.user_id, held.drafted, drafted)


def _end_drafted(
    worlds: Worlds, user_id: UUID, terms: Terms, commit: CommitFacts | None
) -> None:
    settlement = settle(commit) if commit else None
    for (key, _, quantity), used in _taken(terms, settlement):
        worlds.take(key, drafted=(used, -quantity))
    funded, consumed = _paid(commit, settlement)
    worlds.pay(user_id, drafted=funded - terms.wallet_xusd)
    worlds.spend(terms.budget, drafted=(consumed, -terms.wallet_xusd))


def _drafted(worlds: Worlds, held: Held, commit: CommitFacts) -> CommitFacts | None:
    """Return what a recorded commit would have been settled on."""
    terms = held.drafted
    if terms is None:
        return None
    states = [worlds.drafted(key) for key, _, _ in terms.windows]
    return replace(
        commit,
        windows=terms.held_windows(states),
        billing_mode=terms.billing_mode,
        zero_cost=terms.zero_cost,
        held_xusd=terms.wallet_xusd,
        available_xusd=max(0, commit.available_xusd - worlds.owed(held.user_id)),
        budget=worlds.budget(commit.budget),
    )


def _taken(
    terms: Terms, settlement: Settlement | None
) -> Sequence[tuple[QuotaWindow, int]]:
    """Return each window of the lease with what the commit used of it."""
    takes = [take.quantity_minor for take in settlement.takes] if settlement else []
    takes += [0] * (len(terms.windows) - len(takes))
    return list(zip(terms.windows, takes, strict=False))


def _paid(commit: CommitFacts | None, settlement: Settlement | None) -> Pair:
    """Return what the balance pays of a settlement, and what its budget consumes."""
    if commit is None or settlement is None:
        return 0, 0
    return min(settlement.amount_xusd, commit.purse_xusd), settlement.budget_xusd
