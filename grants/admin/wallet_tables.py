"""The tables of a wallet's page: its grants, its movements, and what they add up to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, strip_tags

from billing.models import BillingUser
from catalog.admin.words import linked, unbroken
from config.kernel.money import format_xusd
from grants.admin.sources import source_text
from grants.admin.words import (
    can_be_spent_xusd,
    change_text,
    given_text,
    happened,
    lot_state,
    minute,
    rest_text,
    side_text,
    signed,
    table,
    until_text,
)
from grants.models import ENDED, GrantLot, LedgerAccount, LedgerKind, LotKind
from grants.selectors.movements import HOLDINGS, latest_movements, with_taken_back

SHOWN = 50
LATELY = 10
MOVEMENTS = 15


def spendable_table(lots: Sequence[GrantLot], *, at: datetime) -> Any:
    """Return the open lots of which new uses at `at` take, in the order of spending."""
    pays = [lot for lot in lots if can_be_spent_xusd(lot, at=at)]
    return table(
        ("Grant", "Can be spent", "Held", "Given", "From (UTC)", "Until (UTC)", "Why"),
        [
            (
                linked(lot, lot.program),
                format_xusd(lot.available_xusd),
                format_xusd(lot.reserved_xusd),
                given_text(lot),
                minute(lot.window_start),
                until_text(lot.window_end),
                _why(lot),
            )
            for lot in _lessened(pays[:SHOWN])
        ],
        empty="Nothing can be spent. Press “Credit” above, or give a grant.",
    )


def waiting_table(lots: Sequence[GrantLot], *, at: datetime) -> Any:
    """Return the open lots of which new uses at `at` take nothing, and why not."""
    waits = [lot for lot in lots if not can_be_spent_xusd(lot, at=at)]
    return table(
        ("Grant", "State", "Its money", "Held", "Given", "From (UTC)", "Until (UTC)",
         "Why"),
        [
            (
                linked(lot, lot.program),
                unbroken(lot_state(lot, at=at)),
                rest_text(lot, at=at) or "Nothing is left",
                format_xusd(lot.reserved_xusd),
                given_text(lot),
                minute(lot.window_start),
                until_text(lot.window_end),
                _why(lot),
            )
            for lot in _lessened(waits[:SHOWN])
        ],
        empty="No grant waits, is suspended or is about to close.",
    )  # fmt: skip


def ended_table(user: BillingUser, *, at: datetime) -> Any:
    """Return the user's lots that ended last, and the way to all of them."""
    every = f"{reverse('admin:grants_grantlot_changelist')}?user={user.pk}"
    own = GrantLot.objects.in_realm(user.realm_id).filter(user=user, status__in=ENDED)
    given = own.exclude(kind=LotKind.FALLBACK).select_related("program")
    return table(
        ("Grant", "What became of the rest", "Used", "Given", "Ended (UTC)", "Why"),
        [
            (
                linked(lot, lot.program),
                rest_text(lot, at=at),
                format_xusd(lot.consumed_xusd),
                given_text(lot),
                until_text(lot.closed_at),
                _why(lot),
            )
            for lot in with_taken_back(given).order_by("-closed_at", "-id")[:LATELY]
        ],
        empty="No grant has ended yet.",
        more=(every, "Every grant of this user, also those that ended earlier"),
    )


def movements_table(user: BillingUser) -> Any:
    """Return the user's newest postings with the balance that each led to."""
    every = f"{reverse('admin:grants_posting_changelist')}?user={user.pk}"
    return table(
        ("When (UTC)", "What happened", "In (+) or out (-)", "Balance after", "For",
         "Who", "Reason"),
        [
            (
                minute(posting.occurred_at),
                linked(posting, happened(posting)),
                _change(posting.wallet_xusd, posting.owed_xusd),
                format_xusd(posting.after_xusd),
                source_text(posting.source_ref),
                posting.operator,
                f"{posting.explanation} ({posting.ticket_id})",
            )
            for posting in latest_movements(user, limit=MOVEMENTS)
        ],
        empty="No movement was booked yet.",
        more=(every, "Every movement, to filter and export"),
    )  # fmt: skip


def ledger_table(user: BillingUser) -> Any:
    """Return the ledger accounts of the user as sums that people read."""
    accounts = LedgerAccount.objects.in_realm(user.realm_id).filter(user=user)
    return table(
        ("What", "Sum", "Entries"),
        [
            (
                _sum_text(account),
                format_xusd(abs(account.balance_xusd)),
                f"{account.entry_count:,}",
            )
            for account in accounts.order_by("id")
        ],
        empty="Nothing was booked yet.",
    )


def _sum_text(account: LedgerAccount) -> str:
    name = side_text(account.kind)
    if account.kind in HOLDINGS:
        return f"{name}, in the wallet now"
    if account.kind == LedgerKind.ADJUSTED:
        return (
            f"{name}, {'taken' if account.balance_xusd > 0 else 'given'} on the whole"
        )
    return f"{name} now" if account.kind == LedgerKind.OUTSTANDING else f"{name} so far"


def _lessened(lots: Sequence[Any]) -> Sequence[Any]:
    """Return lots with what adjustments took back of each, in their order."""
    keys = [lot.pk for lot in lots]
    counted: Any = with_taken_back(GrantLot.objects.filter(pk__in=keys))
    taken = dict(counted.values_list("pk", "taken_back_xusd"))
    for lot in lots:
        lot.taken_back_xusd = taken[lot.pk]
    return lots


def _why(lot: GrantLot) -> Any:
    kind, source = lot.get_source_kind_display(), source_text(lot.source_ref)
    return source if strip_tags(source) == kind else format_html("{}: {}", kind, source)


def _change(wallet_xusd: int, owed_xusd: int) -> str:
    """Return what came in or went out, and by how much more or less is owed."""
    if not owed_xusd:
        return change_text(wallet_xusd)
    more = "more" if owed_xusd > 0 else "less"
    return f"{signed(wallet_xusd)}, {format_xusd(abs(owed_xusd))} {more} owed"
