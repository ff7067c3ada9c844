from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThanOrEqual, LessThanOrEqual

from config.tenancy.history import AuditedRecords


class ServiceKeyStatus(models.TextChoices):
    """Whether a key's signatures are accepted."""

    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"


class KeyDerivation(models.TextChoices):
    """How a key's secret is derived from the master key."""

    HKDF_SHA256 = "HKDF-SHA256", "HKDF-SHA256"
    HMAC_SHA256 = "HMAC-SHA256", "HMAC-SHA256"


class Scope(models.TextChoices):
    """What a service key may do."""

    REALM_ADMIN = "realm:admin", "Manage the whole realm"
    RUNTIME = "runtime", "Gate, wallet and token calls for bound users"


_SALT_BYTES = models.Func(
    "kdf_salt", function="octet_length", output_field=models.IntegerField()
)


class ServiceKey(models.Model):
    """A backend's credential. The secret is derived on demand and never stored."""

    key_id = models.TextField(primary_key=True)
    name = models.TextField(blank=True, default="")
    status = models.TextField(choices=ServiceKeyStatus, default=ServiceKeyStatus.ACTIVE)
    allowed_realms = ArrayField(
        models.TextField(),
        default=list,
        help_text="Realms this key may act in. Empty means none.",
    )
    allowed_accounts = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Billing account ids this key is limited to. Empty means any.",
    )
    scopes = ArrayField(models.TextField(choices=Scope), default=list, blank=True)
    kdf_alg = models.TextField(choices=KeyDerivation, default=KeyDerivation.HKDF_SHA256)
    kdf_salt = models.BinaryField()
    kdf_version = models.PositiveIntegerField(default=1)
    env_tag = models.TextField(blank=True, default="")
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    history = AuditedRecords(
        table_name="service_keys_history", excluded_fields=["kdf_salt", "last_used_at"]
    )

    class Meta:
        db_table = "service_keys"
        constraints = [
            models.CheckConstraint(
                name="service_key_id_is_plain",
                condition=models.Q(key_id__regex=r"^pk-[A-Za-z0-9_-]{1,124}$"),
                violation_error_message="A key id looks like pk-4f0c….",
            ),
            models.CheckConstraint(
                name="service_key_status_is_known",
                condition=models.Q(status__in=ServiceKeyStatus.values),
                violation_error_message="Unknown key status.",
            ),
            models.CheckConstraint(
                name="service_key_derivation_is_known",
                condition=models.Q(kdf_alg__in=KeyDerivation.values),
                violation_error_message="Unknown key derivation.",
            ),
            models.CheckConstraint(
                name="service_key_scopes_are_known",
                condition=models.Q(scopes__contained_by=Scope.values),
                violation_error_message="Unknown scope.",
            ),
            models.CheckConstraint(
                name="service_key_salt_is_16_to_32_bytes",
                condition=models.Q(
                    GreaterThanOrEqual(_SALT_BYTES, 16),
                    LessThanOrEqual(_SALT_BYTES, 32),
                ),
                violation_error_message="The salt is 16 to 32 random bytes.",
            ),
        ]

    def __str__(self) -> str:
        return self.key_id

    def is_expired(self, *, at: datetime) -> bool:
        """Return whether the key has run out at `at` (aware UTC)."""
        return self.expires_at is not None and self.expires_at <= at


class ServiceKeyNonce(models.Model):
    """A nonce already seen in a signed request; kept for 600 seconds."""

    pk = models.CompositePrimaryKey("key_id", "nonce")
    key_id = models.TextField()
    nonce = models.TextField()
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "service_key_nonces"
        indexes = [models.Index(fields=["seen_at"], name="service_key_nonces_by_age")]

    def __str__(self) -> str:
        return f"{self.key_id} {self.nonce}"


class CredentialVersion(models.Model):
    """Counts the changes of realms and service keys, by trigger. One row.

    What was remembered under another version may no longer hold.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    version = models.BigIntegerField(default=1)

    class Meta:
        db_table = "credential_versions"
        constraints = [
            models.CheckConstraint(
                name="credential_version_is_one_row",
                condition=models.Q(id=1),
                violation_error_message="There is one version.",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version}"
