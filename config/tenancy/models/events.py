from django.db import models

from config.tenancy.models.base import RealmQuerySet, Row


class DomainEvent(Row):
    """Something that happened, recorded in the transaction in which it happened.

    Apps above subscribe in-process (`services.events.subscribe`); slow consumers read
    the rows later, as an outbox. Append-only.
    """

    realm = models.ForeignKey(
        "tenancy.Realm", models.PROTECT, related_name="+", db_index=False
    )
    kind = models.TextField()
    subject_id = models.TextField()
    payload = models.JSONField(default=dict)
    occurred_at = models.DateTimeField()
    trace_id = models.TextField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "domain_events"
        constraints = [
            models.CheckConstraint(
                name="domain_event_kind_is_dotted",
                condition=models.Q(kind__regex=r"^[a-z_]+(\.[a-z_]+)+$"),
            ),
        ]
        indexes = [
            models.Index(
                fields=["realm", "kind", "occurred_at"], name="domain_events_by_kind"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_id}"
