"""One handler turns every refusal into the envelope."""

from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions as drf

from config.api.constraints import FOREIGN_KEY_VIOLATION, refusal_of
from config.api.envelope import failure_body, json_response
from config.api.strictjson import MAX_BODY_BYTES
from config.kernel.errors import DomainError, Malformed, NotFound, Unavailable

log = structlog.get_logger(__name__)

LOCK_NOT_AVAILABLE = "55P03"
PROGRAM_LIMIT = "54"
"""The class of states that say a value is too large for the database: a bug of ours."""
RETRYABLE = frozenset({"40001", "40P01"})
REPEATED = RETRYABLE | {FOREIGN_KEY_VIOLATION}
"""States after which a write is tried again: another one was in its way.

A foreign key is violated where what a write found was deleted before it was done.
"""


class TooLarge(DomainError):
    """The body is over the limit (413)."""

    status = 413
    default_code = "VALIDATION.BODY_TOO_LARGE"


class MethodNotAllowed(DomainError):
    """The route exists, with other methods (405)."""

    status = 405
    default_code = "REQUEST.METHOD_NOT_ALLOWED"


class UnsupportedMediaType(DomainError):
    """The body is not UTF-8 JSON by its own account (415)."""

    status = 415
    default_code = "VALIDATION.UNSUPPORTED_MEDIA_TYPE"


class Unexpected(DomainError):
    """A bug: reported with the trace id and no detail (500)."""

    status = 500
    default_code = "SERVER.UNEXPECTED"


def sqlstate(error: BaseException | None) -> str | None:
    """Return the PostgreSQL error code behind a Django database error, or None."""
    cause = getattr(error, "__cause__", None) or error
    state: str | None = getattr(cause, "sqlstate", None)
    return state


def as_refusal(error: BaseException) -> DomainError | None:
    """Return what to tell the caller about `error`, or None where it is a bug."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, Http404):
        return NotFound("There is nothing at this address.")
    if isinstance(error, drf.MethodNotAllowed):
        return MethodNotAllowed("This address does not take that method.")
    if isinstance(error, SuspiciousOperation):
        return _unreadable(error)
    if isinstance(error, DatabaseError | InterfaceError):
        return _database_refusal(error)
    return None


def _unreadable(error: SuspiciousOperation) -> DomainError:
    if isinstance(error, RequestDataTooBig):
        return TooLarge(f"The body is over {MAX_BODY_BYTES} bytes.")
    return Malformed("The request cannot be read.")


def _database_refusal(error: BaseException) -> DomainError | None:
    if isinstance(error, IntegrityError):
        return refusal_of(error)
    state = sqlstate(error)
    if state == LOCK_NOT_AVAILABLE or state in RETRYABLE:
        return Unavailable(
            "Another request holds what this one needs. Send it again with the same "
            "Idempotency-Key.",
            code="SERVER.BUSY",
            meta={"retry_after": 1},
        )
    if (state or "").startswith(PROGRAM_LIMIT):
        return None
    if isinstance(error, OperationalError | InterfaceError):
        return Unavailable(
            "The database cannot be reached. Send the request again with the same "
            "Idempotency-Key.",
            meta={"retry_after": 2},
        )
    return None


def refusal_for(error: BaseException, trace_id: str) -> DomainError:
    """Return what to tell of any failure; a bug is logged and told without detail."""
    refusal = as_refusal(error)
    if refusal is not None:
        return refusal
    log.error("unexpected", exc_info=error)
    return Unexpected(f"Something went wrong on our side. Quote trace id {trace_id}.")


def error_response(error: BaseException, request: HttpRequest) -> HttpResponse:
    """Return the envelope of any failure."""
    trace_id: str = getattr(request, "trace_id", "")
    refusal = refusal_for(error, trace_id)
    response = json_response(
        failure_body(refusal, trace_id), status=refusal.status, trace_id=trace_id
    )
    if "retry_after" in refusal.meta:
        response["Retry-After"] = str(refusal.meta["retry_after"])
    return response


def handle(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """Answer a failed API request (the framework's exception hook)."""
    return error_response(error, context["request"]._request)
