"""What jobs need to serve many: one that fails keeps no other waiting, and runs end."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from django.db import connection

log = structlog.get_logger("plangate.grants")

FIRST = UUID(int=0)
"""The id before all ids."""


def never() -> bool:
    """Return False: nothing but the end of the work ends the run."""
    return False


@contextmanager
def apart(
    failure: str, key: UUID, failed: list[UUID], **facts: object
) -> Iterator[None]:
    """Do the work of one; where it fails, log `failure`, note the key, and go on.

    Whatever fails, because whatever it is about one must not keep the others waiting.
    Only what broke a transaction around the work is raised.
    """
    try:
        yield
    except Exception:
        if connection.needs_rollback:
            raise
        log.exception(failure, key=str(key), **facts)
        failed.append(key)
