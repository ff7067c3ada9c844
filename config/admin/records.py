"""Screens of records: what happened, never typed over."""

from typing import Any

from django.http import HttpRequest

from config.admin.screens import PlangateAdmin


class RecordAdmin(PlangateAdmin):
    """A read-only screen; what may be done to a record is a named button."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records come into being by verbs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records change by buttons."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records stay."""
        return False
