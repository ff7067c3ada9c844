"""How a request is read before any of our code sees it."""

from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters


class PlainRequest(WSGIRequest):
    """A request in UTF-8, whatever charset its content type names.

    Django would decode the address's query with that charset while the request is
    made, where nothing handles what goes wrong: `charset=hex` would be a bare 500.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        kind, parameters = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        self.content_type, self.content_params = kind, parameters


class Handler(WSGIHandler):
    """Serves such requests."""

    request_class = PlainRequest
