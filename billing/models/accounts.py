from django.db import models

from catalog.models.rules import is_object
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row


class SeatLimitSource(models.TextChoices):
    """Where an account's seat limit came from."""

    DEFAULT = "default", "Default plan"
    OPS_MANUAL = "ops.manual", "Set by staff"
    PROVIDER_SUBSCRIPTION = "provider.subscription", "Subscription"


class BillingAccount(Row):
    """Who pays. One per principal and realm, for good.

    `seat_limit` bounds the active users; None is unlimited.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    billing_principal_id = models.TextField(
        verbose_name="principal",
        help_text="The customer's own id in the product (organization, team, person).",
    )
    seat_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Most active users. Empty means unlimited."
    )
    seat_limit_source = models.TextField(  # noqa: DJ001 - NULL: never set.
        choices=SeatLimitSource, null=True, blank=True
    )
    seat_limit_updated_at = models.DateTimeField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="billing_accounts_history")

    class Meta:
        db_table = "billing_accounts"
        verbose_name = "account"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "id"], name="billing_account_in_one_realm"
            ),
            models.UniqueConstraint(
                fields=["realm", "billing_principal_id"],
                name="billing_account_once_per_principal",
                violation_error_message="This principal already has an account.",
            ),
            models.CheckConstraint(
                name="billing_account_principal_is_given",
                condition=models.Q(billing_principal_id__regex=r"\S"),
                violation_error_message="An account needs a principal.",
            ),
            models.CheckConstraint(
                name="billing_account_seat_limit_has_a_source",
                condition=models.Q(seat_limit__isnull=True)
                | models.Q(
                    seat_limit_source__isnull=False,
                    seat_limit_updated_at__isnull=False,
                ),
                violation_error_message="A seat limit needs its source and time.",
            ),
            models.CheckConstraint(
                name="billing_account_seat_limit_source_is_known",
                condition=models.Q(seat_limit_source__isnull=True)
                | models.Q(seat_limit_source__in=SeatLimitSource.values),
                violation_error_message="Unknown seat limit source.",
            ),
            is_object("metadata", name="billing_account_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.billing_principal_id
