"""History that cannot be bypassed.

`AuditedRecords` gives an audited model its history table (django-simple-history).
The rows are written by a database trigger (`operations.audited`), so that `save()`,
`update()`, bulk writes and raw SQL all leave the same trace, and a write outside
`auditing(...)` is refused by the database itself. See docs/adr/0004-history.md.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection, models
from simple_history.models import HistoricalRecords

from config.kernel.audit import AuditContext

SETTING = "plangate.audit"


class AuditedHistory(models.Model):
    """Columns that every history row carries besides the audited row's own."""

    actor_kind = models.TextField()
    actor_id = models.TextField()
    operator = models.TextField()
    reason = models.TextField()
    ticket_id = models.TextField()
    effective_at = models.DateTimeField()
    trace_id = models.TextField()
    idempotency_key = models.TextField(null=True)  # noqa: DJ001 - NULL: had none.

    class Meta:
        abstract = True


class AuditedRecords(HistoricalRecords):
    """The `history` attribute of an audited model.

    `table_name` is `<audited table>_history`; `excluded_fields` names columns that
    must never reach history (secrets) or that are not worth a row.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            bases=[AuditedHistory],
            history_id_field=models.BigAutoField(),
            **options,
        )

    def get_extra_fields(self, model: Any, fields: Any) -> dict[str, Any]:
        """Return simple-history's own columns, less those we replace."""
        extra: dict[str, Any] = super().get_extra_fields(  # type: ignore[no-untyped-call]
            model, fields
        )
        for replaced in ("history_change_reason", "history_user", "revert_url"):
            extra.pop(replaced, None)
        return extra

    def get_meta_options(self, model: Any) -> dict[str, Any]:
        """Return the history table's Meta: explained rows, found by time."""
        options: dict[str, Any] = super().get_meta_options(  # type: ignore[no-untyped-call]
            model
        )
        options["constraints"] = [
            models.CheckConstraint(
                name=f"{model._meta.db_table}_history_is_explained",
                condition=models.Q(
                    operator__regex=r"\S", reason__regex=r"\S", ticket_id__regex=r"\S"
                ),
            )
        ]
        return options


@contextmanager
def auditing(by: AuditContext, *, at: datetime, ahead: bool = False) -> Iterator[None]:
    """Let audited tables be written inside this block, explained by `by`.

    Must run inside a transaction: the setting is local to it. `at` is the instant
    recorded as "known since" (aware UTC). Restores the outer block's context, so
    verbs may call verbs.

    Refuses (AUDIT.EFFECTIVE_IN_FUTURE) an effective time still to come, unless the
    verb has a time axis of its own (`ahead`), such as a window: everything else holds
    as soon as it is written.
    """
    if not ahead:
        by.require_in_effect(at)
    document = {
        "actor_kind": by.actor.kind,
        "actor_id": by.actor.identifier,
        "operator": by.operator,
        "reason": by.reason,
        "ticket_id": by.ticket_id,
        "effective_at": by.effective_at.isoformat(),
        "trace_id": by.trace_id,
        "idempotency_key": by.idempotency_key,
        "history_date": at.isoformat(),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting(%s, true), set_config(%s, %s, true)",
            [SETTING, SETTING, json.dumps(document)],
        )
        outer = cursor.fetchone()[0]
        yield
        cursor.execute("SELECT set_config(%s, %s, true)", [SETTING, outer or ""])
