"""The page of a grant: what it was, what became of it, and by what."""

from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.words import linked, moment, money
from config.admin.bases import NOTHING, RecordAdmin, instant_text
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.sources import source_text
from grants.admin.wallet_page import posted_text
from grants.admin.words import STATE_COLORS, lot_state, signed, table
from grants.models import GrantLot, LedgerEntry, LotKind

LATEST = 50


class LotPage(RecordAdmin):
    """What the page of a grant shows."""

    fieldsets = (
        (
            None,
            {"fields": ("program_link", "state", "kind", "wallet_link", "account_link",
                        "realm")},
        ),
        (
            "Money",
            {
                "fields": ("given", "used", "held", "left", "repaid", "closed"),
                "description": "Left is what was given, less what was used, less what "
                "is held. Held is kept for work under way, until it is committed, "
                "canceled or expires. All amounts are US dollars.",
            },
        ),
        (
            "When it can be spent",
            {"fields": ("begins", "ends_text", "period", "priority")},
        ),
        (
            "Why it was given",
            {"fields": ("given_by", "source", "assignment_link", "carried",
                        "ledger_side", "given_at")},
        ),
        ("What used it", {"fields": ("uses",)}),
        ("Ledger", {"fields": ("entries",)}),
        (
            "For engineers",
            {
                "fields": ("id", "status", "issue_key", "alloc_seq",
                           "outstanding_policy", "metadata", "created_at",
                           "updated_at"),
                "classes": ("collapse",),
            },
        ),
    )  # fmt: skip

    @display(description="Program", ordering="program__program_code")
    def program_link(self, lot: GrantLot) -> Any:
        """Return the program it was given by, as a link."""
        return linked(lot.program)

    @display(description="State now", label=STATE_COLORS)
    def state(self, lot: GrantLot) -> str:
        """Return where it stands now."""
        return lot_state(lot, at=now())

    @display(description="Wallet", ordering="user__business_user_id")
    def wallet_link(self, lot: GrantLot) -> Any:
        """Return the user, as a link to the wallet."""
        return wallet_text(lot)

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, lot: GrantLot) -> Any:
        """Return the account, as a link."""
        return linked(lot.account)

    @display(description="Given", ordering="amount_xusd")
    def given(self, lot: GrantLot) -> Any:
        """Return what was given."""
        return money(lot.amount_xusd)

    @display(description="Used", ordering="consumed_xusd")
    def used(self, lot: GrantLot) -> Any:
        """Return what was spent of it."""
        return money(lot.consumed_xusd)

    @display(description="Held", ordering="reserved_xusd")
    def held(self, lot: GrantLot) -> Any:
        """Return what leases hold of it."""
        return money(lot.reserved_xusd)

    @display(description="Left")
    def left(self, lot: GrantLot) -> Any:
        """Return what is left of it; of overage, that nothing is."""
        if lot.kind == LotKind.FALLBACK:
            return "Nothing: it was not given, and is owed"
        return money(lot.available_xusd)

    @display(description="Owed")
    def repaid(self, lot: GrantLot) -> Any:
        """Return what is owed of overage, and was paid."""
        if lot.kind != LotKind.FALLBACK:
            return NOTHING
        owed = max(lot.consumed_xusd - lot.paid_xusd, 0)
        return f"{format_xusd(owed)}; {format_xusd(lot.paid_xusd)} was paid"

    @display(description="What became of the rest")
    def closed(self, lot: GrantLot) -> str:
        """Return what became of what was left when it closed."""
        if lot.closed_at is None:
            return "It is open"
        rest = format_xusd(lot.closed_remaining_xusd or 0)
        kind = lot.get_closure_kind_display() if lot.closure_kind else "Closed"
        return f"{kind}, with {rest} left, on {instant_text(lot.closed_at)}"

    @display(description="From")
    def begins(self, lot: GrantLot) -> str:
        """Return since when it can be spent."""
        return instant_text(lot.window_start)

    @display(description="Until")
    def ends_text(self, lot: GrantLot) -> str:
        """Return the instant from which it cannot be spent."""
        end = lot.window_end
        return instant_text(end) if end else "It never ends by itself"

    @display(description="Period")
    def period(self, lot: GrantLot) -> str:
        """Return the period that it was given for."""
        if lot.period_start is None:
            return NOTHING
        end = lot.period_end
        until = instant_text(end) if end else "no end"
        return f"{instant_text(lot.period_start)} to {until}"

    @display(description="Given by")
    def given_by(self, lot: GrantLot) -> str:
        """Return what gave it; overage was given by nobody."""
        if lot.kind == LotKind.FALLBACK:
            return "Nobody: it is use beyond all that was given"
        return str(lot.get_source_kind_display())

    @display(description="Reference")
    def source(self, lot: GrantLot) -> Any:
        """Return what caused it, as a link where that can be looked at."""
        return source_text(lot.source_ref)

    @display(description="Grant assignment")
    def assignment_link(self, lot: GrantLot) -> Any:
        """Return the assignment that it was issued by, as a link."""
        return linked(lot.assignment)

    @display(description="Carried over")
    def carried(self, lot: GrantLot) -> Any:
        """Return the grants whose rest this is, and that its own rest became."""
        parts = []
        if lot.carried_from is not None:
            parts.append(format_html("From {}. ", linked(lot.carried_from)))
        if hasattr(lot, "carried_to"):
            parts.append(format_html("To {}.", linked(lot.carried_to)))
        return format_html("{}" * len(parts), *parts) if parts else NOTHING

    @display(description="Counts as")
    def ledger_side(self, lot: GrantLot) -> str:
        """Return which money it is in the ledger."""
        if lot.kind == LotKind.FALLBACK:
            return "Owed"
        return "Paid money" if lot.on_ledger else "Promotional credit"

    @display(description="Given on")
    def given_at(self, lot: GrantLot) -> str:
        """Return when it was issued."""
        return instant_text(lot.created_at)

    @display(description=f"Latest {LATEST} uses")
    def uses(self, lot: GrantLot) -> Any:
        """Return the newest allocations of the lot."""
        newest = lot.allocations.in_realm(lot.realm_id).filter(user=lot.user)
        return table(
            ("When (UTC)", "Amount", "For", "In the ledger"),
            [
                (
                    moment(use.occurred_at),
                    format_xusd(use.amount_xusd),
                    source_text(use.source_ref),
                    posted_text(use),
                )
                for use in newest.order_by("-id")[:LATEST]
            ],
            empty="Nothing was used of it yet.",
        )

    @display(description=f"Latest {LATEST} entries")
    def entries(self, lot: GrantLot) -> Any:
        """Return the newest ledger entries about the lot."""
        booked = LedgerEntry.objects.in_realm(lot.realm_id).filter(lot=lot)
        newest = booked.select_related("posting", "ledger_account").order_by("-id")
        return table(
            ("When (UTC)", "Movement", "Ledger account", "Amount", "Balance then"),
            [
                (
                    moment(entry.occurred_at),
                    linked(entry.posting, entry.posting.get_reason_display()),
                    entry.ledger_account.get_kind_display(),
                    signed(entry.amount_xusd),
                    format_xusd(entry.balance_xusd),
                )
                for entry in newest[:LATEST]
            ],
            empty="Nothing was booked about it yet.",
        )


def wallet_text(row: Any) -> Any:
    """Return the user of a row, as a link to the wallet."""
    address = reverse("admin:grants_wallet_change", args=[row.user_id])
    return format_html('<a href="{}" class="text-link">{}</a>', address, row.user)
