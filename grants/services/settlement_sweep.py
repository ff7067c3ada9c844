"""The sweep that puts what uses took into the ledger, user by user."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import connection

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from grants.services.apart import FIRST, apart, never
from grants.services.settlement import BATCH, settle_user

USERS_AT_ONCE = 500

# One probe of the index of what is pending per user, not a row per use.
_USERS = """
WITH RECURSIVE users AS (
    (SELECT realm_id, user_id FROM grant_allocations
    WHERE posting_id IS NULL AND (realm_id, user_id) > (%s, %s)
    ORDER BY realm_id, user_id LIMIT 1)
    UNION ALL
    SELECT next.realm_id, next.user_id FROM users CROSS JOIN LATERAL (
        SELECT realm_id, user_id FROM grant_allocations
        WHERE posting_id IS NULL
            AND (realm_id, user_id) > (users.realm_id, users.user_id)
        ORDER BY realm_id, user_id LIMIT 1
    ) next
)
SELECT user_id FROM users LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a run came: the last user that it settled, in order of realm and id."""

    realm_id: str = ""
    user_id: UUID = FIRST


@dataclass(slots=True)
class Run:
    """What a run came to: allocations, and their sum in 10^-6 USD.

    `failed` holds the users that failed; they are tried again. `place` is where the
    next run goes on, None where this one came to the last user.
    """

    count: int = 0
    amount_xusd: int = 0
    failed: list[UUID] = field(default_factory=list)
    place: Place | None = None


def settle_pending(
    *,
    at: datetime,
    by: AuditContext,
    batch: int = BATCH,
    place: Place = Place(),
    stop: Callable[[], bool] = never,
) -> Run:
    """Settle the pending allocations of every user after `place`, at `at` (aware UTC).

    Until `stop()`, asked after each `batch`, is true: a run that goes on where the last
    one was stopped comes to everybody, however much comes in meanwhile. A user that
    fails is logged and told, and the others go on. What another run is settling is left
    to it.
    """
    run = Run(place=place)
    while run.place is not None:
        users = _users_pending(run.place, USERS_AT_ONCE)
        for user in users:
            if stop():
                return run
            with apart("a user was not settled", user.pk, run.failed):
                _settle_all(user, run, at=at, by=by, batch=batch, stop=stop)
            run.place = Place(user.realm_id, user.pk)
        if len(users) < USERS_AT_ONCE:
            run.place = None
    return run


def _users_pending(place: Place, most: int) -> list[BillingUser]:
    """Return the next users of whom something is pending, in order of realm and id."""
    with connection.cursor() as cursor:
        cursor.execute(_USERS, [place.realm_id, place.user_id, most])
        keys = [row[0] for row in cursor.fetchall()]
    users = BillingUser.objects.filter(pk__in=keys)
    found = users.select_related("account__realm", "realm")
    # In the order of the keys: the database's own of realms is not Python's.
    by_key = {user.pk: user for user in found}
    return [by_key[key] for key in keys]


def _settle_all(
    user: BillingUser,
    run: Run,
    *,
    at: datetime,
    by: AuditContext,
    batch: int,
    stop: Callable[[], bool],
) -> None:
    while True:
        done = settle_user(user=user, at=at, by=by, batch=batch)
        run.count += done.count
        run.amount_xusd += done.amount_xusd
        if done.count < batch or stop():
            return
