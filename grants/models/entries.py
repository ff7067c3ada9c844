from django.db import models

from billing.models import BillingAccount, BillingUser
from config.kernel.money import format_xusd
from config.tenancy.models import Realm, RealmQuerySet, Row


class EntryKind(models.TextChoices):
    """What an entry does to its balance."""

    CREDIT = "credit", "Credit"
    SPEND = "spend", "Spend"
    CORRECTION = "correction", "Correction"


_EXPLAINED = models.Q(
    actor_kind__regex=r"\S",
    actor_id__regex=r"\S",
    operator__regex=r"\S",
    reason__regex=r"\S",
    ticket_id__regex=r"\S",
    trace_id__regex=r"\S",
)


class CreditEntry(Row):
    """One movement of a user's balance: positive adds, negative takes (10^-6 USD).

    Append-only, and so its own history: credits and corrections say who gave them,
    why, under which ticket and effective when. A spend is explained by what it paid
    for, which `source_ref` names; its audit columns are empty.
    """

    # One composite key to the balance (0002_rules) stands for the four of these:
    # the insert of a spend checks, and locks, one row instead of three.
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
        related_name="credit_entries",
        db_index=False,
        db_constraint=False,
    )
    kind = models.TextField(choices=EntryKind)
    amount_xusd = models.BigIntegerField()
    source_ref = models.TextField(help_text="What caused it: an invoice, a lease, …")
    actor_kind = models.TextField(blank=True, default="")
    actor_id = models.TextField(blank=True, default="")
    operator = models.TextField(blank=True, default="")
    reason = models.TextField(blank=True, default="")
    ticket_id = models.TextField(blank=True, default="")
    trace_id = models.TextField(blank=True, default="")
    idempotency_key = models.TextField(null=True, blank=True)  # noqa: DJ001 - NULL: had none.
    effective_at = models.DateTimeField()
    occurred_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "credit_entries"
        verbose_name = "credit entry"
        verbose_name_plural = "credit entries"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "user", "kind", "source_ref"],
                name="credit_entry_once_per_source",
                violation_error_message="This source already has its entry.",
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="credit_entry_once_per_idempotency_key",
                violation_error_message="This idempotency key already has its entry.",
            ),
            models.CheckConstraint(
                name="credit_entry_kind_is_known",
                condition=models.Q(kind__in=EntryKind.values),
                violation_error_message="Unknown kind of entry.",
            ),
            models.CheckConstraint(
                name="credit_entry_amount_is_not_zero",
                condition=~models.Q(amount_xusd=0),
                violation_error_message="An entry moves an amount.",
            ),
            models.CheckConstraint(
                name="credit_entry_sign_follows_kind",
                condition=models.Q(kind=EntryKind.CREDIT, amount_xusd__gt=0)
                | models.Q(kind=EntryKind.SPEND, amount_xusd__lt=0)
                | ~models.Q(kind__in=[EntryKind.CREDIT, EntryKind.SPEND]),
                violation_error_message="A credit adds and a spend takes.",
            ),
            models.CheckConstraint(
                name="credit_entry_source_is_1_to_255_characters",
                condition=models.Q(source_ref__regex=r"\A.{1,255}\Z")
                & models.Q(source_ref__regex=r"\S"),
                violation_error_message="A source has 1 to 255 characters.",
            ),
            models.CheckConstraint(
                name="credit_entry_is_explained_unless_a_spend",
                condition=models.Q(kind=EntryKind.SPEND) | _EXPLAINED,
                violation_error_message=(
                    "A credit needs actor, operator, reason, ticket and trace."
                ),
            ),
            models.CheckConstraint(
                name="credit_entry_idempotency_key_is_not_blank",
                condition=models.Q(idempotency_key__isnull=True)
                | models.Q(idempotency_key__regex=r"\S"),
                violation_error_message="An idempotency key is not blank.",
            ),
        ]
        indexes = [
            models.Index(fields=["realm", "user", "id"], name="credit_entries_by_user"),
        ]

    def __str__(self) -> str:
        spent = self.kind == EntryKind.SPEND
        amount = format_xusd(-self.amount_xusd if spent else self.amount_xusd)
        when = f"{self.occurred_at:%Y-%m-%d %H:%M} UTC"
        return f"{self.get_kind_display()} of {amount} for {self.user} on {when}"
