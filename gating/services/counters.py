"""Counting: the only statements that change a counter.

Called under the account's lock, with what `decide` or `settle` found to fit. Each
statement repeats the limit, so that even without the lock none is ever passed.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection

from billing.models import BillingAccount
from config.kernel.ids import new_id
from config.kernel.money import INT64_MAX
from gating.facts import CounterKey
from gating.guards import GUARDS
from gating.models import Counter
from gating.services.state import GateMoved
from gating.settle import Take
from gating.verdicts import Hold

_TABLE = Counter._meta.db_table

# A fresh row needs no guard: what is taken from nothing was found to fit the limit.
_ADD = f"""
INSERT INTO {_TABLE} AS counter
    (id, realm_id, account_id, kind, subject_scope, subject_id, feature_code, key,
     window_start, window_end, used_minor, reserved_minor)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (realm_id, account_id, subject_id, subject_scope, feature_code, kind, key,
             window_start, window_end)
DO UPDATE SET used_minor = counter.used_minor + excluded.used_minor,
              reserved_minor = counter.reserved_minor + excluded.reserved_minor
WHERE NOT %s OR excluded.used_minor + excluded.reserved_minor
    <= %s - counter.used_minor - counter.reserved_minor
RETURNING id
"""  # noqa: S608 - the table name is ours.

_RELEASE = f"""
UPDATE {_TABLE} SET reserved_minor = reserved_minor - %s
WHERE id = ANY(%s) AND reserved_minor >= %s
"""  # noqa: S608 - the same.

# What a lease holds is always its to use, even where the limit was lowered since.
_SETTLE = f"""
UPDATE {_TABLE}
SET used_minor = used_minor + %(take)s, reserved_minor = reserved_minor - %(held)s
WHERE id = %(counter)s AND reserved_minor >= %(held)s
    AND (NOT %(guarded)s OR %(take)s <= %(held)s
         OR %(take)s - %(held)s <= %(limit)s - used_minor - reserved_minor)
"""  # noqa: S608 - the same.


def hold(account: BillingAccount, holds: Iterable[Hold]) -> dict[CounterKey, UUID]:
    """Hold each quantity on its counter; return the counters' ids."""
    return {item.counter: _add(account, item, held=True) for item in holds}


def count(account: BillingAccount, increments: Iterable[Hold]) -> None:
    """Count each quantity as used on its counter."""
    for item in increments:
        _add(account, item, held=False)


def open_counter(account: BillingAccount, key: CounterKey) -> UUID:
    """Return the id of a counter on which nothing is held yet, making its row."""
    return _add(account, Hold(key, 0, None), held=True)


def _add(account: BillingAccount, item: Hold, *, held: bool) -> UUID:
    key, quantity = item.counter, item.quantity_minor
    with connection.cursor() as cursor:
        cursor.execute(
            _ADD,
            [
                new_id(),
                account.realm_id,
                account.pk,
                key.kind,
                key.scope,
                key.subject_id,
                key.feature_code,
                key.key,
                key.window_start,
                key.window_end,
                0 if held else quantity,
                quantity if held else 0,
                GUARDS.guarded,
                INT64_MAX if item.limit is None else item.limit,
            ],
        )
        row = cursor.fetchone()
    if row is None:
        raise GateMoved(f"The counter {key.key}")
    counter_id: UUID = row[0]
    return counter_id


def release(counter_ids: Sequence[UUID], quantity_minor: int) -> None:
    """Give back a quantity held on each of the counters."""
    if not counter_ids or quantity_minor == 0:
        return
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, [quantity_minor, list(counter_ids), quantity_minor])
        if cursor.rowcount != len(counter_ids):
            raise GateMoved("A counter's reservation")


def settle_counters(takes: Iterable[Take]) -> None:
    """Count what a commit takes, and give up what its lease held."""
    for take in takes:
        with connection.cursor() as cursor:
            cursor.execute(
                _SETTLE,
                {
                    "take": take.quantity_minor,
                    "held": take.held_minor,
                    "counter": take.counter_id,
                    "guarded": GUARDS.guarded,
                    "limit": INT64_MAX if take.limit is None else take.limit,
                },
            )
            if cursor.rowcount != 1:
                raise GateMoved("A counter")
