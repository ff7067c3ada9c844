"""The OpenAPI description, built from the operations' own declarations."""

from typing import Any

from django.http import HttpRequest
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config.api.operations import Operation


class OperationSchema(AutoSchema):  # type: ignore[misc]
    """Describes a view method from its `@operation`."""

    @property
    def _operation(self) -> Operation | None:
        method = getattr(self.view, self.method.lower(), None)
        found: Operation | None = getattr(method, "operation", None)
        return found

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """Return the operation object, None where nothing is declared."""
        super_get = super().get_operation(*args, **kwargs)
        return super_get if self._operation else None


class SchemaView(SpectacularAPIView):  # type: ignore[misc]
    """`/docs/openapi.yaml`."""


class DocsView(SpectacularSwaggerView):  # type: ignore[misc]
    """`/docs/`: the description for people, without a foreign request."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the page."""
        return super().get(request, *args, **kwargs)
