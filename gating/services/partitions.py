"""Care of the partitions in which append-only rows stand by month."""

from datetime import datetime

from django.db import connection

MONTHS_AHEAD = 3


def make_partitions(*, at: datetime) -> int:
    """Make what is missing of this month's partitions and the next three's.

    Returns how many were made. `at` is aware UTC. A month whose rows stand in the
    default partition already is left there.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT gate_make_partitions(%s, %s)", [at.date(), 1 + MONTHS_AHEAD]
        )
        made: int = cursor.fetchone()[0]
    return made
