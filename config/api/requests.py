"""How a request is read before any of our code sees it."""

from typing import Any

from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_header_parameters
from django.utils.module_loading import import_string

from config.api.middleware import SERVICE_PATHS


class PlainRequest(WSGIRequest):
    """A request in UTF-8, whatever charset its content type names.

    Django would decode the address's query with that charset while the request is
    made, where nothing handles what goes wrong: `charset=hex` would be a bare 500.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        kind, parameters = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        self.content_type, self.content_params = kind, parameters


class Handler(WSGIHandler):
    """Serves such requests; those of services pass through less than pages do.

    What only pages need leaves service paths alone in any case; here a request of a
    service is not handed through it either.
    """

    request_class = PlainRequest

    def load_middleware(self, is_async: bool = False) -> None:
        """Make the chain of pages, and that of services (`SERVICE_MIDDLEWARE`)."""
        super().load_middleware(is_async)
        pages: Any = self._middleware_chain  # type: ignore[has-type]
        services: Any = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        for name in reversed(settings.SERVICE_MIDDLEWARE):
            services = convert_exception_to_response(import_string(name)(services))

        def chain(request: HttpRequest) -> HttpResponse:
            is_service = request.path_info.startswith(SERVICE_PATHS)
            response: HttpResponse = (services if is_service else pages)(request)
            return response

        self._middleware_chain = chain
