"""How grants, amounts and movements read to people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin.words import short_text
from catalog.admin.words import unbroken
from config.kernel.money import format_xusd
from grants.models import ENDED, SPENDABLE, GrantLot, LotKind, LotStatus

BEGINS_LATER, SPENDABLE_NOW, USED_UP = "Begins later", "Can be spent", "Used up"
ENDED_TEXT, OWED, SETTLED = "Ended, about to close", "Owed", "Paid"
STATE_COLORS = {
    SPENDABLE_NOW: "success",
    BEGINS_LATER: "info",
    USED_UP: "default",
    ENDED_TEXT: "default",
    OWED: "danger",
    SETTLED: "default",
    LotStatus.SUSPENDED.label: "warning",
    LotStatus.CLOSED.label: "default",
    LotStatus.CANCELED.label: "danger",
}


def signed(xusd: int) -> str:
    """Return a movement in dollars with its sign: `+$1.25`."""
    return f"+{format_xusd(xusd)}" if xusd > 0 else format_xusd(xusd)


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
    return SPENDABLE_NOW if lot.available_xusd else USED_UP


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
    if not listed:
        return empty
    shown = render_to_string(
        "unfold/components/table.html", {"table": {"headers": headers, "rows": listed}}
    )
    below = format_html('<a href="{}" class="text-link">{}</a>', *more) if more else ""
    return format_html(
        '<div class="plangate-wide flex flex-col gap-3">{}{}</div>', shown, below
    )
