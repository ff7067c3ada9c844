from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from billing.models import BillingAccount, BillingUser, PlanAssignment
from config.tenancy.models import Realm, RealmQuerySet, Row


class LeaseState(models.TextChoices):
    """How an authorization stands; all but the first are final."""

    ACTIVE = "active", "Active: may be committed"
    CLOSED = "closed", "Committed"
    EXPIRED = "expired", "Expired"
    CANCELED = "canceled", "Canceled"


class BillingMode(models.TextChoices):
    """When usage is paid for."""

    PREPAID = "prepaid", "Prepaid"
    POSTPAID = "postpaid", "Postpaid"
    HYBRID = "hybrid", "Hybrid"


class Lease(Row):
    """An authorization: permission for one commit, and what it holds until then.

    While active it holds `reserved_minor` on each counter of `counter_ids`, and
    `reserved_xusd` (10^-6 USD) on its user's lots (`held_lots`, `held_amounts`: side by
    side) and on the budget that was named:
    `budget` as it was, `budget_id` as it is. Afterwards the columns keep what was held,
    and nothing is. The quota columns have one element per counter that its
    commit counts on. The rules and what was `seen` (`gating.rules.Seen`) are the
    evidence of the decision, from which its answer can be given again.
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
    trace_id = models.TextField()
    rule_set_id = models.UUIDField()
    quota_counter_ids = ArrayField(models.UUIDField())
    quota_limits = ArrayField(
        models.BigIntegerField(null=True), help_text="Empty means unlimited."
    )
    quota_held = ArrayField(models.BooleanField())
    seen_first = ArrayField(models.BigIntegerField())
    seen_second = ArrayField(models.BigIntegerField())
    available_xusd = models.BigIntegerField()
    budget = models.TextField(null=True)  # noqa: DJ001 - NULL: none was named.
    rating_id = models.UUIDField(null=True)
    rated_at = models.DateTimeField(null=True)
    budget_id = models.UUIDField(null=True)
    budget_seen = models.JSONField(null=True)
    held_lots = ArrayField(models.UUIDField(), default=list)
    held_amounts = ArrayField(models.BigIntegerField(), default=list)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_leases"
        constraints = [
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
        ]
        indexes = [
            models.Index(
                fields=["realm", "account", "expires_at"],
                condition=Q(state="active"),
                name="gate_leases_active_by_account",
            ),
            models.Index(
                fields=["realm", "account", "id"], name="gate_leases_by_account"
            ),
            # Without the realm: while the table is empty, the gate's look-ups would
            # find one index of a realm as good as another, and keep the plan.
            models.Index(fields=["authorized_at"], name="gate_leases_by_time"),
        ]

    def __str__(self) -> str:
        since = f"{self.authorized_at:%Y-%m-%d %H:%M} UTC"
        return f"Hold of {self.feature_code} for {self.user} since {since}"
