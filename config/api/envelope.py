"""The envelope every answer travels in, and how it is written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpResponse
from pydantic import BaseModel

from config.kernel.errors import DomainError, Hint
from config.kernel.windows import format_instant


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful result: `data` plus what travels beside it.

    `data` is a pydantic model, dict or list; `hints` and `meta` appear in the
    envelope only when given. `trace_id` is that of the request which was answered so
    first, None for this one.
    """

    data: Any
    status: int = 200
    hints: Sequence[Hint] = field(default_factory=tuple)
    meta: Mapping[str, Any] | None = None
    message: str | None = None
    trace_id: str | None = None


def _default(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def _instants(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_instant(value)
    return _default(value)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else _instants(value)


def write_json(document: Any) -> bytes:
    """Return `document` as JSON bytes; instants as RFC 3339 with microseconds."""
    try:
        return orjson.dumps(
            document, default=_instants, option=orjson.OPT_PASSTHROUGH_DATETIME
        )
    except orjson.JSONEncodeError:
        # An integer beyond 64 bits, from somebody's metadata: the database gives
        # 1e300 back as its digits.
        text = json.dumps(
            document,
            default=_plain,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )
        return text.encode()


def success_body(answer: Answer, trace_id: str) -> bytes:
    """Return the envelope of a success."""
    body: dict[str, Any] = {"ok": True, "code": "OK"}
    if answer.message:
        body["message"] = answer.message
    body["data"] = answer.data
    body["trace_id"] = answer.trace_id or trace_id
    if answer.hints:
        body["hints"] = list(answer.hints)
    if answer.meta is not None:
        body["meta"] = dict(answer.meta)
    return write_json(body)


def failure_body(error: DomainError, trace_id: str) -> bytes:
    """Return the envelope of a refusal."""
    meta: dict[str, Any] = {"status": error.status}
    if error.field:
        meta["field"] = error.field
    meta.update(error.meta)
    if "errors" in meta:
        meta["errors"] = faults(meta["errors"])
    problem: dict[str, Any] = {"type": error_type(error), "details": error.message}
    if "retry_after" in error.meta:
        problem["retry_after"] = error.meta["retry_after"]
    body: dict[str, Any] = {
        "ok": False,
        "code": error.code,
        "message": error.message,
        "trace_id": trace_id,
        "meta": meta,
        "error": problem,
    }
    if error.hints:
        body["hints"] = list(error.hints)
    return write_json(body)


def faults(found: Iterable[Any]) -> list[dict[str, Any]]:
    """Return several faults as the wire has them; below the edge each is a pair."""
    return [
        each if isinstance(each, dict) else {"field": each[0], "message": each[1]}
        for each in found
    ]


def error_type(error: DomainError) -> str:
    """Return the sort of a refusal: its own, else that of its status."""
    if error.error_type:
        return error.error_type
    status = error.status
    return {
        402: "insufficient_budget",
        409: "conflict",
        404: "not_found",
        401: "unauthorized",
        403: "forbidden",
        429: "rate_limited",
    }.get(status, "invalid_request" if status < 500 else "server_error")  # noqa: PLR2004


def json_response(body: bytes, *, status: int, trace_id: str) -> HttpResponse:
    """Return the HTTP response that carries an envelope."""
    response = HttpResponse(body, status=status, content_type="application/json")
    response["X-Trace-Id"] = trace_id
    return response
