from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Value

from billing.models import BillingAccount, BillingUser, PlanAssignment
from catalog.models.rules import is_given
from config.kernel.ids import new_id
from config.tenancy.models import Realm, RealmQuerySet
from gating.models.leases import BillingMode, Lease
from grants.models import Budget


class RatingKind(models.TextChoices):
    """How usage was reported."""

    GATE = "gate", "Commit of a lease"
    INGEST = "ingest", "Report without a lease"
    SEATS = "seats", "Seat of a window"


class Direction(models.TextChoices):
    """Whether a rating adds usage or takes it back."""

    DEBIT = "debit", "Usage"
    CREDIT = "credit", "Reversal"


class ApplicationStatus(models.TextChoices):
    """How much of a rating was applied."""

    APPLIED = "applied", "All of it"
    CLIPPED = "applied_clipped", "What fits"
    QUARANTINED = "quarantined", "Nothing"


class Rating(models.Model):
    """Usage that was reported, what it costs, and what of it was applied. Append-only.

    `canonical_*` is the whole of it; `applied_*` is what counted against quotas and
    money; `funded_xusd` is what the user's balance paid. Amounts in 10^-6 USD. The
    rules, the lines and `evidence` are what its answer was made of, and is again for a
    repeat (`gating.answers`); `metadata` are the caller's annotations, and of a report
    without a lease where its instant came from. Partitioned by month of `rated_at`.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="ratings",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="ratings",
        db_index=False,
        db_constraint=False,
    )
    rating_kind = models.TextField(choices=RatingKind)
    # Leases are purged long before ratings are.
    lease = models.ForeignKey(
        Lease,
        models.DO_NOTHING,
        null=True,
        related_name="ratings",
        db_index=False,
        db_constraint=False,
    )
    direction = models.TextField(choices=Direction, default=Direction.DEBIT)
    reversal_of = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        related_name="reversals",
        db_index=False,
        db_constraint=False,
    )
    feature_code = models.TextField()
    feature_family_code = models.TextField()
    billing_mode = models.TextField(choices=BillingMode)
    plan_assignment = models.ForeignKey(
        PlanAssignment,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    canonical_quantity_minor = models.BigIntegerField()
    canonical_amount_xusd = models.BigIntegerField()
    canonical_cost_xusd = models.BigIntegerField()
    application_status = models.TextField(choices=ApplicationStatus)
    reason_codes = ArrayField(models.TextField(), default=list)
    late_rating = models.BooleanField(default=False)
    applied_quantity_minor = models.BigIntegerField()
    applied_amount_xusd = models.BigIntegerField()
    applied_cost_xusd = models.BigIntegerField()
    funded_xusd = models.BigIntegerField(default=0)
    rule_set_id = models.UUIDField()
    labels = models.JSONField(default=dict)
    evidence = models.JSONField(default=dict)
    rated_at = models.DateTimeField()
    operation = models.TextField()
    idempotency_key = models.TextField()
    trace_id = models.TextField()
    metadata = models.JSONField(
        default=dict, db_default=Value({}, output_field=models.JSONField())
    )
    budget = models.ForeignKey(
        Budget,
        models.PROTECT,
        null=True,
        related_name="ratings",
        db_index=False,
        db_constraint=False,
        help_text="The budget that consumed what was applied.",
    )

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_ratings"
        indexes = [
            models.Index(
                fields=["realm", "account", "rated_at"], name="gate_ratings_by_account"
            ),
            models.Index(
                fields=["realm", "budget", "rated_at"],
                condition=Q(budget__isnull=False),
                name="gate_ratings_by_budget",
            ),
            models.Index(fields=["realm", "rated_at"], name="gate_ratings_by_time"),
        ]

    def __str__(self) -> str:
        when = f"{self.rated_at:%Y-%m-%d %H:%M} UTC"
        return f"Rating of {self.feature_code} for {self.user} on {when}"


class RatingKey(models.Model):
    """The idempotency key of a rating, unique whatever partition the rating is in."""

    rating_id = models.UUIDField(primary_key=True, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    operation = models.TextField()
    idempotency_key = models.TextField()
    request_hash = models.BinaryField()
    rated_at = models.DateTimeField()
    lease_id = models.UUIDField(null=True, help_text="Of a commit that was applied.")

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_rating_keys"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "user", "operation", "idempotency_key"],
                name="gate_rating_once_per_idempotency_key",
                violation_error_message="This idempotency key already has its rating.",
            ),
            models.UniqueConstraint(
                fields=["realm", "lease_id"],
                condition=Q(lease_id__isnull=False),
                name="gate_rating_one_applied_per_lease",
                violation_error_message="This lease has been committed already.",
            ),
            is_given(
                "idempotency_key",
                name="gate_rating_key_is_given",
                message="A rating needs its idempotency key.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.idempotency_key}"
