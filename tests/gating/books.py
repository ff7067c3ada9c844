"""What the database has of a realm's gate, to be held against the ledger."""

import orjson
from django.db import connection

_STORED = """
SELECT jsonb_build_object(
    'counters', (
        SELECT jsonb_agg(jsonb_build_array(
            kind, subject_scope, subject_id, feature_code, key,
            extract(epoch FROM window_start)::bigint,
            extract(epoch FROM window_end)::bigint, used_minor, reserved_minor))
        FROM gate_counters
        WHERE realm_id = %(realm)s AND account_id = ANY (%(accounts)s)
            AND (used_minor <> 0 OR reserved_minor <> 0)),
    'holds', (
        SELECT jsonb_agg(jsonb_build_array(c.reserved_minor, held.total))
        FROM (
            SELECT counter_id, sum(reserved_minor) AS total
            FROM gate_leases, unnest(counter_ids) AS counter_id
            WHERE realm_id = %(realm)s AND account_id = ANY (%(accounts)s)
                AND state = 'active'
            GROUP BY counter_id) held
        FULL JOIN (
            SELECT id, reserved_minor FROM gate_counters
            WHERE realm_id = %(realm)s AND account_id = ANY (%(accounts)s)
                AND reserved_minor <> 0) c ON c.id = held.counter_id
        WHERE coalesce(c.reserved_minor, 0) <> coalesce(held.total, 0)),
    'seats', (
        SELECT jsonb_agg(jsonb_build_array(
            account_id, scope_code, key, extract(epoch FROM window_start)::bigint,
            extract(epoch FROM window_end)::bigint, user_id))
        FROM gate_seats
        WHERE realm_id = %(realm)s AND account_id = ANY (%(accounts)s)),
    'money', (
        SELECT jsonb_agg(jsonb_build_array(
            user_id, granted_xusd, spent_xusd, reserved_xusd,
            (SELECT sum(amount_xusd) FROM ledger_entries e
                WHERE e.user_id = b.user_id AND e.lot_id IS NOT NULL AND amount_xusd > 0),
            (SELECT coalesce(sum(amount_xusd), 0) FROM grant_allocations e
                WHERE e.realm_id = b.realm_id AND e.user_id = b.user_id
                AND e.lot_id IS NOT NULL),
            (SELECT coalesce(sum(l.reserved_xusd), 0) FROM gate_leases l
                WHERE l.realm_id = b.realm_id AND l.user_id = b.user_id
                AND l.state = 'active')))
        FROM (
            SELECT realm_id, user_id, sum(amount_xusd) AS granted_xusd,
                sum(consumed_xusd) AS spent_xusd, sum(reserved_xusd) AS reserved_xusd
            FROM grant_lots WHERE user_id = ANY (%(users)s) AND kind <> 'fallback'
            GROUP BY realm_id, user_id) b),
    'leases', (
        SELECT jsonb_agg(jsonb_build_array(
            user_id, lease, state, reserved_minor, reserved_xusd))
        FROM gate_leases
        WHERE realm_id = %(realm)s AND account_id = ANY (%(accounts)s)),
    'ratings', (
        SELECT jsonb_agg(jsonb_build_array(
            id, canonical_quantity_minor, canonical_amount_xusd, canonical_cost_xusd,
            application_status, applied_quantity_minor, applied_amount_xusd,
            applied_cost_xusd, funded_xusd))
        FROM gate_ratings
        WHERE realm_id = %(realm)s AND account_id = ANY (%(accounts)s)),
    'carried', (
        SELECT jsonb_agg(jsonb_build_array(
            user_id, meter_code, denom, remainder_numer))
        FROM gate_residual_buckets
        WHERE realm_id = %(realm)s AND user_id = ANY (%(users)s)
            AND remainder_numer <> 0)
)::text
"""


def stored(stage):
    """Return the realm's tables, in the ledger's names."""
    names = {str(row.pk): name for name, row in (stage.users | stage.accounts).items()}
    given = {
        "realm": stage.realm.pk,
        "accounts": [row.pk for row in stage.accounts.values()],
        "users": [row.pk for row in stage.users.values()],
    }
    with connection.cursor() as cursor:
        cursor.execute(_STORED, given)
        found = orjson.loads(cursor.fetchone()[0])

    def rows(table):
        return [tuple(names.get(v, v) for v in row) for row in found[table] or ()]

    return {
        "counters": {row[:-2]: row[-2:] for row in rows("counters")},
        "holds that no lease explains": rows("holds"),
        "seats": set(rows("seats")),
        "money": {user: tuple(row) for user, *row in rows("money")},
        "leases": {row[:2]: row[2:] for row in rows("leases")},
        "ratings": {rating: tuple(row) for rating, *row in rows("ratings")},
        "remainders": sorted(rows("carried")),
    }


def expected(ledger):
    """Return the same as the ledger has it."""
    return {
        "counters": {k: tuple(v) for k, v in ledger.counters.items() if any(v)},
        "holds that no lease explains": [],
        "seats": {
            (*key, user) for key, users in ledger.seats.items() for user in users
        },
        "money": {
            user: (granted, spent, held) * 2
            for user, (granted, spent, held) in ledger.money.items()
            if granted
        },
        "leases": {
            name: (lease.state, lease.held, lease.held_xusd)
            for name, lease in ledger.leases.items()
        },
        "ratings": ledger.ratings,
        "remainders": sorted(
            (user, meter, per, left)
            for (user, meter, per, _, _), left in ledger.carried.items()
            if left
        ),
    }
