"""The history of one row: who changed what, when, why, and what it was before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.http import Http404
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from config.admin.differences import ABSENT, Difference, differences
from config.admin.values import Value, as_value

PER_PAGE = 25
_KINDS = {
    "+": ("Created", "success"),
    "~": ("Changed", "info"),
    "-": ("Deleted", "danger"),
}
_BOOKKEEPING = frozenset({"created_at", "updated_at"})
"""When a row was written stands beside each entry; it is not a change of its own."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference as people read it."""

    label: str
    path: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded change of a row."""

    title: str
    color: str
    recorded_at: datetime
    effective_at: datetime
    operator: str
    actor: str
    reason: str
    ticket_id: str
    trace_id: str
    changes: Sequence[Change]


def is_audited(model: type[models.Model]) -> bool:
    """Return whether the database keeps the history of this model's rows.

    A proxy's rows are those of another model, which keeps it.
    """
    return hasattr(model, "history") and not model._meta.proxy


def history_rows(model: Any, key: Any) -> models.QuerySet[Any]:
    """Return the history rows of one row, newest first, with what they point to."""
    stored = model.history.model
    related = [
        field.name for field in tracked(model) if isinstance(field, models.ForeignKey)
    ]
    rows: models.QuerySet[Any] = stored._default_manager.filter(
        **{model._meta.pk.attname: key}
    )
    if related:
        rows = rows.select_related(*related)
    # A history instant never runs backwards for one row; ties keep their order.
    return rows.order_by("-history_date", "-history_id")


def tracked(model: Any) -> "list[models.Field[Any, Any]]":
    """Return the history table's fields that are the row's own, bookkeeping aside."""
    kept = {field.name for field in model.history.model._meta.concrete_fields}
    return [
        model.history.model._meta.get_field(field.name)
        for field in model._meta.concrete_fields
        if field.name in kept and field.name not in _BOOKKEEPING
    ]


def entries(model: Any, rows: Sequence[Any], count: int) -> list[Entry]:
    """Return the entries of the first `count` of history rows given newest first.

    Each is compared with the row after it, so hand over one row more than is shown.
    """
    olders = [*rows[1:], None]
    pairs = zip(rows[:count], olders, strict=False)
    return [_entry(model, row, older) for row, older in pairs]


def history_page(screen: Any, request: Any, key: Any) -> TemplateResponse:
    """Return the page of one row's history. 404 where nothing was ever recorded."""
    model = screen.model
    try:
        rows = history_rows(model, model._meta.pk.to_python(key))
        paginator = Paginator(rows, PER_PAGE)
        page = paginator.get_page(request.GET.get("p"))
    except (TypeError, ValueError, ValidationError) as error:
        raise Http404 from error
    if not paginator.count:
        raise Http404
    # One row more than is shown: what the last one on the page changed from.
    listed = list(rows[page.start_index() - 1 : page.end_index() + 1])
    row = screen.get_object(request, str(key))
    name = str(row) if row is not None else name_of_gone(model, listed[0])
    told = entries(model, listed, len(page))
    return _rendered(
        screen, request, row, {"name": name, "entries": told, "page": page}
    )


def told_page(screen: Any, request: Any, row: Any, page: Any) -> TemplateResponse:
    """Return the history page of a row whose history is a page of entries."""
    told = {"name": str(row), "entries": list(page), "page": page}
    return _rendered(screen, request, row, told)


def _rendered(
    screen: Any, request: Any, row: Any, told: dict[str, Any]
) -> TemplateResponse:
    request.current_app = screen.admin_site.name
    return TemplateResponse(
        request,
        "admin/plangate/history.html",
        {
            **screen.admin_site.each_context(request),
            "title": "History",
            "opts": screen.opts,
            "original": row,
            "gone": row is None,
            "back": screen.address_of(row),
            **told,
        },
    )


def name_of_gone(model: Any, last: Any) -> str:
    """Return what a row that was deleted was called, by its last history row.

    Its key, where the name was made of rows that are gone as well.
    """
    fields = tracked(model)
    row = model(**{field.attname: getattr(last, field.attname) for field in fields})
    try:
        return str(row)
    except ObjectDoesNotExist:
        return str(row.pk)


def _entry(model: Any, row: Any, older: Any) -> Entry:
    title, color = _KINDS[row.history_type]
    return Entry(
        title=title,
        color=color,
        recorded_at=row.history_date,
        effective_at=row.effective_at,
        operator=row.operator,
        actor=f"{row.actor_kind.replace('_', ' ')} {row.actor_id}",
        reason=row.reason,
        ticket_id=row.ticket_id,
        trace_id=row.trace_id,
        changes=_changes(model, row, older),
    )


def _changes(model: Any, row: Any, older: Any) -> list[Change]:
    """Return what a row changed; what it was last for one that was deleted."""
    fields = {field.attname: field for field in tracked(model)}
    before = {} if older is None else _state(fields, older)
    after = _state(fields, row)
    if row.history_type == "+":
        # Against an empty object, so that a new document is told key by key as well.
        before = {
            name: {} if isinstance(value, dict) else ABSENT
            for name, value in after.items()
        }
    elif row.history_type == "-":
        before, after = after, {}
    return [
        _change(fields[str(difference.path[0])], difference, row, older)
        for difference in differences(before, after)
        if not (row.history_type != "~" and _is_blank(difference))
    ]


def _state(fields: dict[str, Any], row: Any) -> dict[str, Any]:
    # A list in a column of its own is one value; only JSON is compared inside.
    return {
        name: tuple(value)
        if isinstance(value := getattr(row, name), list)
        and not isinstance(field, models.JSONField)
        else value
        for name, field in fields.items()
    }


def _is_blank(difference: Difference) -> bool:
    """Return whether a creation or deletion says nothing by this: it was empty."""
    return all(
        value is ABSENT or value in (None, "", [], {})
        for value in (difference.before, difference.after)
    )


def _change(field: Any, difference: Difference, row: Any, older: Any) -> Change:
    label = capfirst(str(field.verbose_name))
    if len(difference.path) > 1:
        inner = Difference(difference.path[1:], difference.before, difference.after)
        return Change(
            label=label,
            path=inner.dotted,
            before=as_value(inner.before),
            after=as_value(inner.after),
        )
    deleted = row.history_type == "-"
    return Change(
        label=label,
        path="",
        before=as_value(difference.before, field, row if deleted else older),
        after=as_value(difference.after, field, row),
    )
