"""A form that was sent once is not carried out again: by a reload, a second click.

The database keeps the mark of a form for minutes, as it keeps the numbers used once of
a service key, so that of two clicks at the same time one does nothing. The session
keeps the last ones for as long as it lasts.
"""

import hashlib
from datetime import datetime
from typing import Any

from django.db import connection

from config.kernel.errors import Conflict
from config.tenancy.models import ServiceKeyNonce

_SENT = "plangate_sent_forms"
_SENT_KEPT = 30

_CLAIM = f"""
INSERT INTO {ServiceKeyNonce._meta.db_table} (key_id, nonce, seen_at)
VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""  # noqa: S608 - the table name is ours.


class AlreadySent(Conflict):
    """A form that was carried out before is sent again (409)."""


def claim_once(request: Any, mark: str | None, *, at: datetime) -> None:
    """Take the mark of a form, for good where the transaction commits.

    Refuses (`AlreadySent`) a mark that was taken before; a form without one claims
    nothing. Of two requests at the same time the second waits for the first to end.
    """
    if not mark:
        return
    number = hashlib.sha256(mark.encode("utf-8", "surrogatepass")).hexdigest()
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [f"staff:{request.user.pk}", number, at])
        if mark in request.session.get(_SENT, []) or not cursor.rowcount:
            raise AlreadySent(
                "This form was already sent once. Open it again to repeat it."
            )


def note_sent(request: Any, mark: str | None) -> None:
    """Remember the mark of a form that was carried out, in the session."""
    if mark:
        sent = [*request.session.get(_SENT, []), mark]
        request.session[_SENT] = sent[-_SENT_KEPT:]
