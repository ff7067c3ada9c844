"""The rounds: every subject in turn, again and again, so that noise hits all alike."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bench import floor
from bench.figures import Row, Sample, percentile_ms, ratio, row_of
from bench.generator import measure
from bench.options import Options
from bench.subjects import SUBJECTS, Caller, Subject

HOT = "_hot"
FLOOR, FUNCTION = "floor", "function"
NAMES = tuple(
    name + suffix
    for suffix in ("", HOT)
    for name in (FLOOR, FUNCTION, *(subject.name for subject in SUBJECTS))
)
WARM_UP = 4
"""Requests per connection before the first round: they tell about how many fit."""

HEADROOM = 1.5
"""More requests are built than fitted before, so that none is missing at the end."""

Place = tuple[str, int]
"""A subject's name and a number of connections."""


@dataclass(slots=True)
class Rounds:
    """The measurements of a run, and what they came to so far.

    `variables` are what the pgbench script of `function` may name; `go_on` says,
    between measurements, whether to; `tell` is told what is being measured.
    """

    options: Options
    caller: Caller
    variables: dict[str, str | int]
    go_on: Callable[[], bool]
    tell: Callable[[str], None]
    samples: dict[Place, list[Sample]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rates: dict[Place, float] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def measure(self) -> None:
        """Take every round, unless told not to go on."""
        places = list(self._places())
        if any(_subject(name) for name, _ in places):
            self.tell("each customer once, untimed")
            self.caller.call_each()
        for name, connections in places:
            self.tell(f"warm-up: {name} at {connections}")
            if not self.go_on():
                return
            self._warm_up(name, connections)
        for number in range(1, self.options.rounds + 1):
            for name, connections in places:
                if not self.go_on():
                    return
                self.tell(f"round {number}: {name} at {connections}")
                self._take(name, connections)

    def rows(self) -> Sequence[Row]:
        """Return the medians, with each row's part of the floor of this run."""
        rows = [
            row_of(
                name,
                connections,
                self.options.accounts,
                self.samples[name, connections],
            )
            for name in NAMES
            if self._wanted(name)
            for connections in self.options.connections
        ]
        floors = {
            (row.name, row.connections): row.per_second
            for row in rows
            if row.name in {FLOOR, FLOOR + HOT} and row.per_second
        }
        return [replace(row, ratio_to_floor=ratio(row, floors)) for row in rows]

    def is_absent(self, name: str) -> bool:
        """Return whether there is nothing to measure under that name."""
        if name.removesuffix(HOT) == FUNCTION:
            return not floor.has_statement(floor.FUNCTION)
        subject = _subject(name)
        return subject is not None and subject.path in self.caller.absent

    def _places(self) -> Iterator[Place]:
        for connections in self.options.connections:
            for name in NAMES:
                if self._wanted(name) and not self.is_absent(name):
                    yield name, connections

    def _wanted(self, name: str) -> bool:
        only = self.options.only
        return not only or name in only or name.removesuffix(HOT) == FLOOR

    def _warm_up(self, name: str, connections: int) -> None:
        subject = _subject(name)
        if subject is None:
            return
        load = subject.load(self.caller, WARM_UP * connections, name.endswith(HOT))
        sample, _ = measure(
            self.caller.port,
            load,
            connections=connections,
            seconds=self.options.seconds,
        )
        self._note(name, connections, sample)

    def _take(self, name: str, connections: int) -> None:
        subject = _subject(name)
        if subject is None:
            sample = self._pgbench(name, connections)
        else:
            rate = self.rates.get((name, connections), 0)
            fitting = int(rate * self.options.seconds * HEADROOM) + 2 * connections
            load = subject.load(self.caller, fitting, name.endswith(HOT))
            sample, _ = measure(
                self.caller.port,
                load,
                connections=connections,
                seconds=self.options.seconds,
            )
        self._note(name, connections, sample)
        self.samples[name, connections].append(sample)

    def _pgbench(self, name: str, connections: int) -> Sample:
        script = floor.SCRIPTS / "floor.sql"
        if name.removesuffix(HOT) == FUNCTION:
            script = floor.FUNCTION
        # Number 0 is the first customer, whose ids are not like the others'.
        last = 1 if name.endswith(HOT) else self.options.called - 1
        return floor.pgbench(
            script,
            connections=connections,
            seconds=self.options.seconds,
            variables={**self.variables, "first": 1, "last": last},
        )

    def _note(self, name: str, connections: int, sample: Sample) -> None:
        """Remember how many requests fit in a second, and the first wrong answer."""
        # By the median: the first ones of all wait for connections and caches.
        typical_ms = percentile_ms(sample.latencies_ns, 50)
        requests = 1000 * connections / typical_ms if typical_ms else 0
        known = self.rates.get((name, connections), 0)
        self.rates[name, connections] = max(known, requests)
        if sample.errors and sample.first_error:
            self.wrong.setdefault(name, sample.first_error)


def _subject(name: str) -> Subject | None:
    plain = name.removesuffix(HOT)
    return next((s for s in SUBJECTS if s.name == plain), None)
