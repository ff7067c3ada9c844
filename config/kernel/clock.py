"""The one clock. Only the edge (admin, API, commands, jobs) reads it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present instant as aware UTC, with microseconds."""
    return datetime.now(UTC)
