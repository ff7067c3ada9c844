"""What if: recorded decisions, made again under a draft. Writes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from config.kernel.errors import Invalid
from config.tenancy.models import Realm
from gating.selectors.recorded import (
    Span,
    count_recorded,
    only_reading,
    recorded_decisions,
)
from gating.selectors.standing import Past, with_balances
from gating.simulation import (
    Draft,
    Mode,
    Recorded,
    Results,
    Simulation,
    Standing,
    redrafted,
)

LONGEST = timedelta(days=92)
MOST = 200_000
MOST_AT_ONCE = 10_000


class RangeTooLong(Invalid):
    """The range is empty, reversed, or longer than a simulation may be (422)."""

    default_code = "SIMULATION.RANGE_TOO_LONG"


class TooManyDecisions(Invalid):
    """More decisions are on record than a simulation may go through (422)."""

    default_code = "SIMULATION.TOO_MANY_DECISIONS"


@dataclass(slots=True)
class Run:
    """A simulation under way: `results` grow with each of its `steps`.

    `total` is how many decisions there are to make again.
    """

    realm: Realm
    draft: Draft
    span: Span
    mode: Mode
    total: int
    results: Results = field(default_factory=Results)

    def steps(self) -> Iterator[int]:
        """Make some decisions again at each step; yield how many are done by then.

        Nothing is done beyond the step that is asked for: who stops asking ends it.
        """
        with only_reading():
            known = not self.draft.changes_nothing
            past = Past.of(self.realm, self.span) if known else None
        simulation = Simulation(self.span.start, self.mode)
        done = 0
        for page in recorded_decisions(self.span):
            for recorded, standing in self._known_then(past, page):
                rules = redrafted(self.draft, recorded, standing)
                self.results.add(simulation.judge(recorded, rules))
            simulation.forget(page[-1].at)
            done += len(page)
            yield done

    def finish(self) -> Results:
        """Make all of them again; return what came of it."""
        for _done in self.steps():
            pass
        return self.results

    def _known_then(
        self, past: Past | None, page: Sequence[Recorded]
    ) -> Iterator[tuple[Recorded, Standing | None]]:
        """Yield each decision with what governed, and what the user had, as needed."""
        if past is None:
            yield from ((recorded, None) for recorded in page)
            return
        with only_reading():
            standings = past.standings(page)
            if self.draft.plan is not None:
                page = with_balances(self.realm.pk, page)
        yield from zip(page, standings, strict=True)


def begin_simulation(
    *, realm: Realm, draft: Draft, span: Span, mode: Mode, most: int = MOST
) -> Run:
    """Return the simulation of a draft over a span, not yet begun.

    Refuses a span of over 92 days (`RangeTooLong`), and over `most` decisions
    (`TooManyDecisions`).
    """
    if span.end <= span.start:
        raise Invalid("The range must end after it starts.", field="to")
    if span.end - span.start > LONGEST:
        raise RangeTooLong(
            f"A simulation goes through {LONGEST.days} days at most; this range has "
            f"{(span.end - span.start).days}.",
            field="to",
        )
    total = count_recorded(span, most=most)
    if total > most:
        raise TooManyDecisions(
            f"More than {most:,} decisions are on record in this range, which is the "
            "most that are gone through. Narrow it: by time, account or feature.",
            field="from",
        )
    return Run(realm, draft, span, mode, total)
