"""`/docs/`: the description for people and for programs."""

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import View
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.negotiation import BaseContentNegotiation

from config.api.openapi.generator import OperationsGenerator
from config.api.openapi.untyped import YamlRenderer


@cache
def description() -> bytes:
    """Return the OpenAPI document as YAML; the code cannot change under a process."""
    document = OperationsGenerator().get_schema(request=None, public=True)
    rendered: bytes = YamlRenderer().render(document, renderer_context={})
    return rendered


class SchemaView(View):
    """`/docs/openapi.yaml`."""

    def get(self, _request: HttpRequest) -> HttpResponse:
        """Return the document, whatever `Accept` says."""
        return HttpResponse(description(), content_type="application/yaml")


class _FirstRenderer(BaseContentNegotiation):
    """Answers with the page, whatever `Accept` says."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """Return the first parser."""
        return parsers[0]

    def select_renderer(
        self, request: Any, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """Return the only renderer."""
        return renderers[0], renderers[0].media_type


class DocsView(SpectacularSwaggerSplitView):
    """`/docs/`: the page.

    Its script comes from an address of its own, because the content security policy
    allows no script inside a page.
    """

    title = "Plangate API"
    content_negotiation_class = _FirstRenderer
