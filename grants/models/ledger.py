from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser
from catalog.models.rules import is_one_of
from config.kernel.money import format_xusd
from config.tenancy.models import Realm, RealmQuerySet, Row


class LedgerKind(models.TextChoices):
    """The ledger accounts of a user. Their balances sum to zero.

    The first two are what the user has; the others say where it came from and went.
    """

    WALLET = "wallet", "Paid money"
    PROMOTIONAL = "promotional", "Promotional credit"
    ISSUED = "issued", "Given"
    CONSUMED = "consumed", "Used"
    OUTSTANDING = "outstanding", "Owed"
    FORFEITED = "forfeited", "Forfeited"
    REFUNDED = "refunded", "Refunded"
    ADJUSTED = "adjusted", "Adjusted"


class PostingReason(models.TextChoices):
    """Why money moved."""

    ISSUE = "issue", "Given"
    CONSUMPTION = "consumption", "Used"
    FORFEIT = "forfeit", "Forfeited"
    REFUND = "refund", "Refunded"
    CARRYOVER = "carryover", "Carried over"
    REVOCATION = "revocation", "Revoked"
    PAYMENT = "payment", "Paid what was owed"
    ADJUSTMENT = "adjustment", "Adjusted"
    REVERSAL = "reversal", "Reversed"


class LedgerAccount(Row):
    """One account of a user's ledger: its balance is the sum of its entries.

    The fixed row that whoever posts locks, in order of id. `entry_count` numbers the
    entries without a gap; `sealed_count` is how many of them were sealed, and only
    grows: it tells that there were seals where somebody deletes them.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="+", db_index=False
    )
    user = models.ForeignKey(
        BillingUser, models.PROTECT, related_name="ledger_accounts", db_index=False
    )
    kind = models.TextField(choices=LedgerKind)
    balance_xusd = models.BigIntegerField(default=0)
    entry_count = models.BigIntegerField(default=0)
    sealed_count = models.BigIntegerField(default=0, db_default=0)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "ledger_accounts"
        verbose_name = "ledger account"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "user", "id"],
                name="ledger_account_of_one_user",
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "kind"],
                name="ledger_account_once_per_user_and_kind",
                violation_error_message="This user already has that ledger account.",
            ),
            is_one_of("kind", LedgerKind, name="ledger_account_kind_is_known"),
            models.CheckConstraint(
                name="ledger_account_count_is_not_negative",
                condition=Q(entry_count__gte=0),
            ),
            models.CheckConstraint(
                name="ledger_account_sealed_what_it_has",
                condition=Q(sealed_count__gte=0, sealed_count__lte=F("entry_count")),
            ),
        ]
        indexes = [
            models.Index(
                fields=["id"],
                name="ledger_accounts_unsealed",
                condition=Q(sealed_count__lt=F("entry_count")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.user}"


class Posting(Row):
    """One movement of money inside one user's ledger; its entries sum to zero.

    Append-only. `source_ref` names what caused it; `reverses` the posting that it
    undoes, once. What a person caused says who, why, under which ticket; what a job
    settled is explained by the allocations it settles.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="+", db_index=False
    )
    user = models.ForeignKey(
        BillingUser, models.PROTECT, related_name="postings", db_index=False
    )
    reason = models.TextField(choices=PostingReason)
    source_ref = models.TextField()
    idempotency_key = models.TextField()
    reverses = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="reversed_by"
    )
    actor_kind = models.TextField()
    actor_id = models.TextField()
    operator = models.TextField()
    explanation = models.TextField()
    ticket_id = models.TextField()
    trace_id = models.TextField()
    effective_at = models.DateTimeField()
    occurred_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "ledger_postings"
        verbose_name = "movement"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "user", "id"], name="posting_of_one_user"
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "idempotency_key"],
                name="posting_once_per_idempotency_key",
                violation_error_message="This idempotency key was posted before.",
            ),
            is_one_of("reason", PostingReason, name="posting_reason_is_known"),
            models.CheckConstraint(
                name="posting_source_is_1_to_255_characters",
                condition=Q(source_ref__regex=r"\A.{1,255}\Z")
                & Q(source_ref__regex=r"\S"),
                violation_error_message="A source has 1 to 255 characters.",
            ),
            models.CheckConstraint(
                name="posting_is_explained",
                condition=Q(
                    actor_kind__regex=r"\S",
                    actor_id__regex=r"\S",
                    operator__regex=r"\S",
                    explanation__regex=r"\S",
                    ticket_id__regex=r"\S",
                    trace_id__regex=r"\S",
                    idempotency_key__regex=r"\S",
                ),
                violation_error_message=(
                    "A posting needs actor, operator, reason, ticket and trace."
                ),
            ),
            models.CheckConstraint(
                name="posting_reversal_names_what_it_reverses",
                condition=Q(reason=PostingReason.REVERSAL, reverses__isnull=False)
                | (~Q(reason=PostingReason.REVERSAL) & Q(reverses__isnull=True)),
                violation_error_message="A reversal names the posting it reverses.",
            ),
        ]
        indexes = [
            models.Index(fields=["realm", "user", "id"], name="postings_by_user"),
        ]

    def __str__(self) -> str:
        when = f"{self.occurred_at:%Y-%m-%d %H:%M} UTC"
        return f"{self.get_reason_display()} for {self.user} on {when}"


class LedgerEntry(Row):
    """One side of a posting: what one ledger account gained or lost (10^-6 USD).

    Append-only. `seq` numbers an account's entries from 1 without a gap, and
    `balance_xusd` is what the account came to with it.
    """

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
        related_name="ledger_entries",
        db_index=False,
        db_constraint=False,
    )
    posting = models.ForeignKey(
        Posting, models.PROTECT, related_name="entries", db_constraint=False
    )
    ledger_account = models.ForeignKey(
        LedgerAccount,
        models.PROTECT,
        related_name="entries",
        db_index=False,
        db_constraint=False,
    )
    lot = models.ForeignKey(
        "grants.GrantLot",
        models.PROTECT,
        null=True,
        related_name="entries",
        db_constraint=False,
    )
    seq = models.BigIntegerField()
    amount_xusd = models.BigIntegerField()
    balance_xusd = models.BigIntegerField()
    occurred_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "ledger_entries"
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger entries"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "ledger_account", "seq"],
                name="ledger_entry_in_sequence",
            ),
            models.CheckConstraint(
                name="ledger_entry_moves_an_amount",
                condition=~Q(amount_xusd=0),
                violation_error_message="An entry moves an amount.",
            ),
            models.CheckConstraint(
                name="ledger_entry_is_numbered_from_1", condition=Q(seq__gte=1)
            ),
        ]

    def __str__(self) -> str:
        return f"{format_xusd(self.amount_xusd)}, entry {self.seq}"


class LedgerSeal(models.Model):
    """The hash that binds an entry to all before it in its ledger account.

    `hash` is SHA-256 over the previous entry's hash and the entry's own facts
    (`services.seals`). Append-only, and made by a job: an entry, or one before it,
    that is changed afterwards no longer fits.
    """

    entry = models.OneToOneField(
        LedgerEntry, models.PROTECT, primary_key=True, related_name="seal"
    )
    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    ledger_account = models.ForeignKey(
        LedgerAccount, models.PROTECT, related_name="seals", db_index=False
    )
    seq = models.BigIntegerField()
    hash = models.BinaryField()
    sealed_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "ledger_seals"
        verbose_name = "seal"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "ledger_account", "seq"],
                name="ledger_seal_in_sequence",
            ),
        ]

    def __str__(self) -> str:
        return f"Seal of entry {self.seq}"
