"""Credit entries: every movement of every balance, for good."""

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.filters import TimeFilter
from catalog.admin.words import linked, moment
from config.admin.bases import GRANTS, NOTHING, Menu, RecordAdmin, instant_text
from config.kernel.money import format_xusd
from grants.admin.sources import source_text
from grants.models import CreditEntry, EntryKind

KIND_COLORS = {
    EntryKind.CREDIT.label: "success",
    EntryKind.SPEND.label: "default",
    EntryKind.CORRECTION.label: "warning",
}


def signed(xusd: int) -> str:
    """Return a movement in dollars with its sign: `+$1.25`."""
    return f"+{format_xusd(xusd)}" if xusd > 0 else format_xusd(xusd)


@admin.register(CreditEntry)
class CreditEntryAdmin(RecordAdmin):
    """Credit entries."""

    menu = Menu(GRANTS, icon="receipt_long", order=20)
    empty_message = (
        "Nothing was credited or spent yet. Credits are given on a user's balance."
    )
    list_display = (
        "when", "kind_label", "amount", "source", "account_link", "user_link",
        "given_by", "ticket", "realm",
    )  # fmt: skip
    list_display_links = ("when",)
    list_filter = (
        ("occurred_at", TimeFilter), "kind", "realm",
    )  # fmt: skip
    list_select_related = ("realm", "account", "user")
    search_fields = (
        "source_ref", "account__billing_principal_id", "user__business_user_id",
        "user__metadata__email", "ticket_id", "operator",
    )  # fmt: skip
    search_help_text = "Source, principal, user id, e-mail, ticket, operator"
    # Keys grow with time, and their index is there.
    ordering = ("-id",)
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "kind", "amount_xusd", "source_ref", "operator", "reason", "ticket_id",
        "effective_at", "occurred_at", "actor_kind", "actor_id", "trace_id",
        "idempotency_key",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("kind_label", "amount", "exact", "source", "when")},
        ),
        ("Whose balance", {"fields": ("account_link", "user_link", "realm")}),
        (
            "Why",
            {
                "fields": ("given_by", "why", "ticket", "effective", "actor"),
                "description": "A spend is explained by the rating that it paid: the "
                "source names it.",
            },
        ),
        ("For engineers", {"fields": ("id", "source_ref", "trace", "key")}),
    )

    @display(description="When (UTC)", ordering="occurred_at")
    def when(self, entry: CreditEntry) -> Any:
        """Return when the balance moved."""
        return moment(entry.occurred_at)

    @display(description="Kind", label=KIND_COLORS, ordering="kind")
    def kind_label(self, entry: CreditEntry) -> str:
        """Return what the entry does."""
        return str(entry.get_kind_display())

    @display(description="Source", ordering="source_ref")
    def source(self, entry: CreditEntry) -> Any:
        """Return what caused it, as a link where that can be looked at."""
        return source_text(entry.source_ref)

    @display(description="Amount", ordering="amount_xusd")
    def amount(self, entry: CreditEntry) -> str:
        """Return the movement in dollars."""
        return signed(entry.amount_xusd)

    @display(description="Amount (XUSD)")
    def exact(self, entry: CreditEntry) -> str:
        """Return the movement in millionths of a dollar."""
        return f"{entry.amount_xusd:+d}"

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, entry: CreditEntry) -> Any:
        """Return the account, as a link."""
        return linked(entry.account)

    @display(description="User", ordering="user__business_user_id")
    def user_link(self, entry: CreditEntry) -> Any:
        """Return the user, as a link to the balance."""
        return format_html(
            '<a href="{}" class="text-link">{}</a>',
            _balance_address(entry),
            entry.user,
        )

    @display(description="Given by", ordering="operator")
    def given_by(self, entry: CreditEntry) -> str:
        """Return who gave a credit; a spend is the system's doing."""
        return entry.operator or "Usage"

    @display(description="Reason")
    def why(self, entry: CreditEntry) -> str:
        """Return why."""
        return entry.reason or NOTHING

    @display(description="Ticket", ordering="ticket_id")
    def ticket(self, entry: CreditEntry) -> str:
        """Return the case that justifies it."""
        return entry.ticket_id or NOTHING

    @display(description="Effective from")
    def effective(self, entry: CreditEntry) -> str:
        """Return since when it is meant to hold."""
        return instant_text(entry.effective_at)

    @display(description="Signed in as")
    def actor(self, entry: CreditEntry) -> str:
        """Return the authenticated identity."""
        kind = entry.actor_kind.replace("_", " ")
        return f"{kind} {entry.actor_id}".strip() or NOTHING

    @display(description="Trace id")
    def trace(self, entry: CreditEntry) -> str:
        """Return what links the entry to its request."""
        return entry.trace_id or NOTHING

    @display(description="Idempotency key")
    def key(self, entry: CreditEntry) -> str:
        """Return the caller's key of the request."""
        return entry.idempotency_key or NOTHING


def _balance_address(entry: CreditEntry) -> str:
    return reverse("admin:grants_creditbalance_change", args=[entry.user_id])


add_related(
    Related(
        label="Credit entries",
        url_name="admin:grants_creditentry_changelist",
        permission="grants.view_creditentry",
        order=60,
    )
)
