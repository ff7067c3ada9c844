from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser, PlanAssignment
from catalog.models.rules import is_given, is_object, is_one_of
from config.tenancy.models import Realm, RealmQuerySet, Row


class LeaseState(models.TextChoices):
    """How an authorization stands; all but the first are final."""

    ACTIVE = "active", "Active: may be committed"
    CLOSED = "closed", "Committed"
    EXPIRED = "expired", "Expired"
    CANCELED = "canceled", "Canceled"


class BillingMode(models.TextChoices):
    """When usage is paid for."""

    PREPAID = "prepaid", "Before"
    POSTPAID = "postpaid", "After"
    HYBRID = "hybrid", "Both"


class Lease(Row):
    """An authorization: permission for one commit, and what it holds until then.

    While active it holds `reserved_minor` on each counter of `counter_ids`, and
    `reserved_xusd` (10^-6 USD) on its user's balance. Afterwards the columns keep what
    was held, and nothing is. `windows` are its quota counters as authorize saw them,
    `evidence` the facts of the decision, `response` the answer that was given.
    """

    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="leases",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="leases",
        db_index=False,
        db_constraint=False,
    )
    lease = models.TextField(help_text="The reference that callers know it by.")
    feature_code = models.TextField()
    feature_family_code = models.TextField()
    state = models.TextField(choices=LeaseState, default=LeaseState.ACTIVE)
    billing_mode = models.TextField(choices=BillingMode)
    policy_id = models.UUIDField(help_text="The first quota policy that admitted it.")
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    estimate_minor = models.BigIntegerField(null=True)
    cap_minor = models.BigIntegerField(null=True, help_text="Empty means unlimited.")
    counter_ids = ArrayField(models.UUIDField(), default=list)
    reserved_minor = models.BigIntegerField(default=0)
    reserved_xusd = models.BigIntegerField(default=0)
    zero_cost = models.BooleanField(default=False)
    plan_assignment = models.ForeignKey(
        PlanAssignment,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="The assignment that entitled to the feature.",
    )
    authorized_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    idempotency_key = models.TextField()
    request_hash = models.BinaryField()
    labels = models.JSONField(default=dict)
    windows = models.JSONField(default=list)
    evidence = models.JSONField(default=dict)
    response = models.JSONField(default=dict)
    trace_id = models.TextField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_leases"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "user", "id"], name="gate_lease_of_one_user"
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "lease"],
                name="gate_lease_reference_once_per_user",
                violation_error_message="This user already has a lease of that name.",
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "idempotency_key"],
                name="gate_lease_once_per_idempotency_key",
                violation_error_message="This idempotency key already has its lease.",
            ),
            is_one_of("state", LeaseState, name="gate_lease_state_is_known"),
            is_one_of(
                "billing_mode", BillingMode, name="gate_lease_billing_mode_is_known"
            ),
            models.CheckConstraint(
                name="gate_lease_ended_iff_not_active",
                condition=Q(state="active", ended_at__isnull=True)
                | Q(~Q(state="active"), ended_at__isnull=False),
                violation_error_message="A lease has an end unless it is active.",
            ),
            models.CheckConstraint(
                name="gate_lease_expires_after_authorized",
                condition=Q(expires_at__gt=F("authorized_at")),
                violation_error_message="A lease expires after it is given.",
            ),
            models.CheckConstraint(
                name="gate_lease_window_not_empty",
                condition=Q(window_end__gt=F("window_start")),
                violation_error_message="A window must end after it starts.",
            ),
            models.CheckConstraint(
                name="gate_lease_amounts_are_not_negative",
                condition=Q(reserved_minor__gte=0, reserved_xusd__gte=0)
                & (Q(estimate_minor__isnull=True) | Q(estimate_minor__gte=0))
                & (Q(cap_minor__isnull=True) | Q(cap_minor__gte=0)),
                violation_error_message="Amounts of a lease are 0 or more.",
            ),
            models.CheckConstraint(
                name="gate_lease_holds_a_quantity_on_counters_only",
                condition=Q(reserved_minor=0) | Q(counter_ids__len__gt=0),
                violation_error_message="A held quantity needs its counters.",
            ),
            is_given(
                "lease", name="gate_lease_is_named", message="A lease needs a name."
            ),
            is_given(
                "idempotency_key",
                name="gate_lease_key_is_given",
                message="A lease needs its idempotency key.",
            ),
            is_object("labels", name="gate_lease_labels_are_object"),
            is_object("evidence", name="gate_lease_evidence_is_object"),
            is_object("response", name="gate_lease_response_is_object"),
        ]
        indexes = [
            models.Index(
                fields=["realm", "account", "expires_at"],
                condition=Q(state="active"),
                name="gate_leases_active_by_account",
            ),
            # The expiry job looks across realms.
            models.Index(
                fields=["expires_at"],
                condition=Q(state="active"),
                name="gate_leases_active_by_expiry",
            ),
            models.Index(
                fields=["realm", "account", "id"], name="gate_leases_by_account"
            ),
        ]

    def __str__(self) -> str:
        since = f"{self.authorized_at:%Y-%m-%d %H:%M} UTC"
        return f"Hold of {self.feature_code} for {self.user} since {since}"
