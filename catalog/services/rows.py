"""How verbs of this app take hold of a row and write to it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from django.db import IntegrityError, connection, transaction
from django.db.models import Model, QuerySet

from config.kernel.errors import DomainError, NotFound
from config.tenancy.models import Row

M = TypeVar("M", bound=Model)


def locked(rows: QuerySet[M], row: M) -> M:
    """Return `row` as it is now, locked against other writers.

    Refuses (`NotFound`) a row that was deleted meanwhile. The lock lets others refer
    to the row.
    """
    found = rows.select_for_update(no_key=True).filter(pk=row.pk).first()
    if found is None:
        raise NotFound(f"{row} was deleted.")
    return found


def locked_or_inserted(same: QuerySet[M], new: M) -> tuple[M, bool]:
    """Return the one row of `same`, locked, and whether it is `new`, just inserted.

    `same` selects by a unique key. Of two writers that both find none, one inserts;
    the other waits for it and gets that row, so neither sees a unique violation.
    """
    rows = same.select_for_update(no_key=True)
    found = rows.first()
    if found is None:
        same.model._default_manager.bulk_create([new], ignore_conflicts=True)
        found = rows.get()
    return found, found.pk == new.pk


def rewritten(row: Row, values: Mapping[str, object], *, at: datetime) -> list[str]:
    """Give a locked row `values`; write, and return the names of, what differs.

    Nothing is written when nothing differs. `at` becomes `updated_at`.
    """
    changed = [
        name for name, value in values.items() if _differs(getattr(row, name), value)
    ]
    if changed:
        for name in changed:
            setattr(row, name, values[name])
        row.updated_at = at
        row.save(update_fields=[*changed, "updated_at"])
    return changed


def deleted(*rows: QuerySet[M]) -> bool:
    """Delete rows, in this order, or none of them; return whether they are gone.

    They stay where anything else refers to one of them.
    """
    try:
        with transaction.atomic():
            for each in rows:
                each.delete()
            with connection.cursor() as cursor:
                # Have every foreign key judged here, not at the end of the request.
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                # A feature is made in two steps, also after this.
                cursor.execute("SET CONSTRAINTS feature_has_its_primary_meter DEFERRED")
    except IntegrityError:
        return False
    return True


def _differs(stored: object, given: object) -> bool:
    if isinstance(stored, dict):
        # As text: to Python, but not to JSON, true and 1 are equal.
        return json.dumps(stored, sort_keys=True) != json.dumps(given, sort_keys=True)
    return stored != given


@contextmanager
def under(path: str) -> Iterator[None]:
    """Let refusals inside name their field below `path`."""
    try:
        yield
    except DomainError as refusal:
        if refusal.field:
            refusal.field = f"{path}.{refusal.field}"
        if "errors" in refusal.meta:
            refusal.meta["errors"] = [
                (f"{path}.{field}", sentence)
                for field, sentence in refusal.meta["errors"]
            ]
        raise
