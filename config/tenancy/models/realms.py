from django.db import models
from django.db.models.functions import Now

from config.tenancy.history import AuditedRecords

REALM_ID_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
REALM_ID_RULE = (
    "A realm id is 1 to 128 letters, digits, dots, dashes or underscores, and starts "
    "and ends with a letter or digit."
)


class RealmStatus(models.TextChoices):
    """Whether a realm's callers are served."""

    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    DELETED = "deleted", "Deleted"


class Realm(models.Model):
    """A tenant: every other row belongs to exactly one realm."""

    realm_id = models.TextField(primary_key=True, verbose_name="realm id")
    name = models.TextField()
    status = models.TextField(choices=RealmStatus, default=RealmStatus.ACTIVE)
    metadata = models.JSONField(
        default=dict,
        blank=True,
        help_text="Defaults for the whole realm; other keys are your own annotations.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    history = AuditedRecords(table_name="realms_history")

    class Meta:
        db_table = "realms"
        constraints = [
            models.CheckConstraint(
                name="realm_id_is_plain",
                condition=models.Q(realm_id__regex=REALM_ID_PATTERN),
                violation_error_message=REALM_ID_RULE,
                violation_error_code="VALIDATION.INVALID_INPUT",
            ),
            models.CheckConstraint(
                name="realm_status_is_known",
                condition=models.Q(status__in=RealmStatus.values),
                violation_error_message="Unknown realm status.",
            ),
            models.CheckConstraint(
                name="realm_name_is_given",
                condition=models.Q(name__regex=r"\S"),
                violation_error_message="A realm needs a name.",
            ),
        ]

    def __str__(self) -> str:
        return self.realm_id
