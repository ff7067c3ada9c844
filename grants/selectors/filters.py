"""How lists of assignments and grants are narrowed."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

from config.kernel.ids import parse_uuid

M = TypeVar("M", bound=Model)


def narrowed(
    rows: QuerySet[M],
    *,
    ids: Mapping[str, str],
    values: Mapping[str, str],
    allowed: Collection[str],
    filters: Mapping[str, Any],
) -> QuerySet[M]:
    """Return the rows that match every given filter; one that is None asks nothing.

    `ids` and `values` say which lookup a filter is: an id that is none matches
    nothing. `window_end_before`, `window_end_after`, `window_start_before` and
    `window_start_after` (aware UTC) compare a bound; an open end is after everything.
    `allowed` limits to the accounts of those ids, where it names some.
    """
    if allowed:
        rows = rows.filter(account__in=[key for key in map(parse_uuid, allowed) if key])
    for name, value in filters.items():
        if value is None:
            continue
        if name in ids:
            key = parse_uuid(value)
            rows = rows.filter(**{ids[name]: key}) if key else rows.none()
        elif name in values:
            rows = rows.filter(**{values[name]: value})
        else:
            rows = rows.filter(_bound(name, value))
    return rows


def _bound(name: str, value: datetime) -> Q:
    column, _, side = name.rpartition("_")
    if side == "before":
        return Q(**{f"{column}__lt": value})
    return Q(**{f"{column}__gt": value}) | Q(**{f"{column}__isnull": True})
