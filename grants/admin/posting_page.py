"""The page of a movement: what moved where, and why."""

from typing import Any

from unfold.decorators import display

from catalog.admin.words import linked, moment
from config.admin.bases import NOTHING, RecordAdmin, instant_text
from config.kernel.money import format_xusd
from grants.admin.lot_page import wallet_text
from grants.admin.sources import source_text
from grants.admin.words import change_text, happened, side_text, signed, table
from grants.models import OPEN, GrantLot, LedgerEntry, Posting, PostingReason
from grants.selectors.movements import HOLDINGS

ENTRIES = 200
REASON_COLORS = {
    "Given": "success",
    "Given by adjustment": "warning",
    "Taken back by adjustment": "warning",
    "Adjustment undone": "warning",
    "Revoked": "danger",
}


def can_reverse(posting: Posting) -> bool:
    """Return whether a person made it, and nobody undid it."""
    adjusts = posting.reason == PostingReason.ADJUSTMENT
    return adjusts and not hasattr(posting, "reversed_by")


class PostingPage(RecordAdmin):
    """What the page of a movement shows."""

    fieldsets = (
        (
            None,
            {"fields": ("reason_label", "change", "owed", "when_text", "wallet_link",
                        "account_link", "realm")},
        ),
        (
            "Where the money went",
            {
                "fields": ("entries",),
                "description": "Every movement is booked twice: what one side gains "
                "(+), the other loses (-), so that they add up to $0.",
            },
        ),
        (
            "Why",
            {"fields": ("source", "who", "explanation", "ticket", "effective",
                        "actor", "undone")},
        ),
        (
            "For engineers",
            {"fields": ("id", "source_ref", "idempotency_key", "trace_id"),
             "classes": ("collapse",)},
        ),
    )  # fmt: skip

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
        return happened(posting)

    @display(description="In (+) or out (-)")
    def change(self, posting: Any) -> str:
        """Return what came into the wallet or went out; nothing is told in words."""
        if posting.wallet_xusd or posting.owed_xusd:
            return change_text(posting.wallet_xusd)
        return "Moved inside the wallet"

    @display(description="Owed more (+) or less (-)")
    def owed(self, posting: Any) -> str:
        """Return by how much the user owes more or less."""
        return change_text(posting.owed_xusd)

    @display(description="Who", ordering="operator")
    def who(self, posting: Posting) -> str:
        """Return the person or system that caused it."""
        return posting.operator

    @display(description="Ticket", ordering="ticket_id")
    def ticket(self, posting: Posting) -> str:
        """Return the ticket that it was caused under."""
        return posting.ticket_id

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
        if not can_reverse(posting):
            return NOTHING
        lots = GrantLot.objects.in_realm(posting.realm_id)
        ended = lots.filter(entries__posting=posting).exclude(status__in=OPEN)
        if ended.exists():
            return (
                "It cannot be undone any more, because a grant that it changed has "
                "ended. To put it right, adjust the wallet again."
            )
        return "It can be undone, as long as the grants that it changed are open."

    @display(description="In the wallet, and on the other side")
    def entries(self, posting: Posting) -> Any:
        """Return its entries, each with the grant that it is about."""
        booked = LedgerEntry.objects.in_realm(posting.realm_id).filter(posting=posting)
        shown = booked.select_related("ledger_account", "lot__program", "lot__user")
        found = sorted(shown.order_by("id")[:ENTRIES], key=_outside)
        return table(
            ("Ledger account", "Gained (+) or lost (-)", "Balance then", "Entry",
             "Grant"),
            [
                (
                    _account_text(entry),
                    signed(entry.amount_xusd),
                    format_xusd(entry.balance_xusd),
                    f"No. {entry.seq:,}",
                    linked(entry.lot),
                )
                for entry in found
            ],
            empty="It has no entries. Tell the engineers.",
        )  # fmt: skip


def _outside(entry: LedgerEntry) -> bool:
    return entry.ledger_account.kind not in HOLDINGS


def _account_text(entry: LedgerEntry) -> str:
    side = side_text(entry.ledger_account.kind)
    return side if _outside(entry) else f"{side}, in the wallet"
