"""Giving back what is held on counters; the gate's functions do all other counting."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from gating.models import Counter
from gating.services.functions import GateMoved

_RELEASE = f"""
UPDATE {Counter._meta.db_table} SET reserved_minor = reserved_minor - %s
WHERE id = ANY(%s) AND reserved_minor >= %s
"""  # noqa: S608 - the table name is ours.


def release(counter_ids: Sequence[UUID], quantity_minor: int) -> None:
    """Give back a quantity held on each of the counters, under the account's lock."""
    if not counter_ids or quantity_minor == 0:
        return
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, [quantity_minor, list(counter_ids), quantity_minor])
        if cursor.rowcount != len(counter_ids):
            raise GateMoved("A counter's reservation")
