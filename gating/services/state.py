"""The account's lock, which every write of its gate takes first."""

from typing import Any
from uuid import UUID

from django.db import connection

from gating.models import GateState

_TABLE = GateState._meta.db_table
_LOCK = f"""
SELECT 1 FROM {_TABLE} WHERE realm_id = %s AND account_id = %s FOR NO KEY UPDATE
"""  # noqa: S608 - the table name is ours.
_CREATE = f"""
INSERT INTO {_TABLE} (realm_id, account_id) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""  # noqa: S608 - the same.


def lock_gate(realm_id: str, account_id: UUID, *, wait: bool = True) -> bool:
    """Lock the account's gate until the transaction ends; return whether it is locked.

    The first use of an account creates its row. Without `wait`, a lock that another
    holds is left to it.
    """
    where: list[Any] = [realm_id, account_id]
    with connection.cursor() as cursor:
        cursor.execute(_LOCK if wait else f"{_LOCK} SKIP LOCKED", where)
        if cursor.fetchone() is not None or not wait:
            return bool(cursor.rowcount == 1)
        cursor.execute(_CREATE, where)
        cursor.execute(_LOCK, where)
        return cursor.fetchone() is not None
