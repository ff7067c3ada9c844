"""Making recorded decisions again, in their order, under drafted rules. Pure.

Two modes. `replay` carries on what the draft's own verdicts take: an admission that
the draft denies holds and uses nothing that later decisions could miss, and one that
only the draft gives uses at once what it asked for. What a recorded commit used is
settled in both worlds as `gating.settle` says. `independent` judges each decision on
the numbers that it saw itself, and leaves out one that the draft needs others for.
"""

import heapq
import itertools
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gating.decide import decide
from gating.rules import Rules
from gating.simulation.recorded import Recorded
from gating.simulation.sights import sight_of
from gating.simulation.taking import (
    Held,
    Side,
    Terms,
    end,
    take_drafted,
    take_recorded,
)
from gating.simulation.worlds import Worlds

Mode = Literal["replay", "independent"]
NotJudged = Literal[
    "comes_out_otherwise", "plans_not_reconstructed", "numbers_not_recorded"
]


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision made again: as recorded, and under the draft.

    `not_judged` says why it was not decided under the draft; `would` then repeats
    `was`. `approximate`: a counter's window began before the simulation did, and no
    evidence tells what had been used by then.
    """

    recorded: Recorded
    was: Side
    would: Side
    not_judged: NotJudged | None = None
    approximate: bool = False

    @property
    def reproduced(self) -> bool:
        """Return whether the decision came out as recorded, without the draft."""
        return self.not_judged != "comes_out_otherwise"


@dataclass(slots=True)
class Simulation:
    """Decides again what it is fed, one recorded decision after the other.

    `start` is the instant from which decisions are fed, in order of time.
    """

    start: datetime
    mode: Mode = "replay"
    worlds: Worlds = field(default_factory=Worlds)
    _held: list[tuple[datetime, int, Held]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def judge(self, recorded: Recorded, rules: Rules | NotJudged | None) -> Judged:
        """Return the decision made again. Those before it were fed before.

        `rules` are those under the draft, or say why nobody knows them.
        """
        while self._held and self._held[0][0] <= recorded.at:
            end(self.worlds, heapq.heappop(self._held)[-1])
        facts = recorded.facts(recorded.rules, recorded.seen)
        was = facts, decide(recorded.ask, facts)
        if not recorded.agrees(was[1]):
            return Judged(recorded, was, was, "comes_out_otherwise")
        if isinstance(rules, str):
            return Judged(recorded, was, was, rules)
        sight = sight_of(self.worlds, recorded, facts, rules, start=self.start)
        if self.mode == "independent" and not sight.recorded:
            return Judged(recorded, was, was, "numbers_not_recorded")
        drafted = recorded.facts(rules, sight.seen)
        would = drafted, decide(recorded.ask, drafted)
        if self.mode == "replay":
            self._carry_on(recorded, was, would)
        return Judged(recorded, was, would, approximate=not sight.complete)

    def forget(self, before: datetime) -> None:
        """Drop what no decision at `before` or later reads."""
        self.worlds.forget(before)

    def _carry_on(self, recorded: Recorded, was: Side, would: Side) -> None:
        """Take what each world's verdict takes; an admission of both ends as it did."""
        if recorded.admitted:
            take_recorded(self.worlds, recorded, was)
        if would[1].allowed:
            take_drafted(self.worlds, recorded, would)
        if recorded.admitted and recorded.ended is not None:
            drafted = Terms.of(would) if would[1].allowed else None
            held = Held(recorded.user_id, recorded.ended, Terms.of(was), drafted)
            place = recorded.ended.at, next(self._numbers), held
            heapq.heappush(self._held, place)
