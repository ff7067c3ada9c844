"""The admin site."""

import time
from typing import Any

from django.contrib.admin import site
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from config.admin.search import find
from config.admin.untyped import ThemedSite

__all__ = ["PlangateSite", "site"]

FOUND_PER_PAGE = 100


class PlangateSite(ThemedSite):  # type: ignore[misc]
    """Plangate's admin; `django.contrib.admin.site` is an instance of it."""

    site_title = "Plangate"
    site_header = "Plangate"
    index_title = "Overview"
    index_template = "admin/plangate/index.html"
    enable_nav_sidebar = True

    def each_context(self, request: Any) -> dict[str, Any]:
        """Return what every page has; the header asks which screen it stands on."""
        match = getattr(request, "resolver_match", None)
        request.screen = self._screen_at(getattr(match, "url_name", None) or "")
        context: dict[str, Any] = super().each_context(request)
        return context

    def _screen_at(self, url_name: str) -> Any:
        """Return the screen an address belongs to, as its name tells, or None."""
        found = (
            screen
            for model, screen in self._registry.items()
            if url_name.startswith(f"{model._meta.app_label}_{model._meta.model_name}_")
        )
        return next(found, None)

    def search(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer the search over everything.

        The theme's own keeps answers for five minutes, so that what was just created
        cannot be found, and reads every match of every list.
        """
        began = time.perf_counter()
        term = request.GET.get("s", "")
        if not term.strip():
            return HttpResponse()
        found = Paginator(find(request, term), FOUND_PER_PAGE)
        page = found.get_page(request.GET.get("page"))
        extended = "extended" in request.GET
        name = "command_results" if extended else "search_results"
        return TemplateResponse(
            request,
            f"unfold/helpers/{name}.html",
            {
                "page_obj": found,
                "results": page,
                "page_counter": page.start_index() - 1 if found.count else 0,
                "execution_time": time.perf_counter() - began,
                "command_show_history": False,
                **(extra_context or {}),
            },
            headers={"HX-Trigger": "search"},
        )
