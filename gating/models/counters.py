from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser
from config.kernel.ids import new_id
from config.tenancy.models import Realm, RealmQuerySet
from gating.models.policies import SubjectScope

# The foreign keys of this module and its siblings have no constraint of their own: one
# composite key over realm, account and user (0002_rules) stands for all of them, so
# that an insert checks, and locks, one row instead of three.


class GateState(models.Model):
    """The one row of an account that every write of its gate locks first."""

    account = models.OneToOneField(
        BillingAccount,
        models.PROTECT,
        primary_key=True,
        related_name="gate_state",
        db_constraint=False,
    )
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_states"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account"], name="gate_state_once_per_account"
            ),
        ]

    def __str__(self) -> str:
        return f"gate of {self.account_id}"


class CounterKind(models.TextChoices):
    """What a counter counts."""

    QUOTA = "quota", "Quantity"
    RATE = "rate", "Requests"


class Counter(models.Model):
    """What was used, and is held, of a feature by one subject in one window.

    The row that is hot: narrow, and no index covers what changes. Policies that name
    the same `key` share it. `used_minor` and `reserved_minor` are in the smallest unit
    of what is counted; limits stand on the policies.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    kind = models.TextField(choices=CounterKind)
    subject_scope = models.TextField(choices=SubjectScope)
    subject_id = models.UUIDField()
    feature_code = models.TextField()
    key = models.TextField()
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    used_minor = models.BigIntegerField(default=0)
    reserved_minor = models.BigIntegerField(default=0)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_counters"
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "realm",
                    "account",
                    "subject_id",
                    "subject_scope",
                    "feature_code",
                    "kind",
                    "key",
                    "window_start",
                    "window_end",
                ],
                name="gate_counter_once_per_window",
            ),
        ]
        indexes = [
            models.Index(
                fields=["realm", "window_end"], name="gate_counters_by_window_end"
            )
        ]

    def __str__(self) -> str:
        until = f"{self.window_end:%Y-%m-%d %H:%M} UTC"
        kind = self.get_kind_display()
        return f"{kind} of {self.feature_code} in {self.account} until {until}"


class Seat(models.Model):
    """A seat that a user took, by a first authorized use, under a seats policy.

    `scope_code` is the feature, or `*`; `window_start` the seat's window, 1970 where
    seats are kept. It is occupied while its user is active.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    scope_code = models.TextField()
    key = models.TextField()
    window_start = models.DateTimeField()
    window_end = models.DateTimeField(null=True, blank=True)
    taken_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_seats"
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "realm",
                    "account",
                    "scope_code",
                    "key",
                    "window_start",
                    "window_end",
                    "user",
                ],
                name="gate_seat_once_per_user_and_window",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="gate_seat_window_not_empty",
                condition=Q(window_end__isnull=True)
                | Q(window_end__gt=F("window_start")),
                violation_error_message="A window must end after it starts.",
            ),
        ]
        indexes = [
            models.Index(
                fields=["realm", "key", "scope_code", "account"],
                name="gate_seats_by_policy",
            )
        ]

    def __str__(self) -> str:
        return f"seat of {self.user_id} in {self.scope_code}"


class SeatBilling(models.Model):
    """How far the seats of a policy are billed in an account.

    Every window that ends by `billed_until` is done. It says where to go on; that no
    seat is billed twice is held by the keys of the ratings (`RatingKey`).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    policy_id = models.UUIDField(help_text="A policy that may be gone by now.")
    billed_until = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_seat_billings"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "policy_id"],
                name="gate_seat_billing_once_per_policy",
            ),
        ]

    def __str__(self) -> str:
        return f"seats of {self.account_id} until {self.billed_until:%Y-%m-%d %H:%M}"
