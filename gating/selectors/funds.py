"""What leases hold of lots, and which ratings were charged for: for the proof."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from config.kernel.ids import parse_uuid
from gating.models import LeaseState, Rating
from grants.selectors.readers import Use

_HELD = """
SELECT h.lot, sum(h.held)::bigint
FROM gate_leases l, unnest(l.held_lots, l.held_amounts) AS h(lot, held)
WHERE l.realm_id = %s AND l.account_id = ANY (%s) AND l.state = %s
GROUP BY h.lot
"""

_FIRST_MONTH = """
SELECT min(to_date(substring(c.relname FROM '_(\\d{6})(?:_\\d+)?$'), 'YYYYMM'))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'gate_ratings'::regclass
"""
PAID_BY = "gate_rating:"
"""What the source refs of ratings start with."""


def held_by_leases(*, realm_id: str, account_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Return what the accounts' active leases hold (10^-6 USD), by lot."""
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [realm_id, list(account_ids), LeaseState.ACTIVE])
        return dict(cursor.fetchall())


def paid_ratings(*, realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Use]:
    """Yield the accounts' ratings that were charged for, paid or left owing."""
    charged = Rating.objects.in_realm(realm_id).filter(
        account_id__in=account_ids, applied_amount_xusd__gt=0
    )
    rows = charged.order_by().values_list("user_id", "pk", "applied_amount_xusd")
    for user_id, rating_id, amount_xusd in rows.iterator():
        yield Use(user_id, f"{PAID_BY}{rating_id}", amount_xusd)


def known_ratings(
    *, realm_id: str, source_refs: Collection[str]
) -> set[tuple[UUID, str]]:
    """Return those of the source refs that name a rating, each with its user."""
    parsed = (parse_uuid(ref.removeprefix(PAID_BY)) for ref in source_refs)
    named = {rating_id for rating_id in parsed if rating_id is not None}
    ratings = Rating.objects.in_realm(realm_id).filter(pk__in=named).order_by()
    return {
        (user_id, f"{PAID_BY}{rating_id}")
        for user_id, rating_id in ratings.values_list("user_id", "pk")
    }


def ratings_kept_from() -> datetime | None:
    """Return the start of the first month of ratings (aware UTC), None without any.

    Older ones may have been dropped.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FIRST_MONTH)
        first = cursor.fetchone()[0]
    return first and datetime(first.year, first.month, 1, tzinfo=UTC)
