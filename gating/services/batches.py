"""Many requests of one user in one call: decided in order, answered one by one."""

from collections.abc import Callable, Sequence
from datetime import datetime

from config.kernel.audit import AuditContext
from config.kernel.errors import DomainError
from gating.answers import Admission
from gating.services import authorize, commits
from gating.services.admissions import AuthorizeRequest
from gating.services.admitting import authorize_items
from gating.services.closing import commit_items
from gating.services.commits import CommitRequest
from gating.services.subjects import Subject

Outcome = Admission | DomainError
"""What became of one request: its answer, or its refusal."""


def authorize_batch(
    subject: Subject,
    requests: Sequence[tuple[AuthorizeRequest, str]],
    *,
    at: datetime,
    by: AuditContext,
) -> list[Outcome]:
    """Do what `authorize` does for each request with its idempotency key, in order.

    All that is admitted is stored together.
    """
    asked = [authorize.item_of(request, key, by) for request, key in requests]
    answers = authorize.asked_of(
        subject, authorize_items, [r for r, _key in requests], asked, at=at, by=by
    )

    def told(place: int) -> Admission:
        answer = answers[place]
        return authorize.settled(
            answer,
            subject,
            requests[place][0],
            str(asked[place]["id"]),
            at=at,
            by=by,
        )

    return [_outcome(told, place) for place in range(len(requests))]


def commit_batch(
    subject: Subject,
    requests: Sequence[tuple[CommitRequest, str]],
    *,
    at: datetime,
    by: AuditContext,
) -> list[Outcome]:
    """Do what `commit_lease` does for each request with its idempotency key, in order.

    All that is committed is stored together. A lease takes one commit, here too.
    """
    asked = [commits.item_of(request, key, by) for request, key in requests]
    answers = commits.asked_of(
        subject, commit_items, [r for r, _key in requests], asked, at=at, by=by
    )

    def told(place: int) -> Admission:
        answer, request = answers[place], requests[place][0]
        if answer is None:
            raise commits.of_other_feature(subject, request)
        item = subject.item(request.feature_code) | asked[place]
        return commits.settled(answer, item, request, at=at)

    return [_outcome(told, place) for place in range(len(requests))]


def _outcome(told: Callable[[int], Admission], place: int) -> Outcome:
    try:
        return told(place)
    except DomainError as refusal:
        return refusal
