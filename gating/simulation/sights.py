"""What a decision would have seen in the drafted world. Pure."""

from dataclasses import dataclass
from datetime import datetime

from gating.facts import Facts
from gating.projection import PolicyFact, counter_of, seats_window
from gating.rules import Rules, Seen
from gating.simulation.recorded import Recorded
from gating.simulation.worlds import Pair, SeatsKey, Worlds


@dataclass(frozen=True, slots=True)
class Sight:
    """The numbers under the draft.

    `recorded` says that the decision saw all of these counters itself; `complete` that
    what they began with is known, or their windows are no older than the simulation.
    """

    seen: Seen
    recorded: bool = True
    complete: bool = True


def sight_of(
    worlds: Worlds,
    recorded: Recorded,
    facts: Facts,
    rules: Rules | None,
    *,
    start: datetime,
) -> Sight:
    """Return what the decision would have seen under `rules`; note what it did see.

    `facts` are the recorded ones, `start` is when the simulation began.
    """
    if rules is None or recorded.rules is None:
        return Sight(recorded.seen)
    for window in (*facts.quotas, *facts.rates):
        worlds.tell(window.counter, (window.used_minor, window.reserved_minor))
    looks = [
        _at_seats(worlds, recorded, facts, policy)
        if policy.kind == "seats"
        else _at_counter(worlds, recorded, facts, policy)
        for policy in rules.policies
    ]
    return Sight(
        Seen(
            tuple(look.pair for look in looks),
            _available(worlds, recorded, rules),
            worlds.budget(recorded.seen.budget),
        ),
        recorded=all(look.recorded for look in looks),
        complete=all(look.known or look.began >= start for look in looks),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """One pair of numbers: seen by the decision itself, known from others, or new."""

    pair: Pair
    recorded: bool
    known: bool
    began: datetime


def _at_counter(
    worlds: Worlds, recorded: Recorded, facts: Facts, policy: PolicyFact
) -> _Look:
    counter = counter_of(
        policy,
        feature_code=recorded.ask.feature_code,
        account_id=recorded.account_id,
        user_id=recorded.user_id,
        at=recorded.at,
    )
    return _Look(
        worlds.drafted(counter),
        any(window.counter == counter for window in (*facts.quotas, *facts.rates)),
        worlds.knows(counter),
        counter.window_start,
    )


def _at_seats(
    worlds: Worlds, recorded: Recorded, facts: Facts, policy: PolicyFact
) -> _Look:
    start, _end = seats_window(policy, recorded.at)
    place: SeatsKey = (
        recorded.account_id,
        policy.feature_code,
        policy.counter_key,
        start,
    )
    seen = next(
        (
            (seats.taken, int(seats.holds))
            for seats in facts.seats
            if (seats.scope_code, seats.key, seats.window_start) == place[1:]
        ),
        None,
    )
    pair = worlds.seats_of(place).pair(seen or (0, 0), recorded.user_id)
    return _Look(pair, seen is not None, seen is not None, start)


def _available(worlds: Worlds, recorded: Recorded, rules: Rules) -> int:
    """Return what the user's balance would have; 0 where none decides."""
    then = recorded.rules
    if then is None or rules.billing_mode != "prepaid" or rules.zero_cost:
        return 0
    saw = then.billing_mode == "prepaid" and not then.zero_cost
    found = recorded.seen.available_xusd if saw else recorded.balance_xusd or 0
    return found - worlds.owed(recorded.user_id)
