from django.db import models

from billing.models.accounts import BillingAccount
from billing.models.users import BillingUser
from config.tenancy.models import Realm, RealmQuerySet, Row


class PlatformToken(Row):
    """A platform token that was issued: its claims, never the token itself.

    Issuing with the same key again signs the same claims again. Append-only.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(BillingAccount, models.PROTECT, related_name="+")
    user = models.ForeignKey(BillingUser, models.PROTECT, related_name="+")
    service_key_id = models.TextField()
    idempotency_key = models.TextField()
    request_hash = models.BinaryField()
    claims = models.JSONField()
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "platform_tokens"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "service_key_id", "idempotency_key"],
                name="platform_token_once_per_key",
            ),
            models.CheckConstraint(
                name="platform_token_expires_after_issue",
                condition=models.Q(expires_at__gt=models.F("issued_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"Token of {self.user} until {self.expires_at:%Y-%m-%d %H:%M} UTC"
