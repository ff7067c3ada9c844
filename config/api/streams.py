"""Answers that come line by line: JSON lines, for what takes long."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import structlog
from django.http import HttpRequest, StreamingHttpResponse

from config.api.envelope import failure_body, write_json
from config.api.errors import refusal_for
from config.api.wire import WireModel
from config.tenancy.headers import header_any_length

log = structlog.get_logger(__name__)

NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Stream:
    """A successful result that is written as it comes to be: one document per line."""

    lines: Iterator[Any]


class FailedLine(WireModel):
    """The last line of an answer that could not be completed: a failure, in full."""

    type: Literal["failed"]
    ok: Literal[False]
    code: str
    message: str
    trace_id: str


def asks_for_lines(request: HttpRequest) -> bool:
    """Return whether the caller wants JSON lines: `Accept: application/x-ndjson`."""
    accepted = header_any_length(request, "Accept").lower().split(",")
    return any(kind.partition(";")[0].strip() == NDJSON for kind in accepted)


def stream_response(stream: Stream, *, trace_id: str) -> StreamingHttpResponse:
    """Return the response that carries the lines.

    What fails on the way is told in the last line. A caller that leaves ends the work
    at the line that it is at.
    """
    response = StreamingHttpResponse(
        _written(stream.lines, trace_id), content_type=NDJSON
    )
    response["X-Trace-Id"] = trace_id
    return response


def _written(lines: Iterator[Any], trace_id: str) -> Iterator[bytes]:
    written = 0
    try:
        for line in lines:
            yield write_json(line) + b"\n"
            written += 1
    except GeneratorExit:
        log.info("the caller left", lines=written, trace_id=trace_id)
        raise
    except Exception as error:  # noqa: BLE001 - the status is sent already.
        refusal = refusal_for(error, trace_id)
        failure = orjson.loads(failure_body(refusal, trace_id))
        yield write_json({"type": "failed", **failure}) + b"\n"
