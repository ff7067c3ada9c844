"""What came of a simulation: counts per account and feature, and examples. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from gating.explanations import explain
from gating.simulation.judging import Judged

Flip = Literal["admitted_to_denied", "denied_to_admitted"]
EXAMPLES = 3
"""Examples kept of each flip in each group."""


@dataclass(frozen=True, slots=True)
class Example:
    """A decision that comes out otherwise, and both verdicts in a sentence."""

    decision_id: UUID
    at: datetime
    user_id: UUID
    flip: Flip
    reason: str
    was: str
    would: str


@dataclass(slots=True)
class Counts:
    """How many decisions came out how.

    `decisions` counts every one on record, `judged` those that were decided under the
    draft. `reasons` are of the denials on either side of a flip: the draft's, or the
    one it lifts. `approximate` counts the judged ones whose numbers are incomplete.
    """

    decisions: int = 0
    judged: int = 0
    reproduced: int = 0
    approximate: int = 0
    admitted_to_denied: int = 0
    denied_to_admitted: int = 0
    denied_otherwise: int = 0
    reasons: dict[Flip, Counter[str]] = field(
        default_factory=lambda: {
            "admitted_to_denied": Counter(),
            "denied_to_admitted": Counter(),
        }
    )

    @property
    def flips(self) -> int:
        """Return how many verdicts flip."""
        return self.admitted_to_denied + self.denied_to_admitted

    def count(self, judged: Judged, flip: Flip | None) -> None:
        """Count one decision, and those that were only counted beside it."""
        self.decisions += judged.recorded.times
        self.reproduced += judged.reproduced
        if judged.not_judged is not None:
            return
        self.judged += 1
        self.approximate += judged.approximate
        if flip is not None:
            self.reasons[flip][_reason(judged)] += 1
            self.admitted_to_denied += flip == "admitted_to_denied"
            self.denied_to_admitted += flip == "denied_to_admitted"
        elif not judged.recorded.admitted:
            self.denied_otherwise += _reason_under_draft(judged) != _reason(judged)


@dataclass(slots=True)
class Group:
    """The decisions of one account on one feature ("": a feature nobody has)."""

    account_id: UUID
    feature_code: str
    counts: Counts = field(default_factory=Counts)
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Results:
    """All decisions, and those of each account and feature.

    `not_judged` and `not_reproduced` count decisions by why they were not.
    """

    total: Counts = field(default_factory=Counts)
    not_judged: Counter[str] = field(default_factory=Counter)
    not_reproduced: Counter[str] = field(default_factory=Counter)
    groups: dict[tuple[UUID, str], Group] = field(default_factory=dict)

    def add(self, judged: Judged) -> None:
        """Count a decision."""
        recorded, flip = judged.recorded, flip_of(judged)
        if recorded.times > 1:
            self.not_judged["counted_only"] += recorded.times - 1
            self.not_reproduced["counted_only"] += recorded.times - 1
        if judged.not_judged is not None:
            self.not_judged[judged.not_judged] += 1
        if not judged.reproduced:
            self.not_reproduced["comes_out_otherwise"] += 1
        code = recorded.ask.feature_code if recorded.rules else ""
        key = recorded.account_id, code
        group = self.groups.setdefault(key, Group(*key))
        self.total.count(judged, flip)
        group.counts.count(judged, flip)
        if flip is not None and _kept(group.examples, flip) < EXAMPLES:
            group.examples.append(_example(judged, flip))

    def ranked(self) -> list[Group]:
        """Return the groups, those with the most flips first."""
        return sorted(
            self.groups.values(),
            key=lambda group: (
                -group.counts.flips,
                -group.counts.decisions,
                group.account_id,
                group.feature_code,
            ),
        )


def flip_of(judged: Judged) -> Flip | None:
    """Return how the verdict flips, None where it stays yes or no."""
    would = judged.would[1].allowed
    if judged.not_judged is not None or judged.recorded.admitted == would:
        return None
    return "denied_to_admitted" if would else "admitted_to_denied"


def _reason_under_draft(judged: Judged) -> str:
    denial = judged.would[1].denial
    return denial.reason if denial else ""


def _reason(judged: Judged) -> str:
    """Return the recorded denial's reason, the draft's where it was an admission."""
    return judged.recorded.reason or _reason_under_draft(judged)


def _kept(examples: Sequence[Example], flip: Flip) -> int:
    return sum(example.flip == flip for example in examples)


def _example(judged: Judged, flip: Flip) -> Example:
    recorded = judged.recorded
    return Example(
        decision_id=recorded.decision_id,
        at=recorded.at,
        user_id=recorded.user_id,
        flip=flip,
        reason=_reason(judged),
        was=explain(recorded.ask, judged.was[0]).headline,
        would=explain(recorded.ask, judged.would[0]).headline,
    )
