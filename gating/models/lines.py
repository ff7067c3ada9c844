from django.db import models
from django.db.models import F, Q

from billing.models import BillingUser
from catalog.models.rules import is_given
from config.kernel.ids import new_id
from config.tenancy.models import Realm, RealmQuerySet
from gating.models.ratings import Rating


class LineStatus(models.TextChoices):
    """Whether a line had a price."""

    PRICED = "priced", "Priced"
    MISSING_PRICE = "missing_price", "No price"


class RatedRecord(models.Model):
    """One meter's part of a rating: quantity, amount and cost. Append-only.

    Amounts are canonical, in 10^-6 USD. With the rates of the rating's rules, the
    remainders carried in and on are the evidence of both. Partitioned by month of
    `rated_at`, as ratings are.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    rating = models.ForeignKey(
        Rating,
        models.PROTECT,
        related_name="lines",
        db_index=False,
        db_constraint=False,
    )
    line_number = models.PositiveSmallIntegerField()
    meter_code = models.TextField()
    unit = models.TextField()
    rating_status = models.TextField(choices=LineStatus)
    quantity_minor = models.BigIntegerField()
    amount_xusd = models.BigIntegerField()
    cost_xusd = models.BigIntegerField()
    rate_identity = models.TextField(null=True)  # noqa: DJ001 - NULL: no price.
    cost_rate_identity = models.TextField(null=True)  # noqa: DJ001 - the same.
    remainder_in = models.BigIntegerField(default=0)
    remainder_out = models.BigIntegerField(default=0)
    cost_remainder_in = models.BigIntegerField(default=0)
    cost_remainder_out = models.BigIntegerField(default=0)
    client_pricing_etag = models.TextField(null=True)  # noqa: DJ001 - NULL: none given.
    rated_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_rated_records"
        verbose_name = "rated record"
        constraints = [
            models.UniqueConstraint(
                fields=["rating", "realm", "rated_at", "line_number"],
                name="gate_rated_record_numbered_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rating_id} {self.line_number} {self.meter_code}"


class ResidualBucket(models.Model):
    """What rating carries from one commit of a user to the next, under one rate.

    A remainder of a division by `denom` (`gating.pricing`). Another rate starts anew.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    meter_code = models.TextField()
    rate_identity = models.TextField()
    denom = models.BigIntegerField()
    remainder_numer = models.BigIntegerField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_residual_buckets"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "user", "meter_code", "rate_identity"],
                name="gate_residual_bucket_once_per_rate",
            ),
            models.CheckConstraint(
                name="gate_residual_bucket_holds_a_remainder",
                condition=Q(
                    denom__gte=1,
                    remainder_numer__gte=0,
                    remainder_numer__lt=F("denom"),
                ),
                violation_error_message="A remainder is less than its divisor.",
            ),
            is_given(
                "rate_identity",
                name="gate_residual_bucket_has_a_rate",
                message="A remainder belongs to a rate.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.meter_code} {self.remainder_numer}/{self.denom}"
