"""Cursor pagination: signed, bound to the list it came from, constant in cost."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from django.core import signing
from django.db.models import Model, Q, QuerySet

from config.kernel.errors import Invalid
from config.kernel.windows import parse_instant

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

M = TypeVar("M", bound=Model)
_SALT = "plangate.cursor"


def page_limit(text: str | None) -> int:
    """Return the page size asked for: 1 to 200, 50 where absent or not a number."""
    if text and text.isascii() and text.isdigit() and int(text[:9]) > 0:
        return min(int(text[:9]), MAX_LIMIT)
    return DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class Sorting:
    """An allowed sort: a column, and whether it falls."""

    field: str = "id"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class PageOf:
    """One page of rows and the cursor of the next, None at the end."""

    rows: Sequence[Any]
    next_cursor: str | None
    limit: int


def paginate(
    rows: QuerySet[M],
    *,
    limit: int,
    cursor: str | None,
    scope: str,
    sorting: Sorting | None = None,
) -> PageOf:
    """Return one page of `rows`.

    `scope` names what the cursor is good for (realm, list, filters): a cursor of
    another list is refused (`Invalid` on `cursor`). Ties are broken by id, so a page
    boundary never loses or repeats a row.
    """
    order = sorting or Sorting()
    mark = hashlib.sha256(f"{scope}|{order}".encode()).hexdigest()[:16]
    if cursor:
        rows = rows.filter(_after(_read(cursor, mark), order))
    sign = "-" if order.descending else ""
    names = [f"{sign}{order.field}"]
    if order.field != "id":
        names.append(f"{sign}id")
    found = list(rows.order_by(*names)[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    following = _write(found[-1], order, mark) if more else None
    return PageOf(found, following, limit)


def _write(row: Model, order: Sorting, mark: str) -> str:
    position = orjson.dumps([getattr(row, order.field), row.pk, mark]).decode()
    return signing.Signer(salt=_SALT).sign_object(position)


def _read(cursor: str, mark: str) -> tuple[Any, Any]:
    try:
        value, key, made_for = orjson.loads(
            signing.Signer(salt=_SALT).unsign_object(cursor[:2048])
        )
    except (signing.BadSignature, ValueError, TypeError):
        raise Invalid("This cursor was not issued here.", field="cursor") from None
    if made_for != mark:
        raise Invalid(
            "This cursor belongs to a list with other filters or another order.",
            field="cursor",
        )
    return value, key


def _after(position: tuple[Any, Any], order: Sorting) -> Q:
    value, key = position
    step = "lt" if order.descending else "gt"
    if order.field == "id":
        return Q(**{f"id__{step}": key})
    if order.field.endswith("_at") and isinstance(value, str):
        value = parse_instant(value)
    return Q(**{f"{order.field}__{step}": value}) | Q(
        **{order.field: value, f"id__{step}": key}
    )


def items(page: PageOf, render: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a page in the `{"items": …, "next_cursor": …}` form."""
    document: dict[str, Any] = {"items": [render(row) for row in page.rows]}
    if page.next_cursor:
        document["next_cursor"] = page.next_cursor
    return document
