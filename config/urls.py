"""Every address that is served."""

from django.urls import include, path

from config.admin.site import site
from config.api.health import health
from config.api.openapi import DocsView, SchemaView

urlpatterns = [
    # The gate is asked most, so it is looked for first.
    path("mgt/v1/", include("gating.api.urls")),
    path("health", health, name="health"),
    path("admin/", site.urls),
    path("docs/openapi.yaml", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(url_name="schema"), name="docs"),
    path("mgt/v1/", include("catalog.api.urls")),
    path("mgt/v1/", include("billing.api.urls")),
    path("mgt/v1/", include("grants.api.urls")),
    path("api/v1/", include("billing.api.token_urls")),
    path("api/v1/", include("grants.api.token_urls")),
    path("", include("config.admin.home_urls")),
]

handler403 = "config.admin.rights.forbidden"
handler404 = "config.api.pages.not_found"
handler500 = "config.api.pages.broken"
handler400 = "config.api.pages.bad_request"
