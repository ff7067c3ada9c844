from datetime import datetime

from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser
from config.kernel.money import format_xusd
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, Row
from config.tenancy.models.windows import Window, WindowQuerySet
from grants.models.assignments import GrantAssignment
from grants.models.kinds import (
    OPEN,
    SPENDABLE,
    ClosureKind,
    GrantSource,
    LotKind,
    LotStatus,
    OutstandingPolicy,
)
from grants.models.programs import GrantProgram

SPEND_ORDER = (
    F("window_end").asc(nulls_last=True),
    F("priority").desc(),
    F("id").asc(),
)
"""Which lot pays first: what ends first, then the higher priority, then the id."""

MONEY_COLUMNS = ("consumed_xusd", "settled_xusd", "reserved_xusd", "paid_xusd")
"""What use changes of a lot: allocations and leases are the record of it."""


class LotQuerySet(WindowQuerySet["GrantLot"]):
    """Reads of lots."""

    def spendable(self, at: datetime) -> "LotQuerySet":
        """Return what new uses may be paid from at `at`, in the order of spending."""
        found = self.effective(at).filter(status__in=SPENDABLE)
        return found.exclude(kind=LotKind.FALLBACK).order_by(*SPEND_ORDER)

    def open_lots(self) -> "LotQuerySet":
        """Return the lots that are not closed, without overage, in spending order."""
        found = self.filter(status__in=OPEN).exclude(kind=LotKind.FALLBACK)
        return found.order_by(*SPEND_ORDER)

    def owed(self) -> "LotQuerySet":
        """Return the overage lots on which something is owed, unordered."""
        return self.filter(
            kind=LotKind.FALLBACK, status__in=OPEN, consumed_xusd__gt=F("paid_xusd")
        )


class GrantLot(Row, Window):
    """Money for one period, given to one user by one assignment (units: 10^-6 USD).

    `reserved_xusd` is what active leases hold of it, `consumed_xusd` what was spent,
    of which `settled_xusd` stands in the ledger. What is left, `remaining_xusd`, may
    be spent by new uses while the lot is spendable and its window holds.

    An overage lot (kind `fallback`, no assignment) was given nothing: what it consumed
    is owed, and `paid_xusd` of that was paid. A rollover lot carries what was left of
    `carried_from`.

    The gate changes the money columns at every use: so no index covers them, and
    history leaves them out.
    """

    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="grant_lots",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="grant_lots",
        db_index=False,
        db_constraint=False,
    )
    program = models.ForeignKey(
        GrantProgram, models.PROTECT, related_name="lots", db_constraint=False
    )
    assignment = models.ForeignKey(
        GrantAssignment,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="lots",
        db_constraint=False,
    )
    carried_from = models.OneToOneField(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="carried_to",
        help_text="The ended lot whose rest this is.",
    )
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    alloc_seq = models.IntegerField(default=0)
    issue_key = models.TextField(help_text="What it was issued for, once per user.")
    source_kind = models.TextField(choices=GrantSource)
    source_ref = models.TextField()
    on_ledger = models.BooleanField(default=False)
    status = models.TextField(choices=LotStatus, default=LotStatus.READY)
    kind = models.TextField(choices=LotKind, default=LotKind.GRANT)
    priority = models.IntegerField(default=0)
    outstanding_policy = models.TextField(
        choices=OutstandingPolicy, default=OutstandingPolicy.NEVER
    )
    amount_xusd = models.BigIntegerField()
    consumed_xusd = models.BigIntegerField(default=0)
    settled_xusd = models.BigIntegerField(default=0)
    reserved_xusd = models.BigIntegerField(default=0)
    paid_xusd = models.BigIntegerField(default=0)
    closure_kind = models.TextField(choices=ClosureKind, null=True, blank=True)  # noqa: DJ001 - NULL: open.
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_remaining_xusd = models.BigIntegerField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = LotQuerySet.as_manager()
    history = AuditedRecords(
        table_name="grant_lots_history", excluded_fields=list(MONEY_COLUMNS)
    )

    class Meta(Window.Meta):
        abstract = False
        db_table = "grant_lots"
        verbose_name = "grant"
        # The rules of its amounts are one check (0006_lots): each use is judged by it.
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "user", "id"], name="grant_lot_of_one_user"
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "issue_key"],
                name="grant_lot_once_per_issue_key",
                violation_error_message="This grant was issued before.",
            ),
            models.UniqueConstraint(
                fields=[
                    "realm",
                    "assignment",
                    "period_start",
                    "period_end",
                    "alloc_seq",
                ],
                condition=Q(assignment__isnull=False, carried_from__isnull=True),
                nulls_distinct=False,
                name="grant_lot_once_per_period",
                violation_error_message="This period's grant was issued before.",
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "period_start", "period_end"],
                condition=Q(kind=LotKind.FALLBACK),
                nulls_distinct=False,
                name="grant_lot_of_overage_once_per_period",
                violation_error_message="This period already has its overage.",
            ),
        ]
        indexes = [
            models.Index(
                "realm",
                "user",
                F("window_end").asc(),
                F("priority").desc(),
                F("id").asc(),
                condition=Q(status__in=[status.value for status in SPENDABLE]),
                name="grant_lots_in_spend_order",
            ),
            models.Index(
                fields=["window_end", "id"],
                condition=Q(closure_kind__isnull=True) & ~Q(kind=LotKind.FALLBACK),
                name="grant_lots_by_end",
            ),
            # No use of a lot changes `settled_xusd`: it still touches no index.
            models.Index(
                fields=["id"],
                condition=Q(closure_kind__isnull=True)
                & ~Q(kind=LotKind.FALLBACK)
                & Q(settled_xusd=F("amount_xusd")),
                name="grant_lots_used_up",
            ),
        ]

    def __str__(self) -> str:
        amount = format_xusd(self.amount_xusd)
        return f"{amount} of {self.program} for {self.user}"

    def is_spendable(self, at: datetime) -> bool:
        """Return whether new uses at `at` (aware UTC) may be paid from the lot."""
        overage = self.kind == LotKind.FALLBACK
        return self.status in SPENDABLE and not overage and self.holds(at)

    @property
    def remaining_xusd(self) -> int:
        """Return what is left (10^-6 USD); of an overage lot what is owed, below 0."""
        given = self.amount_xusd + self.paid_xusd
        return given - self.consumed_xusd - self.reserved_xusd

    @property
    def available_xusd(self) -> int:
        """Return what is left, 0 where something is owed."""
        return max(self.remaining_xusd, 0)
