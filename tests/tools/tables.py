"""Our own tables: what the database itself says about them, and copies of their rows."""

import itertools
import json
from functools import cache

from django.apps import apps
from django.db import connection

from config.kernel.ids import new_id

OURS = frozenset({"config", "catalog", "billing", "grants", "gating", "demo"})


def rows(query, parameters=None):
    """Return the rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def run(statement, parameters=None):
    """Execute a statement; return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.rowcount


def judge_at_once():
    """Have each constraint judged by statement, but rules over several rows at the end."""
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run(f"SET CONSTRAINTS {', '.join(whole_rules())} DEFERRED")


def whole_rules():
    """Return the names of the rules over several rows, sorted."""
    found = rows(
        "SELECT DISTINCT conname FROM pg_constraint WHERE contype = 't' AND condeferrable"
    )
    return sorted(name for (name,) in found)


def written_rules():
    """Return (name, table) of the rules of one row that a trigger judges at once."""
    return rows(
        "SELECT conname, conrelid::regclass::text FROM pg_constraint WHERE contype = 't' AND NOT condeferrable"
    )


def models():
    """Return our models by their tables, history included."""
    found = apps.get_models(include_auto_created=True)
    return {
        model._meta.db_table: model
        for model in found
        if model.__module__.split(".")[0] in OURS
    }


def own_tables():
    """Return every table that is not another package's, sorted; no partitions."""
    foreign = {
        model._meta.db_table for model in apps.get_models(include_auto_created=True)
    } - set(models())
    found = rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace"
    )
    names = {
        name
        for (name,) in found
        if not name.startswith("procrastinate_") and name != "django_migrations"
    }
    return sorted(names - foreign)


def partitions():
    """Return every partition of our tables, sorted."""
    found = rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relispartition AND relnamespace = 'public'::regnamespace"
    )
    return sorted(name for (name,) in found)


def sound_rules():
    """Return (name, table) of the rules that one check of a table holds together."""
    found = rows(
        "SELECT (regexp_matches(prosrc, $$THEN '([a-z0-9_]+)'$$, 'g'))[1], regexp_replace(proname, '_is_sound$', '')"
        " FROM pg_proc WHERE proname ~ '_is_sound$' AND pronamespace = 'public'::regnamespace"
    )
    return sorted(found)


def rule_of(error):
    """Return the constraint that an error tells of; a partition's is its table's."""
    name = error.__cause__.diag.constraint_name
    found = rows(
        "SELECT parent.conname FROM pg_constraint c JOIN pg_constraint parent ON parent.oid = c.conparentid WHERE c.conname = %s",
        [name],
    )
    return found[0][0] if found else name


def audited_tables():
    """Return the tables that have a history, sorted."""
    names = set(own_tables())
    return sorted(name for name in names if f"{name}_history" in names)


@cache
def primary_key(table):
    """Return the columns of a table's primary key, also while it is lifted.

    None of a table that finds its rows by another key.
    """
    found = rows(
        "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
        " WHERE indrelid = %s::regclass AND indisprimary ORDER BY attnum",
        [table],
    )
    return [name for (name,) in found]


def columns(table):
    """Return the columns of a table, in order."""
    found = rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [table],
    )
    return [name for (name,) in found]


def row_of(source, world):
    """Return the first row of `source` ("table" or "table WHERE …") in a world."""
    table, _, condition = source.partition(" WHERE ")
    names = columns(table)
    of_world = (
        ("realm_id", world.realm.pk)
        if "realm_id" in names
        else ("key_id", world.key.pk)
        if "key_id" in names
        else ("true", True)
    )
    order = ", ".join(primary_key(table) or ["id"])
    found = rows(
        f"SELECT to_jsonb(t) FROM {table} t WHERE {of_world[0]} = %s AND ({condition or 'true'}) ORDER BY {order} LIMIT 1",
        [of_world[1]],
    )
    assert found, f"the world has no row of {source}"
    return json.loads(found[0][0]) if isinstance(found[0][0], str) else found[0][0]


