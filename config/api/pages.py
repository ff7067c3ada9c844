"""Addresses that lead nowhere: an envelope for services, a page for people."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from config.api.errors import Unexpected, error_response
from config.api.middleware import SERVICE_PATHS
from config.kernel.errors import DomainError, Malformed, NotFound


def _answer(request: HttpRequest, error: DomainError, template: str) -> HttpResponse:
    if request.path_info.startswith(SERVICE_PATHS):
        return error_response(error, request)
    context = {"trace_id": getattr(request, "trace_id", "")}
    return HttpResponse(render_to_string(template, context), status=error.status)


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Answer an unknown address (404)."""
    return _answer(request, NotFound("There is nothing at this address."), "404.html")


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Answer a request that cannot be read (400)."""
    return _answer(request, Malformed("The request cannot be read."), "400.html")


def broken(request: HttpRequest) -> HttpResponse:
    """Answer a bug (500), without detail."""
    trace_id = getattr(request, "trace_id", "")
    error = Unexpected(f"Something went wrong on our side. Quote trace id {trace_id}.")
    return _answer(request, error, "500.html")
