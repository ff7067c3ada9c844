"""What is kept for a time only: ended leases, counters, denials, months of ratings."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from config.kernel.recurrence import MONTHLY, boundary, calendar_period
from config.tenancy.models import Realm
from gating.options import MAX_SECONDS, options
from gating.services.seat_ratings import OPERATION as SEATS

FIRST = UUID(int=0)
KEYS_AT_ONCE = 5_000

# By the primary key, which grows with time: no index has to know when leases ended. A
# lease that somebody looks at with a lock is left to the next run.
_LEASES = """
WITH old AS (
    SELECT id FROM gate_leases
    WHERE id > %(after)s AND id < %(before_id)s AND ended_at < %(before)s
    ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM gate_leases l USING old WHERE l.id = old.id RETURNING l.id
)
SELECT count(*), (array_agg(id ORDER BY id DESC))[1] FROM gone
"""

_DENIALS = """
DELETE FROM gate_denials WHERE id IN (
    SELECT id FROM gate_denials WHERE realm_id = %s AND first_at < %s
    ORDER BY first_at LIMIT %s FOR UPDATE SKIP LOCKED)
"""

_COUNTERS = """
DELETE FROM gate_counters WHERE id IN (
    SELECT id FROM gate_counters
    WHERE realm_id = %s AND window_end < %s AND reserved_minor = 0
    ORDER BY window_end LIMIT %s FOR UPDATE SKIP LOCKED)
"""

_MONTHS = """
SELECT DISTINCT to_date(substring(c.relname FROM '_(\\d{6})(?:_\\d+)?$'), 'YYYYMM')
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'gate_ratings'::regclass AND c.relname ~ '_\\d{6}(_\\d+)?$'
ORDER BY 1
"""

_KEYS = """
WITH month AS (
    SELECT id FROM gate_ratings
    WHERE rated_at >= %(start)s AND rated_at < %(end)s AND id > %(after)s
    ORDER BY id LIMIT %(batch)s
), gone AS (
    DELETE FROM gate_rating_keys k USING month
    WHERE k.rating_id = month.id AND k.operation <> %(seats)s
)
SELECT (array_agg(id ORDER BY id DESC))[1] FROM month
"""

_DROP = "SELECT gate_drop_old_partitions(%s)"


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows a batch deleted, and the last of them, to go on behind."""

    count: int
    last: UUID


def purge_leases(*, at: datetime, after: UUID = FIRST, batch: int = 500) -> Purged:
    """Delete up to `batch` leases that ended long enough before `at` (aware UTC).

    How long is the deployment's (`PLANGATE_LEASES_KEPT_DAYS`). One short statement,
    which waits for nobody. What a lease led to stays: its rating and the rating's key,
    entries and events.
    """
    before = at - options().leases_kept
    given = {
        "after": after,
        "before": before,
        "before_id": _first_id(before),
        "batch": batch,
    }
    count, last = _row(_LEASES, given)
    return Purged(count, last or after)


def _first_id(at: datetime) -> UUID:
    """Return an id below all those made from `at` on (UUIDv7: its time comes first)."""
    return UUID(int=(int(at.timestamp() * 1000) << 80))


def purge_counters(*, at: datetime, batch: int = 500) -> int:
    """Delete counters of windows that ended long before `at`; return how many.

    `at` is aware UTC. At most `batch` of each realm. So long before, that no lease
    that counts there is kept; a counter on which something is still held stays.
    """
    # A lease may have been given for longer than one is now.
    longest = timedelta(seconds=MAX_SECONDS)
    kept = options().leases_kept + 2 * longest
    return _of_each_realm(_COUNTERS, at - kept, batch)


def purge_denials(*, at: datetime, batch: int = 500) -> int:
    """Delete denials of months that are kept no longer; return how many.

    At most `batch` of each realm. Nothing, unless the deployment says how many months
    are kept (`PLANGATE_DENIALS_KEPT_MONTHS`).
    """
    months = options().denials_kept_months
    if months is None:
        return 0
    return _of_each_realm(_DENIALS, oldest_kept(at, months), batch)


def _of_each_realm(statement: str, before: datetime, batch: int) -> int:
    gone = 0
    for realm_id in Realm.objects.values_list("pk", flat=True):
        with connection.cursor() as cursor:
            cursor.execute(statement, [realm_id, before, batch])
            gone += cursor.rowcount
    return gone


def drop_old_months(*, at: datetime) -> list[str]:
    """Drop the partitions of ratings and lines that are kept no longer; name them.

    Whole months only, each after the keys of its ratings, in a transaction of its own.
    The keys of seats stay, so that none is ever billed again. Nothing, unless the
    deployment says how many months are kept (`PLANGATE_RATINGS_KEPT_MONTHS`).
    """
    kept = options().ratings_kept_months
    if kept is None:
        return []
    oldest = oldest_kept(at, kept)
    dropped: list[str] = []
    for month in _months():
        start = calendar_period("month", _midnight(month, at)).start
        end = boundary(start, MONTHLY, 1)
        if end <= oldest:
            _forget_keys(start, end)
            with transaction.atomic():
                [names] = _row(_DROP, [end.date()])
            dropped += names
    return dropped


def oldest_kept(at: datetime, months: int) -> datetime:
    """Return where the oldest month begins that is kept beside the present one."""
    return boundary(calendar_period("month", at).start, MONTHLY, -months)


def _midnight(day: date, at: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=at.tzinfo)


def _months() -> list[date]:
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS)
        return [month for (month,) in cursor.fetchall()]


def _forget_keys(start: datetime, end: datetime) -> None:
    """Delete the keys of a month's ratings: nothing could be answered to them."""
    after: UUID | None = FIRST
    while after is not None:
        given = {
            "start": start,
            "end": end,
            "after": after,
            "batch": KEYS_AT_ONCE,
            "seats": SEATS,
        }
        [after] = _row(_KEYS, given)


def _row(statement: str, given: Any) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        found: tuple[Any, ...] = cursor.fetchone()
    return found
