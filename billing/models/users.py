from django.db import models

from billing.models.accounts import BillingAccount
from catalog.models.rules import is_object
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row


class UserStatus(models.TextChoices):
    """Whether a user occupies a seat and may use anything."""

    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"
    DELETED = "deleted", "Deleted"


class BillingUser(Row):
    """A person or agent acting inside an account; an active one takes a seat."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="users", db_index=False
    )
    business_user_id = models.TextField(
        verbose_name="user id", help_text="The user's own id in the product."
    )
    status = models.TextField(choices=UserStatus, default=UserStatus.ACTIVE)
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="billing_users_history")

    class Meta:
        db_table = "billing_users"
        verbose_name = "user"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "id"], name="billing_user_in_one_realm"
            ),
            models.UniqueConstraint(
                fields=["realm", "account", "id"], name="billing_user_in_one_account"
            ),
            models.UniqueConstraint(
                fields=["realm", "account", "business_user_id"],
                name="billing_user_once_per_account",
                violation_error_message="This user already exists in the account.",
            ),
            models.CheckConstraint(
                name="billing_user_id_is_1_to_512_characters",
                condition=models.Q(
                    business_user_id__regex=r"\A.{1,255}.{0,255}.{0,2}\Z"
                )
                & models.Q(business_user_id__regex=r"\S"),
                violation_error_message="A user id has 1 to 512 characters.",
            ),
            models.CheckConstraint(
                name="billing_user_status_is_known",
                condition=models.Q(status__in=UserStatus.values),
                violation_error_message="Unknown user status.",
            ),
            is_object("metadata", name="billing_user_metadata_is_object"),
        ]
        indexes = [
            models.Index(
                fields=["realm", "business_user_id"], name="billing_users_by_user_id"
            ),
        ]

    def __str__(self) -> str:
        return self.business_user_id

    @property
    def display_name(self) -> str | None:
        """Return the name to show, None where none was given."""
        name: str | None = self.metadata.get("display_name")
        return name

    @property
    def email(self) -> str | None:
        """Return the e-mail address, None where none was given."""
        email: str | None = self.metadata.get("email")
        return email
