"""Care of the partitions in which append-only rows stand by month."""

from datetime import datetime

from django.db import connection, transaction

MONTHS_AHEAD = 3
RATINGS_AT_ONCE = 20_000

_OLDEST = "SELECT min(rated_at) FROM gate_ratings_default"
_MOVE = "SELECT gate_move_to_month(%s, %s)"


def make_partitions(*, at: datetime) -> int:
    """Make what is missing of this month's partitions and the next three's.

    Returns how many were made. `at` is aware UTC. A month whose rows stand in the
    default partition already is left to `move_to_month`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT gate_make_partitions(%s, %s)", [at.date(), 1 + MONTHS_AHEAD]
        )
        made: int = cursor.fetchone()[0]
    return made


def move_to_month(*, most: int = RATINGS_AT_ONCE) -> int:
    """Move ratings out of the default partition into one of their month.

    The oldest month's, and of it at most `most`, with their lines, in one transaction;
    commits wait for it. Returns how many; 0 when none is left there.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_OLDEST)
        oldest: datetime | None = cursor.fetchone()[0]
        if oldest is None:
            return 0
        cursor.execute(_MOVE, [oldest.date(), most])
        moved: int = cursor.fetchone()[0]
    return moved
