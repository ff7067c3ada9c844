"""Which version of a row a page was made from, so that nobody's change is undone."""

from typing import Any

from django.db.models import Max

from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict


class ChangedMeanwhile(Conflict):
    """Somebody else changed the row after the page was opened (409)."""


def last_version(row: Any) -> int | None:
    """Return the number of an audited row's last change, None where it has none."""
    found = _history(row).aggregate(last=Max("history_id"))["last"]
    return None if found is None else int(found)


def refuse_stale(row: Any, seen: int | None, *, by: AuditContext) -> None:
    """Refuse (`ChangedMeanwhile`) a change to a row that is no longer as it was seen.

    `seen` is the `last_version` that the page was made from; None asks for nothing.
    Call after the change, in its transaction: changes that carry the trace id of `by`
    are its own.
    """
    if seen is None:
        return
    others = _history(row).filter(history_id__gt=seen).exclude(trace_id=by.trace_id)
    other = others.order_by("-history_id").first()
    if other is not None:
        raise ChangedMeanwhile(
            f"{other.operator} changed this on {other.history_date:%Y-%m-%d %H:%M} "
            f"UTC, after you opened the page: {other.reason} ({other.ticket_id}). "
            "Nothing of yours is saved. Open the page again to see it as it is now."
        )


def _history(row: Any) -> Any:
    key = type(row)._meta.pk.attname
    return type(row).history.filter(**{key: row.pk})
