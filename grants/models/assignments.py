from django.db import models
from django.db.models import Q

from billing.models import BillingAccount, BillingUser, PlanAssignment
from catalog.models.rules import is_object, is_one_of
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, Row
from config.tenancy.models.windows import Window, WindowQuerySet
from grants.models.campaigns import GrantCampaign
from grants.models.kinds import GrantSource, GrantStatus, OutstandingPolicy
from grants.models.programs import GrantProgram


class GrantAssignment(Row, Window):
    """A user bound to a program for a window, under a commercial identity.

    The identity (user, source kind, source ref, program) never changes and is never
    duplicated; writing it again merges (`services.assignments.assign_grant`). In the
    window, the program's lots are issued to the user. `metadata.grant_override` says
    what differs from the program's terms (`config.kernel.metadata.grants`).
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="grant_assignments", db_index=False
    )
    user = models.ForeignKey(
        BillingUser, models.PROTECT, related_name="grant_assignments", db_index=False
    )
    program = models.ForeignKey(
        GrantProgram, models.PROTECT, related_name="assignments"
    )
    plan_assignment = models.ForeignKey(
        PlanAssignment, models.PROTECT, null=True, blank=True, related_name="grants"
    )
    campaign = models.ForeignKey(
        GrantCampaign, models.PROTECT, null=True, blank=True, related_name="assignments"
    )
    payment_id = models.UUIDField(null=True, blank=True)
    source_kind = models.TextField(choices=GrantSource)
    source_ref = models.TextField(
        help_text="The source's own id: plan assignment, campaign, order, ticket."
    )
    status = models.TextField(choices=GrantStatus, default=GrantStatus.ACTIVE)
    amount_xusd = models.BigIntegerField(
        null=True, blank=True, help_text="Empty means: what the program gives."
    )
    quantity = models.BigIntegerField(
        default=1, help_text="How many were bought; multiplies a scaling amount."
    )
    outstanding_policy_override = models.TextField(  # noqa: DJ001 - NULL: the program's.
        choices=OutstandingPolicy, null=True, blank=True
    )
    anchored_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="From where its periods are counted; empty means: from its start.",
    )
    metadata = models.JSONField(default=dict, blank=True)

    objects = WindowQuerySet.as_manager()
    history = AuditedRecords(table_name="grant_assignments_history")

    class Meta(Window.Meta):
        abstract = False
        db_table = "grant_assignments"
        verbose_name = "grant assignment"
        constraints = [
            *Window.Meta.constraints,
            models.UniqueConstraint(
                fields=["realm", "account", "user", "id"],
                name="grant_assignment_of_one_user",
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "source_kind", "source_ref", "program"],
                name="grant_assignment_once_per_identity",
                violation_error_message=(
                    "This user is already bound to the program under this source."
                ),
            ),
            is_one_of(
                "source_kind", GrantSource, name="grant_assignment_source_is_known"
            ),
            is_one_of("status", GrantStatus, name="grant_assignment_status_is_known"),
            is_one_of(
                "outstanding_policy_override",
                OutstandingPolicy,
                name="grant_assignment_outstanding_policy_is_known",
            ),
            models.CheckConstraint(
                name="grant_assignment_source_ref_is_1_to_255_characters",
                condition=Q(source_ref__regex=r"\A.{1,255}\Z")
                & Q(source_ref__regex=r"\S"),
                violation_error_message="A source's reference has 1 to 255 characters.",
            ),
            models.CheckConstraint(
                name="grant_assignment_of_a_plan_iff_by_plan",
                condition=Q(source_kind=GrantSource.PLAN, plan_assignment__isnull=False)
                | (~Q(source_kind=GrantSource.PLAN) & Q(plan_assignment__isnull=True)),
                violation_error_message="A plan's grant names the plan assignment.",
            ),
            models.CheckConstraint(
                name="grant_assignment_of_a_campaign_iff_by_campaign",
                condition=Q(source_kind=GrantSource.CAMPAIGN, campaign__isnull=False)
                | (~Q(source_kind=GrantSource.CAMPAIGN) & Q(campaign__isnull=True)),
                violation_error_message="A campaign's grant names the campaign.",
            ),
            models.CheckConstraint(
                name="grant_assignment_amount_is_not_negative",
                condition=Q(amount_xusd__isnull=True) | Q(amount_xusd__gte=0),
                violation_error_message="An amount is 0 or more.",
            ),
            models.CheckConstraint(
                name="grant_assignment_quantity_is_1_or_more",
                condition=Q(quantity__gte=1),
                violation_error_message="A quantity is 1 or more.",
            ),
            is_object("metadata", name="grant_assignment_metadata_is_object"),
        ]
        indexes = [
            models.Index(
                fields=["realm", "status", "id"], name="grant_assignments_by_status"
            ),
            models.Index(
                fields=["realm", "account", "user"], name="grant_assignments_by_user"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.program} for {self.user}"
