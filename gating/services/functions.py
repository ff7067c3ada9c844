"""Calling the gate's functions in the database: one prepared round trip each."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

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
_READ = "SELECT gate_ingest_read(%s::jsonb, %s, %s)::text"
_BOOK = "SELECT gate_ingest_book(%s::jsonb, %s::jsonb, %s::jsonb, %s, %s, %s, %s)::text"

Document = dict[str, Any]
Function = Callable[..., list[Document]]
"""One of these, or what sends its items together (`gating.services.coalescing`)."""

Partial = Callable[..., Sequence[Document | None]]
"""One that answers None to an item which is to be sent by itself."""


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
    return _told(_AUTHORIZE, items, at, ttl, grace, version)


def gate_preflight(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what it would answer, of one snapshot; nothing is written."""
    ttl, grace = options().lease_ttl, options().lease_grace
    return _told(_PREFLIGHT, items, at, ttl, grace, version)


def gate_commit(
    items: Sequence[Document],
    *,
    at: datetime,
    version: int | None = None,
    strict: bool | None = None,
) -> list[Document]:
    """Return what `gating/sql/commit.sql` answers to the items at `at`.

    `strict` refuses meters that the feature does not have; None: as the deployment
    does, and where it registers them, so that they can be. Refuses as
    `gate_authorize` does.
    """
    if strict is None:
        strict = options().strict_meters or options().auto_register
    return _told(_COMMIT, items, at, options().lease_grace, strict, version)


def _told(statement: str, items: Sequence[Document], *arguments: Any) -> list[Document]:
    """Return the answers, one per item."""
    text = prepared(statement, (orjson.dumps(items).decode(), *arguments))
    answers: list[Document] = orjson.loads(text)
    if answers and answers[0]["o"] == "credentials":
        raise CredentialsMoved
    return answers


def gate_ingest_read(
    item: Document, *, at: datetime, version: int | None = None
) -> Document:
    """Return what `gating/sql/ingest.sql` reads for an item, and lock it, at `at`.

    In a transaction. Refuses as `gate_authorize` does.
    """
    text = prepared(_READ, (orjson.dumps(item).decode(), at, version))
    answer: Document = orjson.loads(text)
    if answer["o"] == "credentials":
        raise CredentialsMoved
    return answer


def gate_ingest_book(
    rating: Document,
    lines: Sequence[Document],
    remainders: Sequence[Document],
    *,
    budget_xusd: int,
    request_hash: str,
    entry_id: UUID,
    at: datetime,
) -> None:
    """Book what was settled on what `gate_ingest_read` read, in its transaction.

    `budget_xusd` is what the rating's budget consumes.
    """
    written = [orjson.dumps(each).decode() for each in (rating, lines, remainders)]
    prepared(_BOOK, (*written, budget_xusd, request_hash, entry_id, at))


def prepared(statement: str, given: Any) -> Any:
    """Return the one value that a prepared statement answers; None for no row.

    Tries again, outside a transaction of the caller's, where another writer was in the
    way, or the connection was lost before it was used: a repeat is answered from its
    key. Refuses (`GateMoved`) after three times, and at once where the account's lock
    was not to be had in time.
    """
    alone = not connection.in_atomic_block
    attempts = ATTEMPTS if alone else 1
    for attempt in range(1, attempts + 1):
        try:
            return _execute(statement, given)
        except (errors.SerializationFailure, errors.DeadlockDetected):
            if attempt == attempts:
                raise GateMoved("The account's gate") from None
        except errors.LockNotAvailable:
            # Waited for as long as a request may wait already.
            raise GateMoved("The account's gate") from None
        except psycopg.OperationalError:
            if not (alone and attempt == 1 and _is_lost()):
                raise
            connection.close()
    raise AssertionError("unreachable")


def _is_lost() -> bool:
    raw: Any = connection.connection
    return raw is not None and bool(raw.broken or raw.closed)


def _execute(statement: str, given: Any) -> Any:
    # Not by Django's cursor: it binds on the client, so that nothing could be prepared,
    # and asks the server whether it is there before each request's first statement.
    if connection.connection is None:
        connection.ensure_connection()
    raw: Any = connection.connection
    cursor = psycopg.Cursor(raw)
    cursor.execute(statement, given, prepare=True)
    row: Any = cursor.fetchone()
    return None if row is None else row[0]
