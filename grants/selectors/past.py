"""What users had at instants of the past, by what was issued and taken."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from uuid import UUID

from grants.models import ENDED, GrantAllocation, GrantLot, LotKind

Moment = tuple[UUID, datetime]
"""A user and an instant (aware UTC)."""
Change = tuple[datetime, int]
"""An instant, and what the user had more (10^-6 USD) from then on."""


def balances_then(*, realm_id: str, moments: Sequence[Moment]) -> list[int]:
    """Return what each user could spend at each moment (10^-6 USD), in their order.

    Of each lot, what was left of it while its window held and it was open. What was
    held in reserve then, and a suspension that was lifted, are not on record here.
    """
    users = {user for user, _ in moments}
    history = {
        user: _totals(changes) for user, changes in _changes(realm_id, users).items()
    }
    found = []
    for user, at in moments:
        dates, totals = history.get(user, ([], []))
        place = bisect_right(dates, at)
        found.append(totals[place - 1] if place else 0)
    return found


def _totals(changes: Iterable[Change]) -> tuple[list[datetime], list[int]]:
    ordered = sorted(changes)
    return [at for at, _ in ordered], list(accumulate(by for _, by in ordered))


def _changes(realm_id: str, users: set[UUID]) -> dict[UUID, list[Change]]:
    """Return what each lot and each use of it changed, by user."""
    lots = GrantLot.objects.in_realm(realm_id).filter(user_id__in=users)
    uses = GrantAllocation.objects.in_realm(realm_id).filter(
        user_id__in=users, lot__isnull=False
    )
    taken = defaultdict[UUID, list[Change]](list)
    for lot_id, at, amount in uses.values_list("lot_id", "occurred_at", "amount_xusd"):
        taken[lot_id].append((at, -amount))
    changes = defaultdict[UUID, list[Change]](list)
    for lot in lots.exclude(kind=LotKind.FALLBACK):
        changes[lot.user_id] += _of_lot(lot, taken[lot.pk])
    return changes


def _of_lot(lot: GrantLot, taken: list[Change]) -> list[Change]:
    ends = [lot.window_end] if lot.window_end else []
    if lot.status in ENDED and lot.closed_at:
        ends.append(lot.closed_at)
    end = min(ends, default=None)
    within = [(at, by) for at, by in taken if end is None or at < end]
    changes = [(lot.window_start, lot.amount_xusd), *within]
    if end is not None:
        changes.append((end, -sum(by for _, by in changes)))
    return changes
