from django.db import models
from django.db.models import Q

from billing.models import BillingAccount, BillingUser
from catalog.models.rules import is_given, is_one_of
from config.tenancy.models import Realm, RealmQuerySet, Row
from gating.models.leases import Lease


class EndKind(models.TextChoices):
    """How a lease was ended by decision."""

    RELEASED = "released", "Released"
    COMMITTED = "committed", "Committed for the caller"


class LeaseEnd(Row):
    """Who ended a lease by decision, and why: one row per lease. Append-only.

    Of a release, the caller's own cancel included, and of a commit in the caller's
    place, with its rating. The caller's own commit and expiry need no explanation and
    have none. It is kept when the lease is purged.
    """

    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    # Leases are purged, and this stays.
    lease = models.ForeignKey(
        Lease,
        models.DO_NOTHING,
        related_name="ends",
        db_index=False,
        db_constraint=False,
    )
    reference = models.TextField(help_text="What callers knew the lease by.")
    feature_code = models.TextField()
    kind = models.TextField(choices=EndKind)
    rating_id = models.UUIDField(null=True)
    actor_kind = models.TextField()
    actor_id = models.TextField()
    operator = models.TextField()
    reason = models.TextField()
    ticket_id = models.TextField()
    trace_id = models.TextField()
    effective_at = models.DateTimeField()
    occurred_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_lease_ends"
        verbose_name = "end of a hold"
        verbose_name_plural = "ends of holds"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "lease"],
                name="gate_lease_end_once_per_lease",
                violation_error_message="This hold was ended already.",
            ),
            is_one_of("kind", EndKind, name="gate_lease_end_kind_is_known"),
            is_given(
                "reference",
                name="gate_lease_end_names_its_lease",
                message="Say which lease ended.",
            ),
            models.CheckConstraint(
                name="gate_lease_end_rated_iff_committed",
                condition=Q(kind="committed", rating_id__isnull=False)
                | (~Q(kind="committed") & Q(rating_id__isnull=True)),
                violation_error_message="A commit has its rating; a release has none.",
            ),
            models.CheckConstraint(
                name="gate_lease_end_is_explained",
                condition=Q(
                    actor_kind__regex=r"\S",
                    actor_id__regex=r"\S",
                    operator__regex=r"\S",
                    reason__regex=r"\S",
                    ticket_id__regex=r"\S",
                    trace_id__regex=r"\S",
                ),
                violation_error_message=(
                    "The end of a hold needs actor, operator, reason, ticket and trace."
                ),
            ),
        ]

    def __str__(self) -> str:
        when = f"{self.occurred_at:%Y-%m-%d %H:%M} UTC"
        return f"{self.get_kind_display()} by {self.operator} on {when}"
