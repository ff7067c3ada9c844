"""The page of a grant: what it was, what became of it, and by what."""

from typing import Any

from django.db.models import Prefetch
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.words import linked, moment, money
from config.admin.bases import NOTHING, RecordAdmin, instant_text
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.sources import source_text
from grants.admin.wallet_page import posted_text
from grants.admin.words import (
    MAIN_BALANCE,
    PROMOTIONAL,
    STATE_COLORS,
    can_be_spent_xusd,
    given_text,
    happened,
    lot_state,
    rest_text,
    side_text,
    signed,
    table,
)
from grants.models import GrantLot, LedgerEntry, LedgerKind, LotKind, Posting
from grants.selectors.movements import HOLDINGS, with_changes

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
                "description": "What can be spent is what was given, less what was "
                "taken back, used and held, while the grant is open. Held is kept for "
                "work under way, until it is committed, canceled or expires. All "
                "amounts are US dollars.",
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
        ("Movements", {"fields": ("entries",)}),
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
        """Return what was given, and what adjustments took back of it."""
        return given_text(lot)

    @display(description="Used", ordering="consumed_xusd")
    def used(self, lot: GrantLot) -> Any:
        """Return what was spent of it."""
        return money(lot.consumed_xusd)

    @display(description="Held", ordering="reserved_xusd")
    def held(self, lot: GrantLot) -> Any:
        """Return what leases hold of it."""
        return money(lot.reserved_xusd)

    @display(description="Can be spent now")
    def left(self, lot: GrantLot) -> Any:
        """Return what new uses may take of it; of overage, that they may not."""
        if lot.kind == LotKind.FALLBACK:
            return "Nothing: it was not given, and is owed"
        return money(can_be_spent_xusd(lot, at=now()))

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
        rest = rest_text(lot, at=now())
        if lot.closed_at is None:
            return rest or "It is open"
        return f"{rest}, on {instant_text(lot.closed_at)}"

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
        return MAIN_BALANCE if lot.on_ledger else PROMOTIONAL

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

    @display(description=f"Latest {LATEST} movements")
    def entries(self, lot: GrantLot) -> Any:
        """Return what came into the lot and went out of it, the newest first."""
        booked = LedgerEntry.objects.in_realm(lot.realm_id).filter(
            lot=lot, ledger_account__kind__in=(*HOLDINGS, LedgerKind.OUTSTANDING)
        )
        why = Prefetch("posting", with_changes(Posting.objects.all()))
        newest = booked.select_related("ledger_account").prefetch_related(why)
        return table(
            ("When (UTC)", "What happened", "In (+) or out (-)", "Counts as",
             "Balance of that then"),
            [
                (
                    moment(entry.occurred_at),
                    linked(entry.posting, happened(entry.posting)),
                    signed(entry.amount_xusd),
                    side_text(entry.ledger_account.kind),
                    format_xusd(entry.balance_xusd),
                )
                for entry in newest.order_by("-id")[:LATEST]
            ],
            empty="Nothing was booked about it yet.",
        )  # fmt: skip


def wallet_text(row: Any) -> Any:
    """Return the user of a row, as a link to the wallet."""
    address = reverse("admin:grants_wallet_change", args=[row.user_id])
    return format_html('<a href="{}" class="text-link">{}</a>', address, row.user)
