"""The OpenAPI description, built from the operations' own declarations.

`schema` describes one operation, `generator` all of them, `views` serves the result.
"""

from config.api.openapi.views import DocsView, SchemaView

__all__ = ["DocsView", "SchemaView"]
