"""What admissions and their ends take, in the recorded world and the drafted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from gating.decide import held_minor
from gating.facts import BillingMode, CounterKey, Facts, least_limits
from gating.settle import CommitFacts, HeldWindow, Settlement, settle
from gating.simulation.recorded import Ended, Recorded
from gating.simulation.worlds import Worlds
from gating.verdicts import Verdict

Side = tuple[Facts, Verdict]
"""A decision in one world: what was known, and what was said."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an admission holds in one world, until it ends.

    `windows` are its quota counters: limit (None: unlimited) and quantity held.
    """

    windows: tuple[tuple[CounterKey, int | None, int], ...]
    wallet_xusd: int
    billing_mode: BillingMode
    zero_cost: bool

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
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A lease until its end: what it holds in each world, None where it is denied."""

    user_id: UUID
    ended: Ended
    recorded: Terms
    drafted: Terms | None


def take_recorded(worlds: Worlds, recorded: Recorded, side: Side) -> None:
    """Take what the recorded admission took."""
    verdict = side[1]
    for hold in verdict.holds:
        worlds.take(hold.counter, recorded=(0, hold.quantity_minor))
    for hold in verdict.increments:
        worlds.take(hold.counter, recorded=(hold.quantity_minor, 0))
    for seats in verdict.seats:
        place = recorded.account_id, seats.scope_code, seats.key, seats.window_start
        worlds.seats_of(place).recorded.add(recorded.user_id)
    worlds.pay(recorded.user_id, recorded=verdict.wallet_xusd)


def take_drafted(worlds: Worlds, recorded: Recorded, side: Side) -> None:
    """Take what the draft's admission takes.

    Where the recorded world denied, nobody knows what would have been used: what was
    asked for counts as used at once.
    """
    facts, verdict = side
    for hold in verdict.increments:
        worlds.take(hold.counter, drafted=(hold.quantity_minor, 0))
    for seats in verdict.seats:
        place = recorded.account_id, seats.scope_code, seats.key, seats.window_start
        worlds.seats_of(place).drafted.add(recorded.user_id)
    worlds.pay(recorded.user_id, drafted=verdict.wallet_xusd)
    if recorded.admitted:
        for hold in verdict.holds:
            worlds.take(hold.counter, drafted=(0, hold.quantity_minor))
        return
    terms = Terms.of(side)
    states = {w.counter: (w.used_minor, w.reserved_minor) for w in facts.quotas}
    for key, limit, held in terms.windows:
        used, reserved = states[key]
        window = HeldWindow(UUID(int=0), limit, held, used, reserved + held)
        used_up = min(held_minor(recorded.ask), window.capacity_minor)
        worlds.take(key, drafted=(used_up, 0))


def end(worlds: Worlds, held: Held) -> None:
    """Give back what a lease held, and take what its commit used, in each world."""
    commit = held.ended.commit
    if commit is not None and len(commit.windows) == len(held.recorded.windows):
        for (key, _, _), window in zip(
            held.recorded.windows, commit.windows, strict=True
        ):
            worlds.tell(key, (window.used_minor, window.reserved_minor))
    drafted = None if commit is None else _drafted(worlds, held, commit)
    recorded = None if commit is None else settle(commit)
    worlds.pay(held.user_id, recorded=-held.recorded.wallet_xusd)
    for (key, _, quantity), used in _taken(held.recorded, recorded):
        worlds.take(key, recorded=(used, -quantity))
    if commit is not None and recorded is not None:
        worlds.pay(held.user_id, recorded=_funded(commit, recorded))
    if held.drafted is None:
        return
    for (key, _, quantity), used in _taken(held.drafted, drafted and drafted[1]):
        worlds.take(key, drafted=(used, -quantity))
    worlds.pay(held.user_id, drafted=-held.drafted.wallet_xusd)
    if drafted is not None:
        worlds.pay(held.user_id, drafted=_funded(*drafted))


def _drafted(
    worlds: Worlds, held: Held, commit: CommitFacts
) -> tuple[CommitFacts, Settlement] | None:
    """Return what the commit would have been settled on, and how."""
    terms = held.drafted
    if terms is None:
        return None
    facts = replace(
        commit,
        windows=[
            HeldWindow(UUID(int=place), limit, quantity, *worlds.drafted(key))
            for place, (key, limit, quantity) in enumerate(terms.windows)
        ],
        billing_mode=terms.billing_mode,
        zero_cost=terms.zero_cost,
        held_xusd=terms.wallet_xusd,
        available_xusd=max(0, commit.available_xusd - worlds.owed(held.user_id)),
    )
    return facts, settle(facts)


def _taken(
    terms: Terms, settlement: Settlement | None
) -> Sequence[tuple[tuple[CounterKey, int | None, int], int]]:
    """Return each window of the lease with what the commit used of it."""
    takes = [take.quantity_minor for take in settlement.takes] if settlement else []
    takes += [0] * (len(terms.windows) - len(takes))
    return list(zip(terms.windows, takes, strict=False))


def _funded(commit: CommitFacts, settlement: Settlement) -> int:
    """Return what the balance pays of a settlement."""
    return min(settlement.amount_xusd, commit.available_xusd + commit.held_xusd)
