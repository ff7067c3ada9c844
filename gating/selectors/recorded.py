"""The decisions on record of a time, in their order, a few hundred at a time.

Each statement runs in a short transaction of its own that may only read: a long
simulation keeps no snapshot and no lock, and cannot write.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.models import Model, QuerySet

from gating.answers import Committed, commit_facts
from gating.evidence import read_ask, read_facts
from gating.models import Denial, Lease, LeaseState, Rating, RuleSet
from gating.rules import Rules, read_rules
from gating.selectors.decisions import asked_and_seen
from gating.settle import CommitFacts
from gating.simulation import Ended, Recorded, rules_of

AT_ONCE = 500
_REMEMBERED = 4096


@contextmanager
def only_reading() -> Iterator[None]:
    """Let nothing be written inside: the database refuses it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield


@dataclass(frozen=True, slots=True)
class Span:
    """Which decisions: of a realm, from `start` up to, and not including, `end`."""

    realm_id: str
    start: datetime
    end: datetime
    account_id: UUID | None = None
    feature_code: str | None = None

    def of(self, model: type[Model], instant: str) -> QuerySet[Any]:
        """Return the rows of the span, whose time is the column `instant`."""
        where: dict[str, Any] = {
            "realm_id": self.realm_id,
            f"{instant}__gte": self.start,
            f"{instant}__lt": self.end,
        }
        if self.account_id is not None:
            where["account_id"] = self.account_id
        if self.feature_code is not None:
            where["feature_code"] = self.feature_code
        return model._default_manager.filter(**where)


def count_recorded(span: Span, *, most: int) -> int:
    """Return how many decisions are on record, counting no further than `most` + 1.

    Denials that were only counted beside the first of their minute are not among them.
    """
    with only_reading():
        leases = span.of(Lease, "authorized_at")[: most + 1].count()
        left = most + 1 - leases
        return leases + (span.of(Denial, "first_at")[:left].count() if left else 0)


def recorded_decisions(
    span: Span, *, at_once: int = AT_ONCE
) -> Iterator[list[Recorded]]:
    """Yield the decisions of a span in the order of their time, some at a time."""
    merged = heapq.merge(
        _pages(span.of(Lease, "authorized_at"), "authorized_at", at_once),
        _pages(span.of(Denial, "first_at"), "first_at", at_once),
        key=lambda found: found[:2],
    )
    remembered = dict[UUID, Rules]()
    rows = list[Any]()
    for _, _, row in merged:
        rows.append(row)
        if len(rows) == at_once:
            yield _read(span.realm_id, rows, remembered)
            rows = []
    if rows:
        yield _read(span.realm_id, rows, remembered)


def _pages(
    rows: QuerySet[Any], instant: str, at_once: int
) -> Iterator[tuple[datetime, UUID, Any]]:
    """Yield instant, id and row, in their order, by pages that follow each other."""
    after: dict[str, Any] = {}
    while True:
        page = rows.order_by(instant, "pk")
        if after:
            page = page.filter(**{f"{instant}__gte": after[instant]}).exclude(
                **{instant: after[instant], "pk__lte": after["pk"]}
            )
        with only_reading():
            found = list(page[:at_once])
        for row in found:
            yield getattr(row, instant), row.pk, row
        if len(found) < at_once:
            return
        after = {instant: getattr(found[-1], instant), "pk": found[-1].pk}


def _read(
    realm_id: str, rows: Sequence[Any], remembered: dict[UUID, Rules]
) -> list[Recorded]:
    leases = [row for row in rows if isinstance(row, Lease)]
    with only_reading():
        _remember(remembered, realm_id, {lease.rule_set_id for lease in leases})
        commits = _commits(realm_id, leases)
    return [
        _of_lease(row, remembered[row.rule_set_id], commits)
        if isinstance(row, Lease)
        else _of_denial(row)
        for row in rows
    ]


def _remember(remembered: dict[UUID, Rules], realm_id: str, wanted: set[UUID]) -> None:
    """Read the rules that are not remembered yet, and forget the rest of too many."""
    missing = wanted - remembered.keys()
    if len(remembered) + len(missing) > _REMEMBERED:
        for known in remembered.keys() - wanted:
            del remembered[known]
    documents = RuleSet.objects.in_realm(realm_id).filter(pk__in=missing)
    for key, document in documents.values_list("pk", "document"):
        remembered[key] = read_rules(orjson.dumps(document).decode())


def _commits(realm_id: str, leases: Iterable[Lease]) -> dict[UUID, Rating]:
    """Return the ratings that closed the leases, by id."""
    rated = {
        lease.rating_id: lease.rated_at
        for lease in leases
        if lease.state == LeaseState.CLOSED and lease.rating_id is not None
    }
    times = [at for at in rated.values() if at is not None]
    found = (
        Rating.objects.in_realm(realm_id).filter(
            pk__in=list(rated),
            # The partitions that they are in.
            rated_at__gte=min(times, default=None),
            rated_at__lte=max(times, default=None),
        )
        if times
        else Rating.objects.none()
    )
    return {rating.pk: rating for rating in found}


def _of_lease(lease: Lease, rules: Rules, commits: dict[UUID, Rating]) -> Recorded:
    ask, seen = asked_and_seen(lease)
    return Recorded(
        decision_id=lease.pk,
        account_id=lease.account_id,
        user_id=lease.user_id,
        at=lease.authorized_at,
        ask=ask,
        rules=rules,
        seen=seen,
        held_minor=lease.reserved_minor,
        held_xusd=lease.reserved_xusd,
        ended=_end_of(lease, rules, commits),
    )


def _end_of(lease: Lease, rules: Rules, commits: dict[UUID, Rating]) -> Ended | None:
    if lease.ended_at is None:
        return None
    rating = commits.get(lease.rating_id) if lease.rating_id else None
    return Ended(lease.ended_at, _settled(rating, rules) if rating else None)


def _settled(rating: Rating, rules: Rules) -> CommitFacts:
    committed = Committed(
        rating_id=rating.pk,
        at=rating.rated_at,
        billing_mode=rating.billing_mode,
        quantity_minor=rating.canonical_quantity_minor,
        status=rating.application_status,
        reasons=rating.reason_codes,
        applied_minor=rating.applied_quantity_minor,
        applied_xusd=rating.applied_amount_xusd,
        cost_xusd=rating.applied_cost_xusd,
        lines=(),
        evidence=rating.evidence,
    )
    return replace(
        commit_facts(rules, committed),
        amount_xusd=rating.canonical_amount_xusd,
        cost_xusd=rating.canonical_cost_xusd,
    )


def _of_denial(denial: Denial) -> Recorded:
    facts = read_facts(denial.evidence["facts"])
    rules, seen = rules_of(facts)
    return Recorded(
        decision_id=denial.pk,
        account_id=denial.account_id,
        user_id=denial.user_id,
        # Usage that was ingested is judged as of when it occurred.
        at=facts.at,
        ask=read_ask(denial.evidence["ask"]),
        rules=rules,
        seen=seen,
        reason=denial.reason,
        sentence=denial.sentence,
        times=denial.count,
    )
