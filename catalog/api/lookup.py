"""Rows that an address names."""

from typing import TypeVar

from django.db.models import Model, QuerySet

from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid

M = TypeVar("M", bound=Model)


def row_named(rows: QuerySet[M], text: str) -> M:
    """Return the row of `rows` whose id is `text`.

    Refuses (`NotFound`) an unknown id, one of another realm, and what is no id.
    """
    key = parse_uuid(text)
    row = None if key is None else rows.filter(pk=key).first()
    if row is None:
        noun = rows.model._meta.verbose_name
        raise NotFound(f"There is no {noun} by that id in this realm.")
    return row
