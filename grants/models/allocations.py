from django.db import models
from django.db.models import Q

from billing.models import BillingAccount, BillingUser
from config.kernel.money import format_xusd
from config.tenancy.models import Realm, RealmQuerySet, Row
from grants.models.ledger import Posting
from grants.models.lots import GrantLot


class GrantAllocation(Row):
    """What one use took from one lot, or left owing (units: 10^-6 USD).

    Written in the transaction of the use. `source_ref` names what was paid for:
    `gate_rating:<id>`, `consume:<key>`. Settlement puts it into the ledger
    (`posting`, once). `lot` is NULL only until then, where no lot paid: settlement
    finds the overage lot of its period. Nothing else of it ever changes.
    """

    # One composite key to the user (0006_lots) stands for these.
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
        related_name="grant_allocations",
        db_index=False,
        db_constraint=False,
    )
    lot = models.ForeignKey(
        GrantLot,
        models.PROTECT,
        null=True,
        related_name="allocations",
        db_index=False,
        db_constraint=False,
    )
    amount_xusd = models.BigIntegerField()
    source_ref = models.TextField(help_text="What was paid for.")
    occurred_at = models.DateTimeField()
    posting = models.ForeignKey(
        Posting,
        models.PROTECT,
        null=True,
        related_name="allocations",
        db_index=False,
        db_constraint=False,
    )

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "grant_allocations"
        verbose_name = "allocation"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "user", "source_ref", "lot"],
                nulls_distinct=False,
                name="grant_allocation_once_per_source_and_lot",
                violation_error_message="This source was paid from this grant before.",
            ),
        ]
        indexes = [
            models.Index(
                fields=["realm", "user", "id"],
                condition=Q(posting__isnull=True),
                name="grant_allocations_pending",
            ),
            # Nobody's of prepaid users: what authorize looks at is empty then.
            models.Index(
                fields=["realm", "user"],
                condition=Q(lot__isnull=True),
                name="grant_allocations_owed",
            ),
            models.Index(fields=["lot", "id"], name="grant_allocations_by_lot"),
        ]

    def __str__(self) -> str:
        return f"{format_xusd(self.amount_xusd)} for {self.source_ref}"
