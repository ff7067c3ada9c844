"""How grants stand now, to narrow their list by."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin

from config.kernel.clock import now
from grants.models import ENDED, SPENDABLE, LotKind, LotStatus

SOON = timedelta(days=7)


class StateFilter(admin.SimpleListFilter):
    """How grants stand now."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [
            ("spendable", "Can be spent"),
            ("ahead", "Begins later"),
            ("soon", "Ends within 7 days"),
            ("suspended", "Suspended"),
            ("owed", "Owed"),
            ("over", "Closed or revoked"),
        ]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the lots that stand so now."""
        at = now()
        given = queryset.exclude(kind=LotKind.FALLBACK)
        found = {
            "spendable": given.effective(at).filter(status__in=SPENDABLE),
            "ahead": given.filter(status__in=SPENDABLE, window_start__gt=at),
            "soon": ending(given, at),
            "suspended": given.filter(status=LotStatus.SUSPENDED),
            "owed": queryset.owed(),
            "over": queryset.filter(status__in=ENDED),
        }
        return found.get(self.value() or "", queryset)


def ending(lots: Any, at: datetime) -> Any:
    """Return what can be spent at `at` and ends soon after."""
    return lots.effective(at).filter(status__in=SPENDABLE, window_end__lte=at + SOON)
