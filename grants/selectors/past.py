"""What users had at instants of the past, by the entries of their balances."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Sum

from grants.models import CreditEntry

Moment = tuple[UUID, datetime]
"""A user and an instant (aware UTC)."""


def balances_then(*, realm_id: str, moments: Sequence[Moment]) -> list[int]:
    """Return what each user had at each moment (10^-6 USD), in their order.

    Credits less spends by then; what was held in reserve then is not on record.
    """
    if not moments:
        return []
    users = {user for user, _ in moments}
    first, last = min(at for _, at in moments), max(at for _, at in moments)
    entries = CreditEntry.objects.in_realm(realm_id).filter(user_id__in=users)
    before = entries.filter(occurred_at__lt=first).order_by().values("user_id")
    start = dict(
        before.annotate(total=Sum("amount_xusd")).values_list("user_id", "total")
    )
    dates, totals = defaultdict[UUID, list[datetime]](list), dict[UUID, list[int]]()
    between = entries.filter(occurred_at__gte=first, occurred_at__lte=last)
    for user, at, amount in between.order_by("occurred_at", "pk").values_list(
        "user_id", "occurred_at", "amount_xusd"
    ):
        known = totals.setdefault(user, [start.get(user, 0)])
        known.append(known[-1] + amount)
        dates[user].append(at)
    return [
        totals[user][bisect_right(dates[user], at)]
        if user in totals
        else start.get(user, 0)
        for user, at in moments
    ]