def insert_copy(source, world, changes):
    """Insert a copy of the first row of `source`, with a new id and `changes`.

    A change may be a function of the copied row.
    """
    table = source.split()[0]
    row = row_of(source, world)
    given = {
        name: value(row) if callable(value) else value
        for name, value in changes.items()
    }
    if "history_id" in row:
        fresh = {"history_id": row["history_id"] + 10**9}
    else:
        fresh = {"id": str(new_id())} if isinstance(row.get("id"), str) else {}
    document = {**row, **fresh, **given}
    assert set(document) == set(row), (
        f"{table} has no column {set(document) - set(row)}"
    )
    run(
        f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, %s::jsonb)).*",
        [json.dumps(document, default=str)],
    )
    return document


_portions = itertools.count(99)

FRESH = {
    "billing_accounts": {"billing_principal_id": "fresh"},
    "billing_details": {
        "account_id": lambda row: spare_user(row["realm_id"])[0],
    },
    "billing_users": {"business_user_id": "fresh"},
    "billing_plans": {"plan_code": "fresh"},
    "billing_plan_entitlements": {"plan_id": lambda row: other_plan(row["plan_id"])},
    "billing_plan_assignments": {"source_ref": "fresh"},
    "billing_plan_assignment_statuses": {"sequence": 99},
    "billing_contracts": {
        "window_start": "2001-01-01T00:00:00Z",
        "window_end": "2002-01-01T00:00:00Z",
    },
    "contract_terms": {"term_key": "fresh"},
    "platform_tokens": {"idempotency_key": "fresh"},
    "feature_families": {"feature_family_code": "fresh"},
    "features": {"feature_code": "fresh"},
    "feature_meters": {
        "meter_id": lambda row: spare_meter(row["realm_id"]),
        "is_primary": False,
    },
    "meters": {"meter_code": "fresh"},
    "meter_prices": {
        "window_start": "2001-01-01T00:00:00Z",
        "window_end": "2002-01-01T00:00:00Z",
    },
    "grant_programs": {"program_code": "fresh"},
    "grant_campaigns": {"name": "fresh"},
    "grant_assignments": {"source_ref": "fresh"},
    "grant_lots": {"issue_key": "fresh", "alloc_seq": lambda row: next(_portions)},
    "grant_plan_templates": {
        "plan_assignment_id": lambda row: other_plan_assignment(row),
    },
    "grant_enrollments": {
        "account_id": lambda row: spare_user(row["realm_id"])[0],
        "user_id": lambda row: unenrolled_user(row["realm_id"]),
    },
    "grant_issuance_cursors": {"assignment_id": lambda row: without_cursor(row)},
    "grant_allocations": {"source_ref": "fresh"},
    "ledger_accounts": {
        "kind": "refunded",
        "balance_xusd": 0,
        "entry_count": 0,
        "sealed_count": 0,
    },
    "ledger_postings": {"idempotency_key": "fresh"},
    "ledger_entries": {"seq": 99},
    "ledger_seals": {"entry_id": lambda row: unsealed_entry(row), "seq": 99},
    "budgets": {"reference": "fresh"},
    "domain_events": {},
    "job_runs": {},
    "gate_states": {"account_id": lambda row: spare_user(row["realm_id"])[0]},
    "gate_counters": {"key": "fresh"},
    "gate_seats": {"key": "fresh"},
    "gate_seat_billings": {"policy_id": str(new_id())},
    "gate_leases": {"lease": "fresh", "idempotency_key": "fresh"},
    "gate_lease_ends": {"lease_id": lambda row: other_lease(row["lease_id"])},
    "gate_ratings": {},
    "gate_rating_keys": {
        "rating_id": str(new_id()),
        "idempotency_key": "fresh",
        "lease_id": lambda row: other_lease(row["lease_id"]),
    },
    "gate_rule_sets": {},
    "gate_projections": {"feature_code": "fresh"},
    "gate_account_versions": {
        "account_id": lambda row: uncounted_account(row["realm_id"]),
    },
    "gate_catalog_versions": {"realm_id": "fresh"},
    "gate_rated_records": {"line_number": 99},
    "gate_residual_buckets": {"meter_code": "fresh"},
    "gate_denials": {"reason": "fresh"},
    "gate_policies": {"name": "fresh", "status": "assignable"},
    "gate_policy_bundles": {"bundle_key": "fresh"},
    "realms": {"realm_id": "fresh"},
    "service_keys": {"key_id": "pk-fresh"},
    "service_key_nonces": {"nonce": "f" * 32},
    "stored_answers": {"identity_hash": "\\x00"},
}
"""By table: what makes a copy of one of its rows a valid row beside it."""

