"""Calling the gate's functions in the database: one prepared round trip each."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson
import psycopg
from django.db import connection
from psycopg import errors

from config.kernel.errors import Unavailable
from gating.options import options

ATTEMPTS = 3
_AUTHORIZE = "SELECT gate_authorize(%s::jsonb, %s, %s, %s, false, %s)::text"
_PREFLIGHT = "SELECT gate_preflight(%s::jsonb, %s, %s, %s, true, %s)::text"
_COMMIT = "SELECT gate_commit(%s::jsonb, %s, %s, %s, %s)::text"

Document = dict[str, Any]
Function = Callable[..., list[Document]]
"""One of these, or what sends its items together (`gating.services.coalescing`)."""


class GateMoved(Unavailable):
    """What was decided on has changed since; the same request may be sent again (503).

    Cannot happen while the account's lock is held: the second belt, should it not be.
    """

    default_code = "SERVER.BUSY"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} changed meanwhile. Send the request again with the same "
            "Idempotency-Key.",
            meta={"retry_after": 1},
        )


class CredentialsMoved(Exception):
    """The credentials that the caller was known by have changed since: read them."""


def gate_authorize(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what `gating/sql/authorize.sql` answers to the items at `at`.

    Refuses (`CredentialsMoved`), and does nothing, where `version` is no longer that
    of the credentials.
    """
    ttl, grace = options().lease_ttl, options().lease_grace
    return _call(_AUTHORIZE, items, at, ttl, grace, version)


def gate_preflight(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what it would answer, of one snapshot; nothing is written."""
    ttl, grace = options().lease_ttl, options().lease_grace
    return _call(_PREFLIGHT, items, at, ttl, grace, version)


def gate_commit(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what `gating/sql/commit.sql` answers to the items at `at`.

    Refuses as `gate_authorize` does.
    """
    grace, strict = options().lease_grace, options().strict_meters
    return _call(_COMMIT, items, at, grace, strict, version)


def _call(statement: str, items: Sequence[Document], *arguments: Any) -> list[Document]:
    """Return the answers, one per item.

    Tries again, outside a transaction of the caller's, where another writer was in
    the way; refuses (`GateMoved`) after three times.
    """
    given = (orjson.dumps(items).decode(), *arguments)
    attempts = 1 if connection.in_atomic_block else ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            return _execute(statement, given)
        except (errors.SerializationFailure, errors.DeadlockDetected):
            if attempt == attempts:
                raise GateMoved("The account's gate") from None
    raise AssertionError("unreachable")


def _execute(statement: str, given: tuple[Any, ...]) -> list[Document]:
    # Django's own cursor binds on the client, so that nothing could be prepared.
    with connection.cursor():
        raw: Any = connection.connection
    cursor = psycopg.Cursor(raw)
    cursor.execute(statement, given, prepare=True)
    row: Any = cursor.fetchone()
    answers: list[Document] = orjson.loads(row[0])
    if answers and answers[0]["o"] == "credentials":
        raise CredentialsMoved
    return answers
