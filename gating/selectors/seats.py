"""Seats to bill: which policies bill, which accounts are due, who held a seat when."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from config.kernel.errors import Invalid
from config.kernel.metadata import PolicyMetadata, check_metadata
from gating.models import PolicyKind, PolicyStatus
from gating.projection import counter_key_of, target_of
from gating.seats import SeatPolicy, Span, seat_terms

FIRST = UUID(int=0)

# Each version of the policies that ever billed, and when the next one took its place.
_VERSIONS = """
SELECT v.id, v.realm_id, v.name, b.bundle_key, v.subject_scope, v.feature_code,
    v.window_sec, v.metadata, v.history_date, v.replaced_at
FROM (
    SELECT h.*, lead(h.history_date) OVER (
        PARTITION BY h.id ORDER BY h.history_id) AS replaced_at
    FROM gate_policies_history h
    WHERE h.id IN (
        SELECT id FROM gate_policies_history
        WHERE kind = %(seats)s AND metadata ? 'billing_feature_code')
) v
JOIN gate_policy_bundles b ON b.id = v.bundle_id
WHERE v.history_type <> '-' AND v.kind = %(seats)s AND v.status <> %(disabled)s
    AND v.metadata ? 'billing_feature_code'
ORDER BY v.realm_id, v.id, v.history_id
"""

_SEATS = """
s.realm_id = %(realm)s AND s.key = %(key)s AND s.scope_code = %(scope)s
"""

# A seat counts in the windows of its own length only (`active_window`), or in every
# one that it reaches into (`assigned`).
_COUNTS = """
(%(mode)s = 'assigned'
    OR s.window_end - s.window_start = make_interval(secs => %(seconds)s))
"""

_DUE = f"""
SELECT s.account_id, b.billed_until
FROM gate_seats s
LEFT JOIN gate_seat_billings b ON b.realm_id = s.realm_id
    AND b.account_id = s.account_id AND b.policy_id = %(policy)s
WHERE {_SEATS} AND {_COUNTS} AND s.account_id > %(after)s
    AND s.taken_at < %(until)s
    AND coalesce(b.billed_until, %(begins)s) < %(until)s
    AND coalesce(s.window_end, 'infinity')
        > greatest(b.billed_until, %(begins)s)
GROUP BY s.account_id, b.billed_until
ORDER BY s.account_id LIMIT %(most)s
"""  # noqa: S608 - constant text.

_NEXT = f"""
SELECT min(greatest(s.taken_at, %(since)s)) FROM gate_seats s
WHERE {_SEATS} AND {_COUNTS} AND s.account_id = %(account)s
    AND s.taken_at < %(until)s AND coalesce(s.window_end, 'infinity') > %(since)s
"""  # noqa: S608 - constant text.

# Whoever took the seat in the window was active then. Who had it before is judged by
# the first instant of the window at which the user was active, if there is any.
_HELD = f"""
SELECT held.user_id, CASE WHEN held.taken THEN held.since ELSE (
    SELECT min(greatest(h.history_date, held.since))
    FROM (
        SELECT h.history_date, h.status, lead(h.history_date) OVER (
            ORDER BY h.history_id) AS replaced_at
        FROM billing_users_history h WHERE h.id = held.user_id
    ) h
    WHERE h.status = 'active' AND h.history_date < %(end)s
        AND coalesce(h.replaced_at, 'infinity') > held.since
) END AS since
FROM (
    SELECT s.user_id, min(greatest(s.taken_at, %(start)s)) AS since,
        bool_or(s.taken_at >= %(start)s) AND NOT bool_or(s.taken_at < %(start)s)
            AS taken
    FROM gate_seats s
    WHERE {_SEATS} AND {_COUNTS} AND s.account_id = %(account)s
        AND s.taken_at < %(end)s AND coalesce(s.window_end, 'infinity') > %(start)s
    GROUP BY s.user_id
) held
ORDER BY held.user_id
"""  # noqa: S608 - constant text.


def seat_policies() -> list[SeatPolicy]:
    """Return every version of every policy that bills seats, the oldest first.

    From history, so that a window is billed as it was governed when it ended, whatever
    became of the policy since. What breaks its metadata contract bills nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _VERSIONS, {"seats": PolicyKind.SEATS, "disabled": PolicyStatus.DISABLED}
        )
        found = [_policy(row) for row in cursor.fetchall()]
    return [policy for policy in found if policy is not None]


def _policy(row: Sequence[Any]) -> SeatPolicy | None:
    policy_id, realm_id, name, bundle_key, scope, feature_code, seconds = row[:7]
    metadata = json.loads(row[7]) if isinstance(row[7], str) else row[7]
    try:
        terms = seat_terms(check_metadata(PolicyMetadata, metadata).known)
    except Invalid:
        return None
    if terms is None:
        return None
    return SeatPolicy(
        policy_id=policy_id,
        realm_id=realm_id,
        name=name,
        bundle_key=bundle_key,
        scope=scope,
        scope_code=target_of(feature_code, metadata),
        counter_key=counter_key_of(policy_id, metadata),
        window_seconds=seconds,
        terms=terms,
        valid_from=row[8],
        valid_until=row[9],
    )


@dataclass(frozen=True, slots=True)
class DueAccount:
    """An account with seats to bill; all windows that end by `billed_until` are done.

    None where none is yet.
    """

    account_id: UUID
    billed_until: datetime | None


def accounts_due(
    policy: SeatPolicy, *, at: datetime, after: UUID = FIRST, most: int
) -> list[DueAccount]:
    """Return accounts with a seat in a window that ended by `at` and is not billed.

    At most `most`, in order of their id, those above `after`.
    """
    until = policy.ended_by(at)
    if until <= policy.begins:
        return []
    given = {"until": until, "begins": policy.begins, "after": after, "most": most}
    return [DueAccount(*row) for row in _rows(_DUE, policy, **given)]


def next_held_at(
    policy: SeatPolicy, account_id: UUID, *, since: datetime, until: datetime
) -> datetime | None:
    """Return the first instant from `since` on at which the account has a seat."""
    [(found,)] = _rows(_NEXT, policy, account=account_id, since=since, until=until)
    instant: datetime | None = found
    return instant


@dataclass(frozen=True, slots=True)
class HeldSeat:
    """A user's seat in a window, and since when the active user has it there."""

    user_id: UUID
    since: datetime


def held_seats(policy: SeatPolicy, account_id: UUID, *, span: Span) -> list[HeldSeat]:
    """Return the seats that active users of the account had in a window that ended."""
    rows = _rows(_HELD, policy, account=account_id, start=span.start, end=span.end)
    return [HeldSeat(user, since) for user, since in rows if since is not None]


def _rows(statement: str, policy: SeatPolicy, **given: Any) -> list[Any]:
    arguments = {
        "policy": policy.policy_id,
        "realm": policy.realm_id,
        "key": policy.counter_key,
        "scope": policy.scope_code,
        "mode": policy.terms.mode,
        "seconds": policy.window_seconds,
        **given,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        found: list[Any] = cursor.fetchall()
    return found
