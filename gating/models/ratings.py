from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser, PlanAssignment
from catalog.models.rules import in_one_realm, is_given, is_object, is_one_of
from config.tenancy.models import Realm, RealmQuerySet, Row
from gating.models.leases import BillingMode, Lease


class RatingKind(models.TextChoices):
    """How usage was reported."""

    GATE = "gate", "Commit of a lease"
    INGEST = "ingest", "Report without a lease"


class Direction(models.TextChoices):
    """Whether a rating adds usage or takes it back."""

    DEBIT = "debit", "Usage"
    CREDIT = "credit", "Reversal"


class ApplicationStatus(models.TextChoices):
    """How much of a rating was applied."""

    APPLIED = "applied", "All of it"
    CLIPPED = "applied_clipped", "What fits"
    QUARANTINED = "quarantined", "Nothing"


class Rating(Row):
    """Usage that was reported, what it costs, and what of it was applied. Append-only.

    `canonical_*` is the whole of it; `applied_*` is what counted against quotas and
    money; `funded_xusd` is what the user's balance paid. Amounts in 10^-6 USD.
    `response` is the answer that was given, and is given again to a repeat.
    """

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
    lease = models.ForeignKey(
        Lease,
        models.PROTECT,
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
    pricing_fingerprint = models.TextField()
    cost_fingerprint = models.TextField()
    pricing_snapshot = models.JSONField()
    cost_snapshot = models.JSONField()
    labels = models.JSONField(default=dict)
    evidence = models.JSONField(default=dict)
    rated_at = models.DateTimeField()
    operation = models.TextField()
    idempotency_key = models.TextField()
    request_hash = models.BinaryField()
    response = models.JSONField(default=dict)
    trace_id = models.TextField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_ratings"
        constraints = [
            in_one_realm(name="gate_rating_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "user", "operation", "idempotency_key"],
                name="gate_rating_once_per_idempotency_key",
                violation_error_message="This idempotency key already has its rating.",
            ),
            models.UniqueConstraint(
                fields=["realm", "lease"],
                condition=Q(lease__isnull=False)
                & ~Q(application_status="quarantined")
                & Q(direction="debit"),
                name="gate_rating_one_applied_per_lease",
                violation_error_message="This lease has been committed already.",
            ),
            models.UniqueConstraint(
                fields=["realm", "reversal_of"],
                condition=Q(reversal_of__isnull=False),
                name="gate_rating_reversed_once",
                violation_error_message="This rating has been reversed already.",
            ),
            is_one_of("rating_kind", RatingKind, name="gate_rating_kind_is_known"),
            is_one_of("direction", Direction, name="gate_rating_direction_is_known"),
            is_one_of(
                "application_status",
                ApplicationStatus,
                name="gate_rating_status_is_known",
            ),
            is_one_of(
                "billing_mode", BillingMode, name="gate_rating_billing_mode_is_known"
            ),
            models.CheckConstraint(
                name="gate_rating_credit_iff_reversal",
                condition=Q(direction="credit", reversal_of__isnull=False)
                | Q(direction="debit", reversal_of__isnull=True),
                violation_error_message="A credit takes back one rating.",
            ),
            models.CheckConstraint(
                name="gate_rating_lease_iff_commit",
                condition=Q(rating_kind="gate", lease__isnull=False)
                | Q(rating_kind="ingest", lease__isnull=True),
                violation_error_message="A commit names its lease, a report has none.",
            ),
            models.CheckConstraint(
                name="gate_rating_applies_no_more_than_canonical",
                condition=Q(
                    applied_quantity_minor__gte=0,
                    applied_quantity_minor__lte=F("canonical_quantity_minor"),
                    applied_amount_xusd__gte=0,
                    applied_amount_xusd__lte=F("canonical_amount_xusd"),
                    applied_cost_xusd__gte=0,
                    applied_cost_xusd__lte=F("canonical_cost_xusd"),
                ),
                violation_error_message="No more is applied than was reported.",
            ),
            models.CheckConstraint(
                name="gate_rating_funds_no_more_than_applied",
                condition=Q(
                    funded_xusd__gte=0, funded_xusd__lte=F("applied_amount_xusd")
                ),
                violation_error_message="No more is paid than was applied.",
            ),
            models.CheckConstraint(
                name="gate_rating_prepaid_is_paid_in_full",
                condition=~Q(billing_mode="prepaid")
                | ~Q(direction="debit")
                | Q(funded_xusd=F("applied_amount_xusd")),
                violation_error_message="Prepaid usage is paid from the balance.",
            ),
            models.CheckConstraint(
                name="gate_rating_quarantined_applies_nothing",
                condition=~Q(application_status="quarantined")
                | Q(
                    applied_quantity_minor=0,
                    applied_amount_xusd=0,
                    applied_cost_xusd=0,
                ),
                violation_error_message="Quarantined usage counts for nothing.",
            ),
            models.CheckConstraint(
                name="gate_rating_not_applied_in_full_for_a_reason",
                condition=Q(application_status="applied") | Q(reason_codes__len__gt=0),
                violation_error_message="Say why it was not applied in full.",
            ),
            is_given(
                "idempotency_key",
                name="gate_rating_key_is_given",
                message="A rating needs its idempotency key.",
            ),
            is_object("labels", name="gate_rating_labels_are_object"),
            is_object("evidence", name="gate_rating_evidence_is_object"),
            is_object("response", name="gate_rating_response_is_object"),
        ]
        indexes = [
            models.Index(
                fields=["realm", "account", "rated_at"], name="gate_ratings_by_account"
            ),
            models.Index(
                fields=["realm", "user", "rated_at"], name="gate_ratings_by_user"
            ),
            models.Index(fields=["realm", "rated_at"], name="gate_ratings_by_time"),
        ]

    def __str__(self) -> str:
        when = f"{self.rated_at:%Y-%m-%d %H:%M} UTC"
        return f"Rating of {self.feature_code} for {self.user} on {when}"
