"""What leases hold of lots, and which ratings were charged for: for the proof."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from django.db import connection

from gating.models import LeaseState, Rating
from grants.selectors.readers import Use

_HELD = """
SELECT h.lot, sum(h.held)::bigint
FROM gate_leases l, unnest(l.held_lots, l.held_amounts) AS h(lot, held)
WHERE l.realm_id = %s AND l.account_id = ANY (%s) AND l.state = %s
GROUP BY h.lot
"""


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
        yield Use(user_id, f"gate_rating:{rating_id}", amount_xusd)
