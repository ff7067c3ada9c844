from django.db import models
from django.db.models import Q

from billing.models import BillingAccount, BillingUser, PlanAssignment
from config.tenancy.models import Realm, RealmQuerySet
from grants.models.assignments import GrantAssignment


class IssuanceCursor(models.Model):
    """Until when an assignment's lots were issued: where the sweep goes on.

    `next_at` is when its next lot is due, NULL where none is to come: the assignment
    ended, is not active, or gave its one lot. Lots are issued once whatever it says; it
    only spares looking at assignments that are not due. A trigger makes it with the
    assignment.
    """

    assignment = models.OneToOneField(
        GrantAssignment, models.PROTECT, primary_key=True, related_name="cursor"
    )
    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="+", db_index=False
    )
    user = models.ForeignKey(
        BillingUser, models.PROTECT, related_name="+", db_index=False
    )
    next_at = models.DateTimeField(null=True, blank=True)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "grant_issuance_cursors"
        verbose_name = "issuance cursor"
        indexes = [
            models.Index(
                fields=["next_at", "assignment"],
                condition=Q(next_at__isnull=False),
                name="grant_issuance_cursors_due",
            ),
        ]

    def __str__(self) -> str:
        return f"Cursor of {self.assignment_id}"


class PlanTemplates(models.Model):
    """The grants that one plan assignment brings, as they were when it was made.

    A later edit of the plan's `metadata.grants` changes nothing for those who hold it:
    only `services.resync` does, when confirmed. `templates` is a list of objects:
    `id`, which names the binding for good, and `grant`, an element of `grants[]`.
    """

    plan_assignment = models.OneToOneField(
        PlanAssignment,
        models.PROTECT,
        primary_key=True,
        related_name="grant_templates",
    )
    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    templates = models.JSONField(default=list)
    taken_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "grant_plan_templates"
        verbose_name = "templates of a plan assignment"
        verbose_name_plural = "templates of plan assignments"
        constraints = [
            models.CheckConstraint(
                name="grant_plan_templates_are_a_list",
                condition=Q(templates__contains=[]),
            ),
        ]

    def __str__(self) -> str:
        return f"Grants of plan assignment {self.plan_assignment_id}"


class GrantEnrollment(models.Model):
    """The plan grants that a user was last given, so that the same again is skipped.

    `bindings` are the source refs of those that were wanted then: of the others one
    that is wanted again is reinstated, and one of them that a person canceled is not.
    """

    user = models.OneToOneField(
        BillingUser,
        models.PROTECT,
        primary_key=True,
        related_name="grant_enrollment",
    )
    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="+", db_index=False
    )
    fingerprint = models.TextField()
    bindings = models.JSONField(default=list)
    applied_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "grant_enrollments"
        verbose_name = "enrollment"
        constraints = [
            models.CheckConstraint(
                name="grant_enrollment_bindings_are_a_list",
                condition=Q(bindings__contains=[]),
            ),
            models.CheckConstraint(
                name="grant_enrollment_fingerprint_is_given",
                condition=Q(fingerprint__regex=r"\S"),
            ),
        ]

    def __str__(self) -> str:
        return f"Plan grants of {self.user}"
