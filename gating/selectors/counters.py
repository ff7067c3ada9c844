"""What was used, and is held, in the windows that hold now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q

from billing.models import BillingAccount, BillingUser, UserStatus
from gating.facts import (
    CounterKey,
    CounterKind,
    PolicyWindow,
    SeatWindow,
    SubjectScope,
)
from gating.models import Counter, Lease, Seat
from gating.projection import PolicyFact, counter_of, seats_window

_OVERDUE = f"""
SELECT counter_id, sum(reserved_minor)
FROM {Lease._meta.db_table}, unnest(counter_ids) AS counter_id
WHERE realm_id = %s AND account_id = %s AND state = 'active' AND expires_at < %s
GROUP BY counter_id
"""  # noqa: S608 - the table name is ours.
_OVERDUE_XUSD = f"""
SELECT coalesce(sum(reserved_xusd), 0)::bigint
FROM {Lease._meta.db_table}
WHERE realm_id = %s AND account_id = %s AND user_id = %s
    AND state = 'active' AND expires_at < %s
"""  # noqa: S608 - the same.


@dataclass(frozen=True, slots=True)
class CounterState:
    """A stored counter."""

    counter_id: UUID
    used_minor: int
    reserved_minor: int


Counters = Mapping[CounterKey, CounterState]


def counters_of(
    *,
    account: BillingAccount,
    user: BillingUser,
    at: datetime,
    feature_code: str | None = None,
) -> dict[CounterKey, CounterState]:
    """Return the counters of the account and the user in windows that contain `at`."""
    rows = Counter.objects.in_realm(account.realm_id).filter(
        account=account,
        subject_id__in=[account.pk, user.pk],
        window_start__lte=at,
        window_end__gt=at,
    )
    if feature_code is not None:
        rows = rows.filter(feature_code=feature_code)
    return {
        CounterKey(
            kind=cast("CounterKind", row.kind),
            scope=cast("SubjectScope", row.subject_scope),
            subject_id=row.subject_id,
            feature_code=row.feature_code,
            key=row.key,
            window_start=row.window_start,
            window_end=row.window_end,
        ): CounterState(row.pk, row.used_minor, row.reserved_minor)
        for row in rows
    }


def without_overdue(
    counters: Counters, *, account: BillingAccount, before: datetime
) -> dict[CounterKey, CounterState]:
    """Return the counters as the expiry of overdue leases will leave them.

    Overdue are active leases that ran out before `before`. Writes nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE, [account.realm_id, account.pk, before])
        held = {counter_id: int(total) for counter_id, total in cursor.fetchall()}
    return {
        key: CounterState(
            state.counter_id,
            state.used_minor,
            state.reserved_minor - held.get(state.counter_id, 0),
        )
        for key, state in counters.items()
    }


def overdue_xusd(*, user: BillingUser, before: datetime) -> int:
    """Return what the user's overdue leases still hold on the balance (10^-6 USD)."""
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE_XUSD, [user.realm_id, user.account_id, user.pk, before])
        total: int = cursor.fetchone()[0]
    return total


def policy_windows(
    policies: Iterable[PolicyFact],
    counters: Counters,
    *,
    feature_code: str,
    account: BillingAccount,
    user: BillingUser,
    at: datetime,
) -> list[PolicyWindow]:
    """Return quota or rate policies in the window of `at`, with what was used."""
    windows = []
    for policy in policies:
        key = counter_of(
            policy,
            feature_code=feature_code,
            account_id=account.pk,
            user_id=user.pk,
            at=at,
        )
        state = counters.get(key)
        windows.append(
            PolicyWindow(
                policy_id=policy.policy_id,
                name=policy.name,
                window_seconds=policy.window_seconds,
                limit=policy.limit,
                enforcement=policy.enforcement,
                version=policy.version,
                counter=key,
                used_minor=state.used_minor if state else 0,
                reserved_minor=state.reserved_minor if state else 0,
            )
        )
    return windows


def seat_windows(
    policies: Iterable[PolicyFact],
    *,
    account: BillingAccount,
    user: BillingUser,
    at: datetime,
) -> list[SeatWindow]:
    """Return seats policies in the window of `at`, with the seats taken."""
    return [_seat_window(policy, account, user, at) for policy in policies]


def _seat_window(
    policy: PolicyFact, account: BillingAccount, user: BillingUser, at: datetime
) -> SeatWindow:
    start, end = seats_window(policy, at)
    taken = Seat.objects.in_realm(account.realm_id).filter(
        account=account,
        scope_code=policy.feature_code,
        key=policy.counter_key,
        window_start=start,
        window_end=end,
    )
    found = taken.aggregate(
        taken=Count("pk", filter=Q(user__status=UserStatus.ACTIVE)),
        held=Count("pk", filter=Q(user=user)),
    )
    return SeatWindow(
        policy_id=policy.policy_id,
        name=policy.name,
        limit=policy.limit,
        version=policy.version,
        scope_code=policy.feature_code,
        key=policy.counter_key,
        window_start=start,
        window_end=end,
        taken=found["taken"],
        holds=found["held"] > 0,
    )
