"""Movements of money: the postings of the ledger, each with its entries."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.filters import TimeFilter
from catalog.admin.words import linked, moment, money
from config.admin.bases import (
    GRANTS,
    NOTHING,
    ActionVariant,
    CommandForm,
    Done,
    Menu,
    Preview,
    RecordAdmin,
    Table,
    command,
    instant_text,
)
from config.kernel.audit import AuditContext
from config.kernel.money import format_xusd
from grants.admin.lot_page import wallet_text
from grants.admin.sources import source_text
from grants.admin.words import signed, table
from grants.models import LedgerEntry, Posting, PostingReason
from grants.selectors.wallets import wallet_of
from grants.services.adjustments import reverse_adjustment

REVERSE = "grants.reverse_posting"
ENTRIES = 200
REASON_COLORS = {
    PostingReason.ISSUE.label: "success",
    PostingReason.ADJUSTMENT.label: "warning",
    PostingReason.REVERSAL.label: "warning",
    PostingReason.REVOCATION.label: "danger",
}


def can_reverse(posting: Posting) -> bool:
    """Return whether a person made it, and nobody undid it."""
    adjusts = posting.reason == PostingReason.ADJUSTMENT
    return adjusts and not hasattr(posting, "reversed_by")


@admin.register(Posting)
class PostingAdmin(RecordAdmin):
    """Postings, called movements here."""

    menu = Menu(GRANTS, icon="receipt_long", order=60, label="Movements")
    empty_message = (
        "Nothing moved like that. Money moves when something is given, adjusted or "
        "taken back; uses are booked a few minutes after they are made."
    )
    list_display = (
        "when", "reason_label", "amount", "source", "wallet_link", "account_link",
        "operator", "ticket_id", "realm",
    )  # fmt: skip
    list_display_links = ("when",)
    list_filter = (("occurred_at", TimeFilter), "reason", "realm")
    list_select_related = ("realm", "account", "user", "reverses", "reversed_by")
    search_fields = (
        "account__billing_principal_id", "user__business_user_id",
        "user__metadata__email", "source_ref", "ticket_id", "operator", "id__iexact",
    )  # fmt: skip
    search_help_text = (
        "Principal, user id, e-mail, source, ticket, operator or movement id"
    )
    # Keys grow with time.
    ordering = ("-id",)
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "reason", "source_ref", "operator", "explanation", "ticket_id",
        "effective_at", "occurred_at", "actor_kind", "actor_id", "trace_id",
        "idempotency_key", "reverses",
    )  # fmt: skip
    export_texts = {"moved_xusd": lambda posting: str(posting.moved_xusd)}
    fieldsets = (
        (
            None,
            {"fields": ("reason_label", "amount", "when_text", "wallet_link",
                        "account_link", "realm")},
        ),
        (
            "Entries",
            {
                "fields": ("entries",),
                "description": "What each ledger account gained (+) or lost (-). They "
                "add up to $0.",
            },
        ),
        (
            "Why",
            {"fields": ("source", "operator", "explanation", "ticket_id", "effective",
                        "actor", "undone")},
        ),
        (
            "For engineers",
            {"fields": ("id", "source_ref", "idempotency_key", "trace_id"),
             "classes": ("collapse",)},
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Posting]:
        """Return the postings with how much each moved."""
        gained = LedgerEntry.objects.filter(
            posting=OuterRef("pk"), amount_xusd__gt=0
        ).order_by()
        sums = gained.values("posting").annotate(total=Sum("amount_xusd"))
        moved = Subquery(sums.values("total"), output_field=BigIntegerField())
        postings: QuerySet[Posting] = super().get_queryset(request)
        return postings.annotate(moved_xusd=moved)

    @display(description="When (UTC)", ordering="id")
    def when(self, posting: Posting) -> Any:
        """Return when it was booked."""
        return moment(posting.occurred_at)

    @display(description="When")
    def when_text(self, posting: Posting) -> str:
        """Return when it was booked."""
        return instant_text(posting.occurred_at)

    @display(description="What happened", label=REASON_COLORS, ordering="reason")
    def reason_label(self, posting: Posting) -> str:
        """Return why money moved, in a word."""
        return str(posting.get_reason_display())

    @display(description="Amount moved")
    def amount(self, posting: Any) -> Any:
        """Return what its accounts gained in all."""
        return money(posting.moved_xusd)

    @display(description="Source", ordering="source_ref")
    def source(self, posting: Posting) -> Any:
        """Return what caused it, as a link where that can be looked at."""
        return source_text(posting.source_ref)

    @display(description="Wallet", ordering="user__business_user_id")
    def wallet_link(self, posting: Posting) -> Any:
        """Return the user, as a link to the wallet."""
        return wallet_text(posting)

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, posting: Posting) -> Any:
        """Return the account, as a link."""
        return linked(posting.account)

    @display(description="Effective from")
    def effective(self, posting: Posting) -> str:
        """Return since when it is meant to hold."""
        return instant_text(posting.effective_at)

    @display(description="Signed in as")
    def actor(self, posting: Posting) -> str:
        """Return the authenticated identity."""
        return f"{posting.actor_kind.replace('_', ' ')} {posting.actor_id}"

    @display(description="Reversal")
    def undone(self, posting: Posting) -> Any:
        """Return what it undoes, or what undid it, as a link."""
        if posting.reverses is not None:
            return linked(posting.reverses, f"Undoes: {posting.reverses}")
        if hasattr(posting, "reversed_by"):
            return linked(posting.reversed_by, f"Was undone: {posting.reversed_by}")
        return NOTHING

    @display(description="Per ledger account")
    def entries(self, posting: Posting) -> Any:
        """Return its entries, each with the grant that it is about."""
        booked = LedgerEntry.objects.in_realm(posting.realm_id).filter(posting=posting)
        shown = booked.select_related("ledger_account", "lot__program", "lot__user")
        return table(
            ("Ledger account", "Amount", "Balance then", "Entry", "Grant"),
            [
                (
                    entry.ledger_account.get_kind_display(),
                    signed(entry.amount_xusd),
                    format_xusd(entry.balance_xusd),
                    f"No. {entry.seq:,}",
                    linked(entry.lot),
                )
                for entry in shown.order_by("id")[:ENTRIES]
            ],
            empty="It has no entries. Tell the engineers.",
        )

    def preview_reverse(
        self,
        _request: HttpRequest,
        posting: Posting,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what the user has then: reverse it, to be rolled back."""
        before = wallet_of(user=posting.user, at=at).available_xusd
        reverse_adjustment(posting=posting, at=at, by=by)
        after = wallet_of(user=posting.user, at=at).available_xusd
        return [
            Table(
                title=f"Wallet of {posting.user} in the account {posting.account}",
                headers=("", "Now", "After"),
                rows=[("Available to spend", format_xusd(before), format_xusd(after))],
            )
        ]

    @command(
        "Reverse",
        permission=REVERSE,
        icon="undo",
        variant=ActionVariant.DANGER,
        description="Undoes the adjustment by a new, opposite movement. Possible once, "
        "and only while what it gave is not spent.",
        available=can_reverse,
        preview=preview_reverse,
    )
    def reverse(
        self,
        _request: HttpRequest,
        posting: Posting,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Undo the adjustment."""
        undone = reverse_adjustment(posting=posting, at=at, by=by)
        return Done(
            "The adjustment is undone; this is the movement that undid it.",
            goto=reverse("admin:grants_posting_change", args=[undone.pk]),
        )


add_related(
    Related(
        label="Movements of money",
        url_name="admin:grants_posting_changelist",
        permission="grants.view_posting",
        order=60,
    )
)
