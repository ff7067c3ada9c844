"""`/gate/authorize/batch` and `/gate/commits/batch`."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from config.api.envelope import Answer, error_type, faults
from config.api.operations import Call, operation
from config.api.reading import read_model
from config.api.wire import JsonObject, Reference, WireModel, omitted
from config.kernel.errors import DomainError
from config.tenancy.authentication import authenticate_service_key
from config.tenancy.models import Scope
from gating.answers import Admission
from gating.api.authorize import AuthorizeBody, AuthorizeOut
from gating.api.commits import CommitBody, CommitOut
from gating.api.context import GateView
from gating.services.batches import Outcome, authorize_batch, commit_batch
from gating.services.denials import GateDenied
from gating.services.subjects import Subject

MAX_ITEMS = 100
UNPROCESSABLE = 422

Items = Annotated[list[JsonObject], Field(min_length=1, max_length=MAX_ITEMS)]


class AuthorizeItem(AuthorizeBody):
    """One request of a batch, with a key of its own."""

    idempotency_key: Reference


class CommitItem(CommitBody):
    """One commit of a batch, with a key of its own."""

    idempotency_key: Reference


class AuthorizeBatchBody(WireModel):
    """What a user is about to do: up to 100 items, decided in their order."""

    items: Items


class CommitBatchBody(WireModel):
    """What was used under up to 100 leases, committed in their order."""

    items: Items


class ItemError(WireModel):
    """Why an item was refused: what the same request alone would be told."""

    type: str
    code: str
    message: str
    details: str
    status: int
    field: str = omitted()
    decision_id: str = omitted()
    reason: str = omitted()
    retry_after: int = omitted()
    errors: list[JsonObject] = omitted()
    hints: list[JsonObject] = omitted()


class AuthorizeItemOut(WireModel):
    """What became of one item: `authorization` where it is, or was, admitted."""

    index: int
    status: Literal["admitted", "duplicate", "denied", "invalid", "failed"]
    authorization: AuthorizeOut = omitted()
    hints: list[JsonObject] = omitted()
    error: ItemError = omitted()


class CommitItemOut(WireModel):
    """What became of one item: `commit` where it is, or was, committed."""

    index: int
    status: Literal["committed", "duplicate", "invalid", "failed"]
    commit: CommitOut = omitted()
    hints: list[JsonObject] = omitted()
    error: ItemError = omitted()


class AuthorizeBatchOut(WireModel):
    """The items' outcomes; `failed_count` counts those without an authorization."""

    items: list[AuthorizeItemOut]
    admitted_count: int
    failed_count: int


class CommitBatchOut(WireModel):
    """The items' outcomes; `failed_count` counts those without a commit."""

    items: list[CommitItemOut]
    committed_count: int
    failed_count: int


class BatchView(GateView):
    """Many calls of one user in one request."""

    def asked(
        self, call: Call, verb: Callable[..., list[Outcome]], requests: Sequence[Any]
    ) -> list[Outcome]:
        """Return what became of the requests; the caller may ask even where none is."""
        if requests:
            return self.ask(call, partial(verb, requests=requests, by=call.by))
        # Else it is the gate's functions that find out.
        authenticate_service_key(call.request)
        return self.ask(call, _bound)


class AuthorizeBatchView(BatchView):
    """Permission for many units of work."""

    @operation(
        "gate_authorize_batch",
        body=AuthorizeBatchBody,
        answer=AuthorizeBatchOut,
        scope=Scope.RUNTIME,
        guard="domain",
    )
    def post(self, call: Call, body: AuthorizeBatchBody) -> Answer:
        """Decide each item as authorize would; one refused does not stop the others."""
        read = _read(AuthorizeItem, body.items)
        asked = [(i.request(), i.idempotency_key) for i in read if not _failed(i)]
        found = self.asked(call, authorize_batch, asked)
        return _answer(read, found, "authorization", "admitted")


class CommitBatchView(BatchView):
    """Usage of many authorized units of work."""

    @operation(
        "gate_commit_batch",
        body=CommitBatchBody,
        answer=CommitBatchOut,
        scope=Scope.RUNTIME,
        guard="domain",
    )
    def post(self, call: Call, body: CommitBatchBody) -> Answer:
        """Commit each item; one refused does not stop the others."""
        read = _read(CommitItem, body.items)
        asked = [(i.request(), i.idempotency_key) for i in read if not _failed(i)]
        found = self.asked(call, commit_batch, asked)
        return _answer(read, found, "commit", "committed")


def _bound(subject: Subject, *, at: datetime) -> list[Outcome]:
    """Refuse a user who may not ask; nothing is asked."""
    subject.bind()
    return []


def _failed(item: Any) -> bool:
    return isinstance(item, DomainError)


def _read(model: type[WireModel], items: Sequence[dict[str, Any]]) -> list[Any]:
    """Return each item as its model, or as the refusal of it."""
    read: list[Any] = []
    for document in items:
        try:
            read.append(read_model(model, document))
        except DomainError as refusal:
            read.append(refusal)
    return read


def _answer(
    read: Sequence[Any], found: Sequence[Outcome], name: str, done: str
) -> Answer:
    outcomes = iter(found)
    items = [
        {"index": index, **_told(item if _failed(item) else next(outcomes), name, done)}
        for index, item in enumerate(read)
    ]
    count = sum(item["status"] in {done, "duplicate"} for item in items)
    return Answer(
        {"items": items, f"{done}_count": count, "failed_count": len(items) - count}
    )


def _told(outcome: Outcome, name: str, done: str) -> dict[str, Any]:
    if isinstance(outcome, Admission):
        told = {"status": "duplicate" if outcome.replayed else done, name: outcome.data}
        return told | ({"hints": list(outcome.hints)} if outcome.hints else {})
    return {"status": _status(outcome), "error": _error(outcome)}


def _status(refusal: DomainError) -> str:
    if isinstance(refusal, GateDenied):
        return "denied"
    return "invalid" if refusal.status == UNPROCESSABLE else "failed"


def _error(refusal: DomainError) -> dict[str, Any]:
    error: dict[str, Any] = {
        "type": error_type(refusal),
        "code": refusal.code,
        "message": refusal.message,
        "details": refusal.message,
        "status": refusal.status,
    }
    if refusal.field is not None:
        error["field"] = refusal.field
    told = ("decision_id", "reason", "retry_after")
    error |= {name: refusal.meta[name] for name in told if name in refusal.meta}
    if "errors" in refusal.meta:
        error["errors"] = faults(refusal.meta["errors"])
    if refusal.hints:
        error["hints"] = list(refusal.hints)
    return error
