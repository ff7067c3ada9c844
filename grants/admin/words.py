"""How grants, amounts and movements read to people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin.words import short_text
from catalog.admin.words import unbroken
from config.admin.bases import NOTHING
from config.kernel.money import format_xusd
from grants.models import (
    ENDED,
    SPENDABLE,
    ClosureKind,
    GrantLot,
    LedgerKind,
    LotKind,
    LotStatus,
    PostingReason,
)

BEGINS_LATER, SPENDABLE_NOW, EMPTY = "Begins later", "Can be spent", "Empty"
ENDED_TEXT, OWED, SETTLED = "Ended, about to close", "Owed", "Paid"
STATE_COLORS = {
    SPENDABLE_NOW: "success",
    BEGINS_LATER: "info",
    EMPTY: "default",
    ENDED_TEXT: "default",
    OWED: "danger",
    SETTLED: "default",
    LotStatus.SUSPENDED.label: "warning",
    LotStatus.CLOSED.label: "default",
    LotStatus.CANCELED.label: "danger",
}
_FATES = {
    ClosureKind.FORFEIT: "expired",
    ClosureKind.REFUND: "was refunded",
    ClosureKind.CARRYOVER: "was carried over to a new grant",
    ClosureKind.NONE: "is kept, and cannot be spent",
}
_HAPPENED = {
    PostingReason.CONSUMPTION: "Used",
    PostingReason.FORFEIT: "Expired",
    PostingReason.REVERSAL: "Adjustment undone",
}
MAIN_BALANCE, PROMOTIONAL = "Main balance", "Promotional credit"
_SIDES = {
    LedgerKind.WALLET: MAIN_BALANCE,
    LedgerKind.PROMOTIONAL: PROMOTIONAL,
    LedgerKind.ISSUED: "Given",
    LedgerKind.CONSUMED: "Used",
    LedgerKind.OUTSTANDING: "Owed",
    LedgerKind.FORFEITED: "Expired or revoked",
    LedgerKind.REFUNDED: "Refunded",
    LedgerKind.ADJUSTED: "Adjusted by hand",
}


def happened(posting: Any) -> str:
    """Return what a posting read with its changes is to people."""
    if posting.reason == PostingReason.ADJUSTMENT:
        gave = posting.wallet_xusd > 0
        return "Given by adjustment" if gave else "Taken back by adjustment"
    return _HAPPENED.get(posting.reason, str(posting.get_reason_display()))


def side_text(kind: str) -> str:
    """Return what a ledger account is called."""
    return _SIDES[LedgerKind(kind)]


def signed(xusd: int) -> str:
    """Return a movement in dollars with its sign: `+$1.25`."""
    return f"+{format_xusd(xusd)}" if xusd > 0 else format_xusd(xusd)


def change_text(xusd: int) -> str:
    """Return a change of an amount with its sign; a dash for none."""
    return signed(xusd) if xusd else NOTHING


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 account`, `2 accounts`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lot_state(lot: GrantLot, *, at: datetime) -> str:
    """Return one plain word for where a grant stands at `at` (aware UTC)."""
    if lot.status in {*ENDED, LotStatus.SUSPENDED}:
        return str(lot.get_status_display())
    if lot.kind == LotKind.FALLBACK:
        return OWED if lot.consumed_xusd > lot.paid_xusd else SETTLED
    if lot.status not in SPENDABLE or (lot.window_end and lot.window_end <= at):
        return ENDED_TEXT
    if lot.window_start > at:
        return BEGINS_LATER
    return SPENDABLE_NOW if lot.available_xusd else EMPTY


def can_be_spent_xusd(lot: GrantLot, *, at: datetime) -> int:
    """Return what new uses at `at` may take of a grant (10^-6 USD)."""
    return lot.available_xusd if lot.is_spendable(at) else 0


def rest_text(lot: GrantLot, *, at: datetime) -> str:
    """Return what became of what nobody spent and cannot be spent at `at`, or ""."""
    if lot.kind == LotKind.FALLBACK:
        owed = lot.consumed_xusd - lot.paid_xusd
        return f"{format_xusd(owed)} is owed" if owed > 0 else "All of it is paid"
    if lot.status in ENDED:
        rest = lot.closed_remaining_xusd or 0
        closure = lot.closure_kind or ClosureKind.NONE
        revoked = lot.status == LotStatus.CANCELED
        fate = "was revoked" if revoked else _FATES[ClosureKind(closure)]
        return f"{format_xusd(rest)} {fate}" if rest else "Nothing was left"
    if lot.is_spendable(at) or not lot.available_xusd:
        return ""
    left = format_xusd(lot.available_xusd)
    if lot.status == LotStatus.SUSPENDED:
        return f"{left} waits until it is resumed"
    if lot.status in SPENDABLE and lot.window_start > at:
        return f"{left} can be spent once it begins"
    return f"{left} can be spent no more"


def given_text(lot: Any) -> str:
    """Return what a lot read with what was taken back was given at first."""
    first, taken = format_xusd(lot.amount_xusd + lot.taken_back_xusd), taken_text(lot)
    return f"{first}, of which {taken}" if taken else first


def taken_text(lot: Any) -> str:
    """Return what adjustments took back of a lot read with that, or ""."""
    if not lot.taken_back_xusd:
        return ""
    return f"{format_xusd(lot.taken_back_xusd)} was taken back by adjustment"


def until_text(end: datetime | None) -> SafeString | str:
    """Return until when something holds, for a column whose title says UTC."""
    return minute(end) if end else "No end"


def minute(at: datetime) -> SafeString:
    """Return an instant to the minute, for a column whose title says UTC."""
    return unbroken(short_text(at))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    empty: str,
    more: tuple[str, str] | None = None,
) -> SafeString | str:
    """Return rows as a table, with a link below; `empty` is said in place of no rows.

    `more` is the address and the text of the link to all of them.
    """
    listed = list(rows)
    if not listed and more is None:
        return empty
    told = {"table": {"headers": headers, "rows": listed}}
    drawn = render_to_string("unfold/components/table.html", told) if listed else ""
    shown = drawn or format_html("<p>{}</p>", empty)
    below = format_html('<a href="{}" class="text-link">{}</a>', *more) if more else ""
    return format_html(
        '<div class="plangate-wide flex flex-col gap-3">{}{}</div>', shown, below
    )
