"""What came of a simulation, as the wire shows it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self
from uuid import UUID

from config.api.streams import FailedLine
from config.api.wire import Id, Instant, WireModel
from gating.selectors.names import account_names, user_names
from gating.services.simulations import Run
from gating.simulation import Counts, Example, Flip, Group, Mode

SHOWN = 1000
"""Groups that an answer of one document holds; lines hold all of them."""
_AT_ONCE = 200


class ReasonsOut(WireModel):
    """Flips by the reason of the denial: the draft's, or the one that it lifts."""

    admitted_to_denied: dict[str, int]
    denied_to_admitted: dict[str, int]


class CountsOut(WireModel):
    """How many decisions came out how."""

    decisions: int
    judged: int
    reproduced: int
    approximate: int
    admitted_to_denied: int
    denied_to_admitted: int
    denied_otherwise: int
    reasons: ReasonsOut


class FlipOut(WireModel):
    """A decision that comes out otherwise, and both verdicts in a sentence."""

    decision_id: Id
    decided_at: Instant
    user_id: str
    flip: Flip
    reason: str
    was: str
    would: str

    @classmethod
    def of(cls, example: Example, users: Mapping[UUID, str]) -> Self:
        """Return the wire form of an example."""
        return cls(
            decision_id=example.decision_id,
            decided_at=example.at,
            user_id=users.get(example.user_id, ""),
            flip=example.flip,
            reason=example.reason,
            was=example.was,
            would=example.would,
        )


class GroupOut(CountsOut):
    """The decisions of one account on one feature, with up to three of each flip."""

    billing_account_id: Id
    principal_id: str
    feature_code: str
    examples: list[FlipOut]


class SummaryOut(CountsOut):
    """All decisions of the range; those left out by why they were."""

    mode: Mode
    window_start: Instant
    window_end: Instant
    not_reproduced: dict[str, int]
    not_judged: dict[str, int]


class SimulationOut(SummaryOut):
    """A simulation in one document: the accounts and features with most flips first."""

    groups: list[GroupOut]
    groups_left_off: int


class ProgressLine(WireModel):
    """How far it is, and what flipped so far."""

    type: Literal["progress"]
    done: int
    total: int
    admitted_to_denied: int
    denied_to_admitted: int


class GroupLine(WireModel):
    """One account and feature."""

    type: Literal["group"]
    group: GroupOut


class SummaryLine(WireModel):
    """The last line of an answer that is complete."""

    type: Literal["summary"]
    summary: SummaryOut


Line = ProgressLine | GroupLine | SummaryLine | FailedLine
"""One line of an answer in JSON lines."""


def counted(counts: Counts) -> dict[str, Any]:
    """Return counts as the fields of their wire form."""
    numbers = {
        name: getattr(counts, name)
        for name in CountsOut.model_fields
        if name != "reasons"
    }
    return {**numbers, "reasons": ReasonsOut(**counts.reasons)}


def summarized(run: Run) -> dict[str, Any]:
    """Return a finished simulation as the fields of its summary."""
    results = run.results
    return {
        **counted(results.total),
        "mode": run.mode,
        "window_start": run.span.start,
        "window_end": run.span.end,
        "not_reproduced": dict(results.not_reproduced),
        "not_judged": dict(results.not_judged),
    }


def grouped(groups: Sequence[Group]) -> Iterator[GroupOut]:
    """Yield groups in their wire form, looking their names up some at a time."""
    for start in range(0, len(groups), _AT_ONCE):
        page = groups[start : start + _AT_ONCE]
        accounts = account_names({group.account_id for group in page})
        users = user_names({each.user_id for group in page for each in group.examples})
        for group in page:
            yield GroupOut(
                **counted(group.counts),
                billing_account_id=group.account_id,
                principal_id=accounts.get(group.account_id, ""),
                feature_code=group.feature_code,
                examples=[FlipOut.of(each, users) for each in group.examples],
            )


def document_of(run: Run) -> SimulationOut:
    """Return a simulation in one document."""
    groups = run.finish().ranked()
    return SimulationOut(
        **summarized(run),
        groups=list(grouped(groups[:SHOWN])),
        groups_left_off=max(0, len(groups) - SHOWN),
    )


def lines_of(run: Run) -> Iterator[Line]:
    """Yield a simulation as it goes on: progress, then the groups, then the summary."""
    for done in run.steps():
        total = run.results.total
        yield ProgressLine(
            type="progress",
            done=done,
            total=run.total,
            admitted_to_denied=total.admitted_to_denied,
            denied_to_admitted=total.denied_to_admitted,
        )
    for group in grouped(run.results.ranked()):
        yield GroupLine(type="group", group=group)
    yield SummaryLine(type="summary", summary=SummaryOut(**summarized(run)))
