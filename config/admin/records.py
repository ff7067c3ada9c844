"""Screens of records: what happened, never typed over."""

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse

from config.admin.rights import missing_buttons
from config.admin.screens import PlangateAdmin

_MISSING = "admin/plangate/missing.html"


class RecordAdmin(PlangateAdmin):
    """A read-only screen; what may be done to a record is a named button.

    Attributes:
        tells_missing: whether a page says which buttons its visitor lacks the right
            for, and who has it.

    """

    tells_missing: ClassVar[bool] = False
    change_form_before_template: Any = _MISSING
    list_before_template: Any = _MISSING

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records come into being by verbs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records change by buttons."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records stay."""
        return False

    def changelist_view(
        self, request: Any, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and above it the buttons that its visitor may not press."""
        told = self._missing(request, None)
        return super().changelist_view(request, {**told, **(extra_context or {})})

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Show the page of a row, and above it the buttons that are missing."""
        context |= self._missing(request, context.get("original"))
        page: HttpResponse = super().render_change_form(
            request, context, *args, **options
        )
        return page

    def _missing(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        told = missing_buttons(self, request, row) if self.tells_missing else ()
        return {"missing_buttons": told}
