from django.db import models

from billing.models.accounts import BillingAccount
from billing.models.plans import Plan
from billing.models.users import BillingUser
from catalog.models.rules import is_object
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row
from config.tenancy.models.windows import Window


class AssignmentScope(models.TextChoices):
    """Whom an assignment governs."""

    ACCOUNT = "account", "Whole account"
    USER = "user", "One user"


class AssignmentStatus(models.TextChoices):
    """Whether an assignment takes effect inside its window.

    `expired` is a label only: the window decides.
    """

    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    CANCELED = "canceled", "Canceled"
    EXPIRED = "expired", "Expired"


class SourceKind(models.TextChoices):
    """Which system owns the commercial event behind an assignment."""

    SIGNUP_DEFAULT = "signup.default", "Sign-up default"
    SUBSCRIPTION_ITEM = "provider.subscription_item", "Subscription item"
    SUBSCRIPTION = "provider.subscription", "Subscription"
    OPS_MANUAL = "ops.manual", "Support or operations"
    OPS_CAMPAIGN = "ops.campaign", "Campaign"


class PlanAssignment(Row, Window):
    """A plan given to an account or user for a window, under a commercial identity.

    The identity (subject, plan, source kind, source ref) never changes and is never
    duplicated; writing it again merges (`services.assignments.assign_plan`).
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="assignments", db_index=False
    )
    scope = models.TextField(choices=AssignmentScope, default=AssignmentScope.ACCOUNT)
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="assignments",
    )
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="assignments")
    subscription_item_id = models.UUIDField(null=True, blank=True)
    source_kind = models.TextField(choices=SourceKind)
    source_ref = models.TextField(
        help_text="The commercial event's own id: contract, order, ticket."
    )
    status = models.TextField(choices=AssignmentStatus, default=AssignmentStatus.ACTIVE)
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="billing_plan_assignments_history")

    class Meta(Window.Meta):
        abstract = False
        db_table = "billing_plan_assignments"
        verbose_name = "plan assignment"
        constraints = [
            *Window.Meta.constraints,
            models.UniqueConstraint(
                fields=["realm", "id"], name="plan_assignment_in_one_realm"
            ),
            models.UniqueConstraint(
                fields=["realm", "account", "plan", "source_kind", "source_ref"],
                condition=models.Q(scope="account"),
                name="plan_assignment_once_per_account_identity",
                violation_error_message=(
                    "This plan is already assigned to the account under this source."
                ),
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "plan", "source_kind", "source_ref"],
                condition=models.Q(scope="user"),
                name="plan_assignment_once_per_user_identity",
                violation_error_message=(
                    "This plan is already assigned to the user under this source."
                ),
            ),
            models.CheckConstraint(
                name="plan_assignment_user_iff_user_scope",
                condition=models.Q(scope="user", user__isnull=False)
                | models.Q(scope="account", user__isnull=True),
                violation_error_message=(
                    "Name a user for a user assignment, and none for the whole account."
                ),
            ),
            models.CheckConstraint(
                name="plan_assignment_status_is_known",
                condition=models.Q(status__in=AssignmentStatus.values),
                violation_error_message="Unknown assignment status.",
            ),
            models.CheckConstraint(
                name="plan_assignment_source_kind_is_known",
                condition=models.Q(source_kind__in=SourceKind.values),
                violation_error_message="Unknown source kind.",
            ),
            models.CheckConstraint(
                name="plan_assignment_source_ref_is_given",
                condition=models.Q(source_ref__regex=r"\S"),
                violation_error_message="Give the source's own reference.",
            ),
            is_object("metadata", name="plan_assignment_metadata_is_object"),
        ]
        indexes = [
            models.Index(
                fields=["realm", "account", "window_start"],
                name="plan_assignments_by_account",
            ),
            models.Index(
                fields=["realm", "source_ref"], name="plan_assignments_by_source_ref"
            ),
        ]

    def __str__(self) -> str:
        by_account = self.scope == AssignmentScope.ACCOUNT
        holder = self.account if by_account else f"{self.user} of {self.account}"
        return f"{self.plan.name} for {holder} ({self.source_ref})"


class PlanAssignmentStatus(Row):
    """A status given to an assignment from an instant on. Append-only.

    The status in force at T, as known at K, is the last one given by K (greatest
    `sequence`) among those effective by T: so a pause today leaves yesterday's answer
    standing. The assignment's own `status` is the last one given: a transaction that
    leaves it otherwise is refused as it ends.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    assignment = models.ForeignKey(
        PlanAssignment, models.PROTECT, related_name="statuses", db_index=False
    )
    sequence = models.PositiveIntegerField()
    status = models.TextField(choices=AssignmentStatus)
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "billing_plan_assignment_statuses"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "assignment", "sequence"],
                name="plan_assignment_status_in_sequence",
            ),
            models.CheckConstraint(
                name="plan_assignment_status_given_is_known",
                condition=models.Q(status__in=AssignmentStatus.values),
            ),
            models.CheckConstraint(
                # The first one holds from the start of the window, past or future.
                name="plan_assignment_status_not_in_future",
                condition=models.Q(sequence=1)
                | models.Q(effective_at__lte=models.F("recorded_at")),
                violation_error_message="A status takes effect when it is given.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} from {self.effective_at:%Y-%m-%d %H:%M}"
