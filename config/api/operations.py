"""An operation: one method of one address, declared once.

`@operation` names it, says what goes in and out, and wraps the view method with what
every call needs: strict input, scope, audit context, idempotency and the transaction.
The OpenAPI description is built from the same declaration, so it cannot drift.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import structlog
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import ValidationError

from config.api.envelope import Answer, json_response, success_body
from config.api.errors import REPEATED, sqlstate
from config.api.faults import as_invalid
from config.api.reading import read_body, read_model, read_query
from config.api.streams import Stream, stream_response
from config.api.wire import AuditFields, WireModel
from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.errors import Forbidden, Invalid, Malformed
from config.tenancy.authentication import spend_nonce
from config.tenancy.callers import Caller
from config.tenancy.headers import header
from config.tenancy.models import Realm, Scope
from config.tenancy.services.idempotency import WriteIdentity, claim, keep_answer

MAX_KEY = 255
ATTEMPTS = 3
_ACCOUNT_IDS = frozenset(
    {
        "billing_account_id",
        "billing_user_id",
        "assignment_id",
        "grant_assignment_id",
        "grant_id",
    }
)
"""Names of ids in an address below which everything is one account's."""
_AUDIT_NOTES = ("operator", "reason", "ticket_id", "effective_at")

Guard = Literal["stored", "domain", "nonce"]
"""How a repeat is made harmless: a stored answer, the verb's own key, or the nonce."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The declaration of one operation.

    `line` is one line of the answer to a caller that asks for JSON lines. A
    `realm_wide` one tells of every account, and so nothing to a key limited to some.
    """

    name: str
    body: type[WireModel] | None = None
    query: type[WireModel] | None = None
    answer: Any = None
    line: Any = None
    statuses: Sequence[int] = (200,)
    scope: str = Scope.REALM_ADMIN
    guard: Guard = "stored"
    notes_in_metadata: bool = False
    of_account: bool = False
    realm_wide: bool = False
    summary: str = ""

    def is_of_account(self, ids: Iterable[str]) -> bool:
        """Return whether a call is about one account, by its address or its body.

        `ids` are the names of the address's ids.
        """
        return self.of_account or not _ACCOUNT_IDS.isdisjoint(ids)


@dataclass(slots=True)
class Call:
    """One authenticated request: who calls, in which realm, when, and why.

    `at` is the instant the edge read (aware UTC); every rule below uses it.
    """

    request: HttpRequest
    operation: Operation
    caller: Caller
    at: datetime
    by: AuditContext
    idempotency_key: str = ""
    account: Any = None
    user: Any = None

    @property
    def realm(self) -> Realm:
        """Return the realm of the call."""
        return self.caller.realm

    @property
    def list_scope(self) -> str:
        """Return what a cursor of this list is bound to: realm, path and filters."""
        filters = sorted(
            (key, value)
            for key, value in self.request.GET.lists()
            if key not in {"cursor", "limit"}
        )
        return f"{self.realm.pk}|{self.request.path}|{filters}"


