"""What users had at instants of the past, by what was issued and taken."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from uuid import UUID

from django.db import connection

from grants.models import ENDED, GrantLot, LotKind

Moment = tuple[UUID, datetime]
"""A user and an instant (aware UTC)."""
Change = tuple[datetime, int]
"""An instant, and what the user had more (10^-6 USD) from then on."""


_INSTANT = timedelta(microseconds=1)

# What each use took counts from the first moment on that is not before it: a row per
# lot and moment, not per use.
_TAKEN = """
SELECT lot_id, width_bucket(occurred_at, %s::timestamptz[]), sum(amount_xusd)::bigint
FROM grant_allocations
WHERE realm_id = %s AND user_id = ANY (%s) AND lot_id IS NOT NULL AND occurred_at <= %s
GROUP BY 1, 2
"""


def balances_then(*, realm_id: str, moments: Sequence[Moment]) -> list[int]:
    """Return what each user could spend at each moment (10^-6 USD), in their order.

    Of each lot, what was left of it while its window held and it was open. What was
    held in reserve then, and a suspension that was lifted, are not on record here.
    """
    history = {
        user: _totals(changes) for user, changes in _changes(realm_id, moments).items()
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


def _changes(realm_id: str, moments: Sequence[Moment]) -> dict[UUID, list[Change]]:
    """Return what each lot and the uses of it changed, by user, as of the moments."""
    users = {user for user, _ in moments}
    lots = GrantLot.objects.in_realm(realm_id).filter(user_id__in=users)
    taken = _taken(realm_id, users, sorted({at for _, at in moments}))
    changes = defaultdict[UUID, list[Change]](list)
    for lot in lots.exclude(kind=LotKind.FALLBACK):
        changes[lot.user_id] += _of_lot(lot, taken[lot.pk])
    return changes


def _taken(
    realm_id: str, users: set[UUID], dates: Sequence[datetime]
) -> dict[UUID, list[Change]]:
    """Return what uses took of each lot, by the first of `dates` that counts them."""
    taken = defaultdict[UUID, list[Change]](list)
    if not dates:
        return taken
    ends = [at + _INSTANT for at in dates]
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, [ends, realm_id, list(users), dates[-1]])
        for lot_id, place, amount in cursor.fetchall():
            taken[lot_id].append((dates[place], -amount))
    return taken


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
