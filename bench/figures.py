"""The figures of a run: percentiles, medians over rounds, and how they are shown."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

NANOSECONDS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        operations: how many were completed; of a batch each item counts.
        seconds: from the first request to the last answer.
        latencies_ns: one per request, in nanoseconds.
        errors: how many answers were not the expected ones.
        generator_cpu: the share of one core that the load generator itself used,
            0 to 1, None where it was another program.
        first_error: the first answer that was not expected, shortened.

    """

    operations: int
    seconds: float
    latencies_ns: Sequence[int] = field(repr=False)
    errors: int = 0
    generator_cpu: float | None = None
    first_error: str | None = None

    @property
    def per_second(self) -> float:
        """Return the operations per second."""
        return self.operations / self.seconds if self.seconds else 0.0


def percentile_ms(latencies_ns: Sequence[int], percent: float) -> float | None:
    """Return the latency in ms that `percent` of all do not exceed; None of none.

    By the nearest rank: one of the latencies that were measured, never one between.
    """
    if not latencies_ns:
        return None
    ordered = sorted(latencies_ns)
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return ordered[rank - 1] / NANOSECONDS_PER_MS


@dataclass(frozen=True, slots=True)
class Row:
    """What is told of one subject at one number of connections.

    `ratio_to_floor` compares with the floor at as many connections, the hot floor for
    a hot subject. An absent subject is one that the server does not know.
    """

    name: str
    connections: int
    accounts: int
    per_second: float | None
    p50_ms: float | None
    p99_ms: float | None
    ratio_to_floor: float | None
    errors: int
    generator_cpu: float | None
    absent: bool = False

    def as_json(self) -> str:
        """Return the row as one line of JSON."""
        return json.dumps(asdict(self))


def row_of(
    name: str, connections: int, accounts: int, samples: Sequence[Sample]
) -> Row:
    """Return the medians of a subject's rounds; without any it is absent."""
    if not samples:
        return Row(
            name, connections, accounts, None, None, None, None, 0, None, absent=True
        )
    shares = [s.generator_cpu for s in samples if s.generator_cpu is not None]
    return Row(
        name,
        connections,
        accounts,
        per_second=round(median(sample.per_second for sample in samples), 1),
        p50_ms=_median_ms(samples, 50),
        p99_ms=_median_ms(samples, 99),
        ratio_to_floor=None,
        errors=sum(sample.errors for sample in samples),
        generator_cpu=round(median(shares), 3) if shares else None,
    )


def _median_ms(samples: Sequence[Sample], percent: float) -> float | None:
    found = [percentile_ms(sample.latencies_ns, percent) for sample in samples]
    known = [value for value in found if value is not None]
    return round(median(known), 3) if known else None


def ratio(row: Row, floors: Mapping[tuple[str, int], float]) -> float | None:
    """Return a row's operations per second as a part of its floor's."""
    name = "floor_hot" if row.name.endswith("_hot") else "floor"
    floor = floors.get((name, row.connections))
    if not floor or row.per_second is None:
        return None
    return round(row.per_second / floor, 3)


HEAD = ("row", "connections", "per second", "p50 ms", "p99 ms", "of floor", "errors",
        "generator")  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, which reads well as it is."""
    lines = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]

    def written(cells: Sequence[str]) -> str:
        name = cells[0].ljust(widths[0])
        rest = [c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([name, *rest])} |"

    marks = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    body = [written(line) for line in lines]
    return "\n".join([body[0], f"| {' | '.join(marks)} |", *body[1:]])


def _cells(row: Row) -> Sequence[str]:
    if row.absent:
        return (row.name, str(row.connections), "absent", *[""] * (len(HEAD) - 3))
    return (
        row.name,
        str(row.connections),
        f"{row.per_second:,.0f}",
        _number(row.p50_ms, ".2f"),
        _number(row.p99_ms, ".2f"),
        _number(row.ratio_to_floor, ".3f"),
        str(row.errors),
        _number(row.generator_cpu, ".0%"),
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
