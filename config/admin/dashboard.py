"""The first page: figures worth a look, and what was changed lately."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import models
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.text import capfirst

from config.admin.history import is_audited, name_of_gone
from config.kernel.clock import now

RECENT = 15
SOON = timedelta(days=14)
_KINDS = {"+": "created", "~": "changed", "-": "deleted"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number on the first page, with where to look further.

    Attributes:
        label: what is counted: "Assignments ending within 14 days".
        rows: returns the queryset to count, at an instant (aware UTC).
        url_name: the page that lists them, reversed without arguments.
        permission: who sees the figure (`app.codename`).
        query: returns the query string of the page, at the same instant.
        icon: the name of a Material symbol.
        order: smaller stands first.

    """

    label: str
    rows: Callable[[datetime], models.QuerySet[Any]]
    url_name: str
    permission: str
    query: Callable[[datetime], str] | None = None
    icon: str = "monitoring"
    order: int = 100


News = Callable[[HttpRequest, int], list[dict[str, Any]]]
"""Returns so many of the newest changes that no history keeps, as a visitor may see.

Each has what `recent_changes` tells of a change.
"""

_figures: list[Figure] = []
_news: list[News] = []


def add_news(source: News) -> None:
    """Let the first page tell, among what changed lately, what an app records."""
    if source not in _news:
        _news.append(source)


def add_figure(figure: Figure) -> None:
    """Put a figure on the first page. One label is shown once."""
    if all(figure.label != known.label for known in _figures):
        _figures.append(figure)
        _figures.sort(key=lambda known: (known.order, known.label))


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of the first page."""
    at = now()
    return {
        **context,
        "title": "Overview",
        "figures": [
            _counted(figure, at) for figure in _figures if _seen(figure, request)
        ],
        "recent": lately(request),
    }


def _seen(figure: Figure, request: HttpRequest) -> bool:
    try:
        reverse(figure.url_name)
    except NoReverseMatch:
        return False
    return request.user.has_perm(figure.permission)


def _counted(figure: Figure, at: datetime) -> dict[str, Any]:
    query = figure.query(at) if figure.query else ""
    return {
        "label": figure.label,
        "count": figure.rows(at).count(),
        "link": f"{reverse(figure.url_name)}{f'?{query}' if query else ''}",
        "icon": figure.icon,
    }


def lately(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the newest of all that changed, whoever keeps it."""
    found = recent_changes(request)
    for source in _news:
        found += source(request, RECENT)
    return sorted(found, key=itemgetter("recorded_at"), reverse=True)[:RECENT]


def recent_changes(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the newest entries of every history this member of staff may see.

    One query for the entries, whatever the number of models: each history gives its
    newest rows, by the key that grows, and of those the newest are kept. One more for
    the names of each model among them.
    """
    screens = {
        str(model._meta.label): screen
        for model, screen in admin.site._registry.items()
        if is_audited(model)
        and getattr(screen, "changes_lately", True)
        and screen.has_view_permission(request)
    }
    parts = [_newest(screen.model) for screen in screens.values()]
    if not parts:
        return []
    rows = parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]
    found = list(rows.order_by("-history_date", "-history_id")[:RECENT])
    names = _names(screens, found)
    return [_recent(screens[row["row_model"]], row, names) for row in found]


def _names(
    screens: dict[str, Any], found: list[dict[str, Any]]
) -> dict[tuple[str, str], str]:
    """Return what the rows are, or were, called, by model and key."""
    keys: dict[str, set[str]] = {}
    for entry in found:
        keys.setdefault(entry["row_model"], set()).add(entry["row_key"])
    return {
        (label, key): name
        for label, wanted in keys.items()
        for key, name in _called(screens[label], wanted).items()
    }


def _called(screen: Any, keys: set[str]) -> dict[str, str]:
    model = screen.model
    rows = screen.with_related(model._default_manager.filter(pk__in=keys))
    names = {str(row.pk): str(row) for row in rows}
    gone = keys - set(names)
    if gone:
        key = model._meta.pk.attname
        stored = model.history.model._default_manager
        last = stored.filter(history_type="-", **{f"{key}__in": gone})
        names |= {str(getattr(row, key)): name_of_gone(model, row) for row in last}
    return names


def _newest(model: Any) -> Any:
    # Every part of a union has the same columns, in the same order.
    return (
        model.history.model._default_manager.order_by("-history_id")
        .annotate(
            row_model=models.Value(model._meta.label, models.TextField()),
            row_key=Cast(model._meta.pk.attname, models.TextField()),
        )
        .values(
            "row_model", "row_key", "history_id", "history_date", "history_type",
            "operator", "reason", "ticket_id",
        )[:RECENT]
    )  # fmt: skip


def _recent(
    screen: Any, row: dict[str, Any], names: dict[tuple[str, str], str]
) -> dict[str, Any]:
    opts = screen.opts
    name = names.get((row["row_model"], row["row_key"]), row["row_key"])
    link = reverse(
        f"admin:{opts.app_label}_{opts.model_name}_history",
        args=[quote(row["row_key"])],
    )
    return {
        "what": f"{capfirst(str(opts.verbose_name))} {name}",
        "verb": _KINDS[row["history_type"]],
        "link": link,
        "recorded_at": row["history_date"],
        "operator": row["operator"],
        "reason": row["reason"],
        "ticket_id": row["ticket_id"],
    }