ONE_ROW = {"credential_versions"}
"""Tables that a rule of theirs keeps to one row."""


def spare_meter(realm_id):
    """Return the id of a meter that no feature has."""
    return rows(
        "SELECT id FROM meters WHERE realm_id = %s AND meter_code = 'spare'", [realm_id]
    )[0][0]


def spare_user(realm_id):
    """Return the account and id of a user without balance or gate."""
    return rows(
        "SELECT account_id, u.id FROM billing_users u JOIN billing_accounts a ON a.id = account_id"
        " WHERE u.realm_id = %s AND billing_principal_id = 'spare'",
        [realm_id],
    )[0]


def uncounted_account(realm_id):
    """Forget how often an account has changed; return its id."""
    account_id, _ = spare_user(realm_id)
    run("DELETE FROM gate_account_versions WHERE account_id = %s", [account_id])
    return account_id


def unenrolled_user(realm_id):
    """Forget what plan grants a user was last given; return the user's id."""
    _, user_id = spare_user(realm_id)
    run("DELETE FROM grant_enrollments WHERE user_id = %s", [user_id])
    return user_id


def other_plan_assignment(row):
    """Forget what another plan assignment of the realm brings; return its id."""
    return rows(
        "DELETE FROM grant_plan_templates WHERE realm_id = %s AND plan_assignment_id <> %s RETURNING plan_assignment_id",
        [row["realm_id"], row["plan_assignment_id"]],
    )[0][0]


def without_cursor(row):
    """Forget where issuance goes on for another binding of a user; return its id."""
    [(other,)] = rows(
        "SELECT id FROM grant_assignments WHERE user_id = %s AND id <> %s LIMIT 1",
        [row["user_id"], row["assignment_id"]],
    )
    run("DELETE FROM grant_issuance_cursors WHERE assignment_id = %s", [other])
    return other


def posting_of(user_id):
    """Return the id of a posting in a user's ledger."""
    return rows("SELECT id FROM ledger_postings WHERE user_id = %s", [user_id])[0][0]


def unsealed_entry(row):
    """Return the id of an entry of a sealed ledger account that has no seal yet."""
    return rows(
        "SELECT id FROM ledger_entries e WHERE realm_id = %s AND ledger_account_id = %s"
        " AND NOT EXISTS (SELECT FROM ledger_seals WHERE entry_id = e.id)",
        [row["realm_id"], row["ledger_account_id"]],
    )[0][0]


def other_plan(plan_id):
    """Return the id of a plan of the same realm that entitles to nothing."""
    return rows(
        "SELECT o.id FROM billing_plans p JOIN billing_plans o ON o.realm_id = p.realm_id AND o.plan_code = 'max' WHERE p.id = %s",
        [plan_id],
    )[0][0]


def other_lease(lease_id):
    """Return the id of another lease of the same user."""
    return rows(
        "SELECT o.id FROM gate_leases l JOIN gate_leases o ON o.user_id = l.user_id AND o.id <> l.id WHERE l.id = %s",
        [lease_id],
    )[0][0]
