from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser
from catalog.models.rules import is_given, is_object
from config.tenancy.models import Realm, RealmQuerySet, Row


class Denial(Row):
    """Denials of one account, feature, reason and minute: one in full, all counted.

    `evidence` holds the facts and the verdict of the first, from which the decision
    can be made again. `feature_code` is empty where the realm has no such feature, so
    that a flood of invented codes makes one row.
    """

    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="denials",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="denials",
        db_index=False,
        db_constraint=False,
    )
    feature_code = models.TextField(blank=True, default="")
    reason = models.TextField()
    minute = models.DateTimeField()
    count = models.BigIntegerField(default=1)
    status = models.PositiveSmallIntegerField()
    code = models.TextField()
    sentence = models.TextField()
    evidence = models.JSONField(default=dict)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    trace_id = models.TextField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_denials"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "feature_code", "reason", "minute"],
                name="gate_denial_once_per_minute",
            ),
            models.CheckConstraint(
                name="gate_denial_happened",
                condition=Q(count__gte=1),
                violation_error_message="A denial happened at least once.",
            ),
            models.CheckConstraint(
                name="gate_denial_first_is_not_after_last",
                condition=Q(first_at__lte=F("last_at")),
                violation_error_message="The first is not after the last.",
            ),
            models.CheckConstraint(
                name="gate_denial_status_is_a_refusal",
                condition=Q(status__gte=400, status__lt=600),
                violation_error_message="A denial has an HTTP status of a refusal.",
            ),
            is_given(
                "reason", name="gate_denial_has_a_reason", message="Say why it denied."
            ),
            is_object("evidence", name="gate_denial_evidence_is_object"),
        ]
        indexes = [
            models.Index(fields=["realm", "first_at"], name="gate_denials_by_time")
        ]

    def __str__(self) -> str:
        feature = self.feature_code or "an unknown feature"
        when = f"{self.minute:%Y-%m-%d %H:%M} UTC"
        return f"Denial of {feature} to {self.user} on {when}"