def operation(
    name: str, **declared: Any
) -> Callable[[Callable[..., Any]], Callable[..., HttpResponseBase]]:
    """Declare a view method as the operation `name` (see `Operation` for the rest).

    The method receives the `Call`, then `body=` and `query=` where declared and the
    address's own ids, and returns an `Answer`, or a `Stream` where it writes nothing.
    """
    spec = Operation(name, **declared)

    def declare(method: Callable[..., Any]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(method)
        def handle(view: Any, request: Any, **ids: Any) -> HttpResponseBase:
            return _perform(view, spec, method, request, ids)

        handle.operation = spec  # type: ignore[attr-defined]
        return handle

    return declare


def _perform(
    view: Any,
    spec: Operation,
    method: Callable[..., Any],
    request: Any,
    ids: dict[str, Any],
) -> HttpResponseBase:
    caller: Caller = request.user
    structlog.contextvars.bind_contextvars(caller=f"{caller.kind}:{caller.identifier}")
    caller.require(spec.scope)
    writes = request.method not in {"GET", "HEAD"}
    if spec.realm_wide or (writes and spec.scope == Scope.REALM_ADMIN):
        _require_reach(caller, spec.is_of_account(ids))
    at = now()
    raw: HttpRequest = request._request
    given: dict[str, Any] = dict(ids)
    if spec.query is not None:
        given["query"] = read_query(spec.query, raw)
    document = read_body(raw) if spec.body is not None else None
    if spec.body is not None:
        given["body"] = read_model(spec.body, document)
    call = _open(spec, raw, caller, given.get("body"), document, at=at)
    if raw.method in {"GET", "HEAD"} or spec.guard == "nonce":
        view.bind(call)
        spend_nonce(caller, at=at)
        answer = method(view, call, **given)
        if isinstance(answer, Stream):
            return stream_response(answer, trace_id=raw.trace_id)  # type: ignore[attr-defined]
        return _respond(call, success_body(answer, raw.trace_id), answer.status)  # type: ignore[attr-defined]
    return _write(view, method, call, given)


def _require_reach(caller: Caller, of_account: bool) -> None:
    """Refuse (403) a key limited to accounts what holds for every account."""
    if caller.allowed_accounts and not of_account:
        raise Forbidden(
            "This service key is limited to accounts, and this holds for the realm.",
            code="AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN",
        )


def _write(
    view: Any, method: Callable[..., Answer], call: Call, given: dict[str, Any]
) -> HttpResponse:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _write_once(view, method, call, given)
        except DatabaseError as error:
            if attempt == ATTEMPTS or sqlstate(error) not in REPEATED:
                raise
    raise AssertionError("unreachable")


def _write_once(
    view: Any, method: Callable[..., Answer], call: Call, given: dict[str, Any]
) -> HttpResponse:
    trace_id: str = call.request.trace_id  # type: ignore[attr-defined]
    if call.operation.guard == "domain":
        view.bind(call)
        answer = method(view, call, **given)
        return _respond(call, success_body(answer, trace_id), answer.status)
    identity = WriteIdentity(
        caller=call.caller,
        method=call.request.method or "",
        path=call.request.path,
        key=call.idempotency_key,
        body=call.request.body,
    )
    with transaction.atomic():
        replay = claim(identity, at=call.at)
        if replay is None:
            # Only now: a repeat of a success is one, whatever became of its user.
            view.bind(call)
            answer = method(view, call, **given)
            body = success_body(answer, trace_id)
            keep_answer(identity, status=answer.status, body=body)
            return _respond(call, body, answer.status)
    response = _respond(call, replay.body, replay.status)
    response["Idempotency-Replayed"] = "true"
    return response


def _respond(call: Call, body: bytes, status: int) -> HttpResponse:
    trace_id: str = call.request.trace_id  # type: ignore[attr-defined]
    return json_response(body, status=status, trace_id=trace_id)


def _open(
    spec: Operation,
    request: HttpRequest,
    caller: Caller,
    body: Any,
    document: Any,
    *,
    at: datetime,
) -> Call:
    key = header(request, "Idempotency-Key")
    if request.method not in {"GET", "HEAD"}:
        if not key:
            raise Malformed(
                "missing_idempotency_key: send an Idempotency-Key header with every "
                "write.",
                field="Idempotency-Key",
            )
        if len(key) > MAX_KEY:
            raise Malformed(
                f"Idempotency-Key is over {MAX_KEY} characters.",
                field="Idempotency-Key",
            )
    by = _audit_context(spec, request, caller, body, document, key, at=at)
    return Call(request, spec, caller, at, by, key)


def _audit_context(
    spec: Operation,
    request: HttpRequest,
    caller: Caller,
    body: Any,
    document: Any,
    key: str,
    *,
    at: datetime,
) -> AuditContext:
    named = _audit_named(spec, body, document)
    writes = request.method not in {"GET", "HEAD"} and spec.guard != "nonce"
    if writes and caller.realm.metadata.get("require_audit_fields"):
        missing = [name for name in _AUDIT_NOTES if named.get(name) is None]
        if missing and spec.scope == Scope.REALM_ADMIN:
            raise Invalid(
                f"This realm requires audit.{missing[0]} on every management write.",
                field=f"audit.{missing[0]}",
            )
    return AuditContext(
        actor=Actor(
            "service_key" if caller.kind == "service_key" else "user",
            caller.identifier,
        ),
        operator=named.get("operator") or caller.identifier,
        reason=named.get("reason") or spec.name,
        ticket_id=named.get("ticket_id") or key or "none",
        effective_at=named.get("effective_at") or at,
        trace_id=request.trace_id,  # type: ignore[attr-defined]
        idempotency_key=key or None,
    )


def _audit_named(spec: Operation, body: Any, document: Any) -> dict[str, Any]:
    """Return the audit facts the caller stated: `audit`, else metadata annotations."""
    audit = getattr(body, "audit", None)
    if audit is not None:
        return {name: getattr(audit, name) for name in _AUDIT_NOTES}
    if not spec.notes_in_metadata:
        return {}
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(metadata, dict):
        return {}
    notes = {name: metadata[name] for name in _AUDIT_NOTES if name in metadata}
    try:
        checked = AuditFields.model_validate(notes)
    except ValidationError as error:
        problem = as_invalid(error)
        raise Invalid(
            f"metadata.{problem.message}", field=f"metadata.{problem.field}"
        ) from None
    return {name: getattr(checked, name) for name in _AUDIT_NOTES}
