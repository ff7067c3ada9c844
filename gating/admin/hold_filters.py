"""How the list of holds is narrowed: what is held now, what is stuck, whose it is."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from catalog.models import Feature
from config.kernel.clock import now
from gating.models import Lease, LeaseState
from gating.selectors.orphans import LIVE, Orphans

SHOW = "show"
LIVE_ONES, OVERDUE, ORPHANED, ALL = "live", "overdue", "orphaned", "all"
_OLDER = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_CHOICES = (
    (LIVE_ONES, "Held now"),
    (OVERDUE, "Overdue: past its expiry"),
    (ORPHANED, "Orphaned: nobody is likely to commit it"),
    ("hour", "Held for over 1 hour"),
    ("day", "Held for over 1 day"),
    (LeaseState.CLOSED.value, "Committed"),
    (LeaseState.CANCELED.value, "Released"),
    (LeaseState.EXPIRED.value, "Expired"),
    (ALL, "Everything, also what has ended"),
)


def overdue(at: datetime) -> QuerySet[Lease]:
    """Return the active leases that ran out before `at` (aware UTC)."""
    return Lease.objects.filter(LIVE, expires_at__lt=at)


def orphans(at: datetime) -> QuerySet[Lease]:
    """Return the leases of all realms that are orphans at `at` (aware UTC)."""
    return Lease.objects.filter(Orphans.found(at=at).condition)


def orphans_of(request: HttpRequest) -> Orphans:
    """Return what is an orphan now, found once for a request."""
    if not hasattr(request, "_plangate_orphans"):
        request._plangate_orphans = Orphans.found(at=now())  # type: ignore[attr-defined]
    found: Orphans = request._plangate_orphans  # type: ignore[attr-defined]
    return found


def chosen(request: HttpRequest) -> str:
    """Return which holds the list shows: those held now, but a search finds any."""
    named = request.GET.get(SHOW)
    if named in dict(_CHOICES):
        return str(named)
    return ALL if request.GET.get("q") else LIVE_ONES


class DeskFilter(admin.SimpleListFilter):
    """What is held now, and of that what needs a person."""

    title = "holds"
    parameter_name = SHOW

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        super().__init__(request, *arguments)
        self.used_parameters[SHOW] = chosen(request)

    def lookups(self, request: Any, model_admin: Any) -> Any:
        """Return the choices."""
        return _CHOICES

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices for the page; there is none that is no choice."""
        shown = self.value()
        counts = self.get_facet_queryset(changelist) if changelist.add_facets else {}
        for number, (key, label) in enumerate(_CHOICES):
            count = counts.get(f"{number}__c")
            yield {
                "selected": key == shown,
                "query_string": changelist.get_query_string({SHOW: key}),
                "display": label if count is None else f"{label} ({count:,})",
            }

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the holds that are asked for."""
        shown, at = str(self.value()), orphans_of(request).at
        if shown == ALL:
            return queryset
        if shown in LeaseState.values:
            return queryset.filter(state=shown)
        return queryset.filter(
            {
                LIVE_ONES: Q(),
                OVERDUE: Q(expires_at__lt=at),
                ORPHANED: orphans_of(request).condition,
                **{key: Q(authorized_at__lt=at - age) for key, age in _OLDER.items()},
            }[shown],
            LIVE,
        )


class FeatureFilter(DropdownFilter):
    """Holds of one feature."""

    title = "feature"
    parameter_name = "feature"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        """Return the codes that the catalog has."""
        codes = Feature.objects.order_by("feature_code").values_list(
            "feature_code", flat=True
        )
        return [(code, code) for code in codes.distinct()]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the holds of the feature."""
        code = self.value()
        return queryset.filter(feature_code=code) if code else queryset


class AccountFilter(TextFilter):
    """Holds of the accounts of a principal."""

    title = "account"
    parameter_name = "principal"

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the holds of accounts whose principal has this in it."""
        text = (self.value() or "").strip()
        if not text:
            return queryset
        return queryset.filter(account__billing_principal_id__icontains=text)
