"""What every request passes through."""

import re
import time
from collections.abc import Callable

import structlog
from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from config.kernel.ids import new_trace_id

log = structlog.get_logger("plangate.request")

Next = Callable[[HttpRequest], HttpResponse]

SERVICE_PATHS = ("/mgt/", "/api/", "/health")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
)
_REQUEST_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def trace_id_of(request: HttpRequest) -> str:
    """Return the caller's trace id where it sends a valid one, else a new one.

    From `traceparent` (W3C Trace Context), else `X-Request-Id` of 32 hex digits.
    """
    parent = _TRACEPARENT.fullmatch(request.META.get("HTTP_TRACEPARENT", ""))
    if parent:
        return parent[1]
    given = request.META.get("HTTP_X_REQUEST_ID", "").lower()
    return given if _REQUEST_ID.fullmatch(given) else new_trace_id()


class Tracing:
    """Give the request its trace id, and write its one log line."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, with the trace id in its headers."""
        trace_id = trace_id_of(request)
        request.trace_id = trace_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(trace_id=trace_id)
        began = time.perf_counter()
        response = self.get_response(request)
        response["X-Trace-Id"] = trace_id
        if not response.streaming:
            # Without it the server would send the answer in chunks.
            response["Content-Length"] = str(len(response.content))
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            duration_ms=round((time.perf_counter() - began) * 1000, 2),
        )
        return response


class PlainAddress:
    """Refuse an address with a NUL in it (400): nothing could look it up."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, or refuse."""
        if "\0" in request.path_info:
            raise BadRequest
        return self.get_response(request)


class DatabaseDown:
    """Answer pages with 503 and a sentence while the database is unreachable."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the answer; `process_exception` does the work."""
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Return the 503 page for a lost database; leave other errors alone."""
        if not isinstance(exception, OperationalError | InterfaceError):
            return None
        log.error("database unreachable", exc_info=exception)
        page = render_to_string(
            "503.html",
            {"trace_id": request.trace_id},  # type: ignore[attr-defined]
        )
        return HttpResponse(page, status=503, headers={"Retry-After": "5"})


class _PagesOnly:
    """Skip a browser middleware on service paths: no session, user or messages."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(SERVICE_PATHS):
            skipped: HttpResponse = self.get_response(request)  # type: ignore[attr-defined]
            return skipped
        response: HttpResponse = super().__call__(request)  # type: ignore[misc]
        return response


class PageSessions(_PagesOnly, SessionMiddleware):
    """Sessions, for pages."""


class PageAuthentication(_PagesOnly, AuthenticationMiddleware):
    """The signed-in member of staff, for pages."""


class PageMessages(_PagesOnly, MessageMiddleware):
    """Flash messages, for pages."""


class PagePolicy(_PagesOnly, CSPMiddleware):
    """Content security policy, for pages."""
