"""Nothing changes without a trace, and no trace changes.

For every audited table and every way to write it: refused unless explained, and when
explained, exactly one history row per changed row, equal to what was written.
"""

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from django.db import DatabaseError, transaction

from config.kernel.audit import Actor
from config.tenancy.history import auditing
from grants.models import IssuanceCursor
from tests.conftest import make_realm
from tests.tools.context import AT, BY
from tests.tools.server import database_url
from tests.tools.tables import (
    FRESH,
    audited_tables,
    columns,
    insert_copy,
    judge_at_once,
    models,
    partitions,
    primary_key,
    row_of,
    rows,
    run,
)  # fmt: skip
from tests.tools.world import build_world

UNEXPLAINED, KEPT, FORBIDDEN = "PG001", "PG002", "42501"

AUDITED = {
    "billing_accounts": ("metadata", {"note": "changed"}),
    "billing_contracts": ("name", "changed"),
    "billing_details": ("legal_name", "changed"),
    "billing_plan_assignments": ("metadata", {"note": "changed"}),
    "billing_plan_entitlements": ("effect", "deny"),
    "billing_plans": ("name", "changed"),
    "billing_users": ("metadata", {"note": "changed"}),
    "budgets": ("name", "changed"),
    "feature_families": ("name", "changed"),
    "feature_meters": ("created_at", AT),
    "features": ("name", "changed"),
    "grant_assignments": ("metadata", {"note": "changed"}),
    "grant_campaigns": ("metadata", {"note": "changed"}),
    "grant_lots": ("metadata", {"note": "changed"}),
    "grant_programs": ("name", "changed"),
    "gate_policies": ("description", "changed"),
    "gate_policy_bundles": ("name", "changed"),
    "meter_prices": ("created_at", AT),
    "meters": ("unit", "changed"),
    "realms": ("name", "changed"),
    "service_keys": ("name", "changed"),
}
"""By audited table: a change that breaks no rule."""

UNTRACED = {
    "billing_details": {"updated_at", "tax_ids"},
    "budgets": {"updated_at", "consumed_xusd", "reserved_xusd"},
    "grant_lots": {
        "updated_at",
        "consumed_xusd",
        "settled_xusd",
        "reserved_xusd",
        "paid_xusd",
    },
    "service_keys": {"updated_at", "last_used_at", "kdf_salt"},
}
"""Columns that history leaves out, beside `updated_at`."""

ONE_OF_A_KIND = {
    "billing_contracts",
    "billing_details",
    "billing_plan_entitlements",
    "feature_meters",
    "meter_prices",
}
"""Tables of which the world has room for one more row, and not for two."""

APPEND_ONLY = {
    "billing_plan_assignment_statuses", "contract_terms", "domain_events", "gate_lease_ends", "gate_rated_records",
    "gate_ratings", "gate_rule_sets", "ledger_entries", "ledger_postings", "ledger_seals",
    "platform_tokens",
}  # fmt: skip

OWNER = {"realm_id", "account_id", "user_id"}
IDENTITIES = {
    "billing_accounts": {"realm_id", "billing_principal_id"},
    "billing_contracts": {"realm_id", "account_id", "window_start"},
    "billing_details": {"realm_id", "account_id"},
    "billing_plan_assignments": {
        "realm_id",
        "account_id",
        "scope",
        "user_id",
        "plan_id",
        "source_kind",
        "source_ref",
    },
    "billing_plans": {"realm_id", "plan_code"},
    "billing_users": {"realm_id", "account_id", "business_user_id"},
    "budgets": {
        "realm_id",
        "account_id",
        "user_id",
        "reference",
        "scope_kind",
        "feature_codes",
        "limit_xusd",
        "window_start",
        "window_end",
    },
    "grant_allocations": {*OWNER, "amount_xusd", "source_ref", "occurred_at"},
    "grant_assignments": {
        *OWNER,
        "program_id",
        "plan_assignment_id",
        "campaign_id",
        "payment_id",
        "source_kind",
        "source_ref",
    },
    "grant_campaigns": {"realm_id"},
    "grant_enrollments": OWNER,
    "grant_issuance_cursors": {*OWNER, "assignment_id"},
    "grant_lots": {
        *OWNER,
        "program_id",
        "assignment_id",
        "carried_from_id",
        "period_start",
        "period_end",
        "alloc_seq",
        "issue_key",
        "source_kind",
        "source_ref",
        "on_ledger",
        "kind",
        "window_start",
        "outstanding_policy",
    },
    "grant_plan_templates": {"realm_id", "plan_assignment_id"},
    "grant_programs": {
        "realm_id",
        "program_code",
        "cadence",
        "issue_anchor",
        "window_kind",
        "on_ledger",
        "grant_kind",
        "accrual_mode",
        "periodic_accounting",
        "eligibility_kind",
        "eligibility_payload",
    },
    "ledger_accounts": {*OWNER, "kind"},
    "feature_families": {"realm_id", "feature_family_code"},
    "features": {"realm_id", "feature_code"},
    "feature_meters": {"realm_id", "feature_id", "meter_id", "is_primary"},
    "meters": {"realm_id", "meter_code"},
    "meter_prices": {
        "realm_id",
        "meter_id",
        "window_start",
        "unit_price_xusd",
        "unit_price_base_xusd",
        "unit_price_dynamic_xusd",
        "unit_quantity_minor",
        "unit_cost_xusd",
        "cost_unit_quantity_minor",
    },
}

NEVER_DELETED = {
    "billing_contracts",
    "budgets",
    "grant_allocations",
    "grant_assignments",
    "grant_lots",
    "grant_programs",
    "ledger_accounts",
    "meter_prices",
}
"""Tables that change, and refuse to lose a row."""


OTHER_VALUES = {
    "uuid": "gen_random_uuid()",
    "boolean": "NOT {}",
    "text[]": "{} || 'x'::text",
    "bigint": "{} + 1",
    "integer": "{} + 1",
    "jsonb": """{} || '{{"fresh": 1}}'""",
    "timestamp with time zone": "coalesce({}, now()) - interval '1 day'",
}
"""By type of column: SQL of another value; text by default."""


@pytest.fixture(scope="module")
def built(django_db_setup, django_db_blocker):
    """A world of rows; rolled back after the module."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield build_world(make_realm(AT, BY), at=AT, by=BY)
        transaction.set_rollback(True)


@pytest.fixture
def world(built):
    """The same world; what the test writes is undone."""
    with transaction.atomic():
        # What waits to be checked would keep tables from being truncated at all.
        judge_at_once()
        yield built
        transaction.set_rollback(True)


@contextmanager
def refused(*codes):
    """Expect the database to refuse, with one of the codes."""
    with pytest.raises(DatabaseError) as problem, transaction.atomic():
        yield
    assert problem.value.__cause__.sqlstate in codes


# --- every way to write -------------------------------------------------------


class Target:
    """One row of an audited table, and copies of it that may be inserted."""

    def __init__(self, table, world):
        self.table, self.world = table, world
        self.model = models()[table]
        self.key = primary_key(table)[0]
        self.column, self.value = AUDITED[table]
        self.row = self.model.objects.get(pk=row_of(table, world)[self.key])

    def same(self):
        return self.model.objects.filter(pk=self.row.pk)

    def twin(self, number=1):
        """A valid unsaved copy, the `number`-th."""
        row = row_of(self.table, self.world)
        changes = {
            name: change(row) if callable(change) else change
            for name, change in FRESH[self.table].items()
        }
        twin = self.model.objects.get(pk=self.row.pk)
        twin.pk = self.model._meta.pk.get_default() if self.key == "id" else None
        for name, value in changes.items():
            setattr(
                twin,
                name,
                f"{value}{number}"
                if isinstance(value, str) and "fresh" in value
                else value,
            )
        twin._state.adding = True
        return twin

    def prepare(self, way):
        """Store a copy that nothing refers to, for the ways that delete it."""
        if way in DELETIONS:
            self.spare = self.twin()
            with auditing(BY, at=AT):
                self.spare.save(force_insert=True)
            if self.table == "grant_assignments":
                # A binding's cursor is begun with it, and refers to it.
                IssuanceCursor.objects.filter(pk=self.spare.pk).delete()


def save_new(target):
    target.twin().save(force_insert=True)
    return "+"


def save_changed(target):
    setattr(target.row, target.column, target.value)
    target.row.save(update_fields=[target.column])
    return "~"


def save_whole(target):
    setattr(target.row, target.column, target.value)
    target.row.save()
    return "~"


def queryset_update(target):
    assert target.same().update(**{target.column: target.value}) == 1
    return "~"


def bulk_create(target):
    target.model.objects.bulk_create([target.twin()])
    return "+"


def bulk_update(target):
    setattr(target.row, target.column, target.value)
    target.model.objects.bulk_update([target.row], [target.column])
    return "~"


def update_or_create(target):
    target.model.objects.update_or_create(
        pk=target.row.pk, defaults={target.column: target.value}
    )
    return "~"


def raw_insert(target):
    insert_copy(target.table, target.world, FRESH[target.table])
    return "+"


def raw_update(target):
    value = json.dumps(target.value) if isinstance(target.value, dict) else target.value
    assert (
        run(
            f"UPDATE {target.table} SET {target.column} = %s WHERE {target.key} = %s",
            [value, target.row.pk],
        )
        == 1
    )
    return "~"


def raw_upsert(target):
    value = json.dumps(target.value) if isinstance(target.value, dict) else target.value
    run(
        f"INSERT INTO {target.table} SELECT * FROM {target.table} WHERE {target.key} = %s"
        f" ON CONFLICT ({target.key}) DO UPDATE SET {target.column} = %s",
        [target.row.pk, value],
    )
    return "~"


def raw_delete(target):
    assert (
        run(f"DELETE FROM {target.table} WHERE {target.key} = %s", [target.spare.pk])
        == 1
    )
    return "-"


def queryset_delete(target):
    assert target.model.objects.filter(pk=target.spare.pk).delete()[0] == 1
    return "-"


def instance_delete(target):
    target.spare.delete()
    return "-"


DELETIONS = [raw_delete, queryset_delete, instance_delete]
WAYS = [
    save_new, save_changed, save_whole, queryset_update, bulk_create, bulk_update, update_or_create, raw_insert, raw_update,
    raw_upsert, *DELETIONS,
]  # fmt: skip


@pytest.fixture(params=sorted(AUDITED))
def target(request, world):
    """A row of each audited table."""
    return Target(request.param, world)


def traces(target):
    """Return the history rows of the table, oldest first, as documents."""
    found = rows(
        f"SELECT to_jsonb(h) FROM {target.table}_history h ORDER BY history_id"
    )
    return [json.loads(row) if isinstance(row, str) else row for (row,) in found]


def contents(target):
    """Return the table's rows by key, without the columns that leave no trace."""
    found = rows(f"SELECT to_jsonb(t) FROM {target.table} t")
    documents = [json.loads(row) if isinstance(row, str) else row for (row,) in found]
    return {row[target.key]: traced(target.table, row) for row in documents}


def traced(table, row):
    left_out = UNTRACED.get(table, {"updated_at"})
    return {
        name: value
        for name, value in row.items()
        if name in columns(table) and name not in left_out
    }


def test_audited_tables_are_all_here(world):
    assert sorted(AUDITED) == audited_tables()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_unexplained_write_is_refused(target, way):
    target.prepare(way)
    before, history = contents(target), traces(target)

    never = target.table in NEVER_DELETED and way in DELETIONS
    with refused(KEPT if never else UNEXPLAINED):
        way(target)

    assert contents(target) == before
    assert traces(target) == history


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_explained_write_leaves_its_trace(target, way):
    if target.table in NEVER_DELETED and way in DELETIONS:
        pytest.skip("never deleted")
    target.prepare(way)
    before, history = contents(target), traces(target)
    by = replace(
        BY, actor=Actor("service_key", "pk-1"), operator="grace", reason="because", ticket_id="T-7", trace_id="a" * 32,
        idempotency_key="once",
    )  # fmt: skip

    with transaction.atomic(), auditing(by, at=AT):
        sign = way(target)

    after = contents(target)
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    [trace] = traces(target)[len(history) :]
    [key] = changed
    assert trace["history_type"] == sign
    assert traced(target.table, trace) == (after if sign != "-" else before)[key]
    explained = {
        name: trace[name]
        for name in (
            "actor_kind",
            "actor_id",
            "operator",
            "reason",
            "ticket_id",
            "trace_id",
            "idempotency_key",
        )
    }
    assert explained == {
        "actor_kind": "service_key", "actor_id": "pk-1", "operator": "grace", "reason": "because", "ticket_id": "T-7",
        "trace_id": "a" * 32, "idempotency_key": "once",
    }  # fmt: skip
    assert trace["effective_at"] == trace["history_date"] == "2026-03-10T12:00:00+00:00"


def test_write_that_changes_nothing_leaves_no_trace(target):
    history = traces(target)

    target.same().update(updated_at=AT)
    target.same().update(**{target.column: getattr(target.row, target.column)})

    assert traces(target) == history


@pytest.mark.parametrize("table", sorted(set(AUDITED) - ONE_OF_A_KIND))
def test_bulk_write_leaves_one_trace_per_row(world, table):
    target = Target(table, world)
    history = traces(target)
    twins = [target.twin(number) for number in (1, 2)]
    same = target.model.objects.filter(pk__in=[twin.pk for twin in twins])

    with transaction.atomic(), auditing(BY, at=AT):
        target.model.objects.bulk_create(twins)
        same.update(**{target.column: target.value})
        if table not in NEVER_DELETED:
            same.delete()

    new = traces(target)[len(history) :]
    signs = ["+", "+", "~", "~"] + ["-", "-"] * (table not in NEVER_DELETED)
    assert [trace["history_type"] for trace in new] == signs
    assert {trace[target.key] for trace in new} == {str(twin.pk) for twin in twins}
    assert [traced(table, trace)[target.column] for trace in new[2:]] == [
        target.value
    ] * len(signs[2:])


def test_context_ends_with_its_block(target):
    first = getattr(target.row, target.column)

    with transaction.atomic():
        with auditing(BY, at=AT):
            save_changed(target)

        with refused(UNEXPLAINED):
            target.same().update(**{target.column: first})


def test_inner_context_gives_back_the_outer_one(target):
    history = traces(target)

    with transaction.atomic(), auditing(replace(BY, operator="outer"), at=AT):
        with auditing(replace(BY, operator="inner"), at=AT):
            save_new(target)
        save_changed(target)

    assert [trace["operator"] for trace in traces(target)[len(history) :]] == [
        "inner",
        "outer",
    ]


def test_context_ends_with_its_transaction(target):
    try:
        with transaction.atomic(), auditing(BY, at=AT):
            raise KeyError
    except KeyError:
        pass

    with refused(UNEXPLAINED):
        save_changed(target)


@pytest.mark.parametrize("fact", ["operator", "reason", "ticket_id"])
def test_blank_explanation_is_refused(target, fact):
    with refused("23514"), auditing(replace(BY, **{fact: " "}), at=AT):
        save_changed(target)


def test_history_never_runs_backwards(target):
    first = getattr(target.row, target.column)

    with transaction.atomic(), auditing(BY, at=AT.replace(year=2030)):
        target.same().update(**{target.column: target.value})
    with transaction.atomic(), auditing(BY, at=AT):
        target.same().update(**{target.column: first})

    dates = [
        trace["history_date"][:4]
        for trace in traces(target)
        if trace[target.key] == str(target.row.pk)
    ]
    assert dates[-2:] == ["2030", "2030"]


def test_head_of_history_is_the_row(world):
    """What was written by all the verbs of the world, whatever path they took."""
    compared = 0
    for table in audited_tables():
        key = primary_key(table)[0]
        heads = rows(
            f"SELECT DISTINCT ON (h.{key}) to_jsonb(h), to_jsonb(t) FROM {table}_history h LEFT JOIN {table} t USING ({key})"
            f" ORDER BY h.{key}, history_id DESC"
        )
        for trace, row in heads:
            trace, row = (
                json.loads(each) if isinstance(each, str) else each
                for each in (trace, row)
            )
            if trace["history_type"] == "-":
                assert row is None
                continue
            assert traced(table, trace) == traced(table, row)
            compared += 1
        assert rows(
            f"SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {table}_history h WHERE h.{key} = t.{key})"
        ) == [(0,)]

    print(f"\n{compared} rows equal the head of their history")
    assert compared >= 25


def test_history_holds_no_secret(world):
    assert "kdf_salt" not in columns("service_keys_history")


# --- what is kept as it was written -------------------------------------------


REWRITES = {
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "UPDATE of nothing": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
}


def kept_tables():
    return sorted(APPEND_ONLY | {f"{table}_history" for table in AUDITED})


def test_append_only_tables_are_all_here(world):
    found = rows(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%_append_only' AND tgenabled = 'O'"
    )

    assert sorted(name for (name,) in found) == kept_tables()


def test_tables_that_lose_no_row_are_all_here(world):
    found = rows(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%_never_deleted' AND tgenabled = 'O'"
    )

    assert {name for (name,) in found} == NEVER_DELETED


@pytest.mark.parametrize("table", sorted(NEVER_DELETED))
def test_table_refuses_to_lose_a_row(world, application, table):
    with refused(KEPT), auditing(BY, at=AT):
        run(f"DELETE FROM {table}")
    with pytest.raises(psycopg.Error) as problem:
        application.execute(f"DELETE FROM {table}")
    assert problem.value.sqlstate == FORBIDDEN


def test_window_of_a_price_ends_once(world):
    [price] = [row_of("meter_prices WHERE window_end IS NULL", world)["id"]]
    end = "UPDATE meter_prices SET window_end = window_start + %s WHERE id = %s"

    with auditing(BY, at=AT):
        assert run(end, [timedelta(days=1), price]) == 1
    for again in (timedelta(days=2), timedelta(hours=1), None):
        with refused(KEPT), auditing(BY, at=AT):
            run(end, [again, price])


SET_ONCE = {
    ("budgets", "closed_at"),
    ("grant_allocations", "lot_id"),
    ("grant_allocations", "posting_id"),
    ("grant_assignments", "anchored_at"),
    ("grant_campaigns", "ended_at"),
    ("grant_lots", "closed_at"),
}
"""Columns that go from NULL to a value, and keep it."""

PRICE_ENDS = ("meter_prices", "window_end")
"""Another one; its test is above, for a meter has one open price."""

FIRST = {
    "lot_id": "(SELECT l.id FROM grant_lots l WHERE l.user_id = t.user_id LIMIT 1)",
    "posting_id": "(SELECT p.id FROM ledger_postings p WHERE p.user_id = t.user_id LIMIT 1)",
    "anchored_at": "window_start",
    "ended_at": "now()",
    "closed_at": "now()",
}
"""What gives such a column its first value, as SQL."""

SETTING = {
    "grant_campaigns": ("grant_campaigns", ", status = 'ended'"),
    "grant_lots": (
        "grant_lots WHERE reserved_xusd = 0",
        ", status = 'closed', closure_kind = 'forfeit', closed_remaining_xusd = amount_xusd - consumed_xusd",
    ),
}
"""By table: rows of which a copy may have the value, and what is written with it."""


def test_columns_that_are_set_once_are_all_here(world):
    found = rows(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE '%_is_set_once' AND tgenabled = 'O'"
    )

    assert {
        (table, name.removeprefix(f"{table}_").removesuffix("_is_set_once"))
        for table, name in found
    } == SET_ONCE | {PRICE_ENDS}


@pytest.mark.parametrize(("table", "column"), sorted(SET_ONCE))
def test_column_is_set_once(world, table, column):
    source, also = SETTING.get(table, (table, ""))
    with auditing(BY, at=AT):
        row = insert_copy(source, world, {**FRESH[table], column: None})
        set_first = (
            f"UPDATE {table} t SET {column} = {FIRST[column]}{also} WHERE id = %s"
        )
        assert run(set_first, [row["id"]]) == 1

    for other in ("NULL", OTHER_VALUES[_type_of(table, column)].format(column)):
        with refused(KEPT), auditing(BY, at=AT):
            run(f"UPDATE {table} SET {column} = {other} WHERE id = %s", [row["id"]])


def _type_of(table, column):
    return rows(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
        [table, column],
    )[0][0]


@pytest.mark.parametrize("statement", REWRITES.values(), ids=REWRITES)
@pytest.mark.parametrize(
    "table", sorted(APPEND_ONLY | {f"{table}_history" for table in AUDITED})
)
def test_kept_table_refuses_its_owner(world, table, statement):
    with refused(KEPT), auditing(BY, at=AT):
        run(statement.format(table=table, column=columns(table)[0]))


@pytest.mark.parametrize("statement", REWRITES.values(), ids=REWRITES)
def test_partition_refuses_its_owner(world, statement):
    for table in partitions():
        with refused(KEPT):
            run(statement.format(table=table, column=columns(table)[0]))


@pytest.mark.parametrize("table", sorted(AUDITED))
def test_audited_table_is_never_truncated(world, table):
    with refused(KEPT), auditing(BY, at=AT):
        run(f"TRUNCATE {table} CASCADE")


def test_fixed_identities_are_all_here(world):
    found = rows(
        "SELECT tgrelid::regclass::text, encode(tgargs, 'escape') FROM pg_trigger WHERE tgname LIKE '%_identity_is_fixed' AND tgenabled = 'O'"
    )

    assert {
        table: {name.strip() for name in names.removesuffix("\\000").split(",")}
        for table, names in found
    } == IDENTITIES


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table, column)
        for table in sorted(IDENTITIES)
        for column in sorted(IDENTITIES[table])
    ],
)
def test_identity_is_fixed(world, table, column):
    kind = _type_of(table, column)
    other = OTHER_VALUES.get(kind, "coalesce({}, '') || 'x'").format(column)

    with refused(KEPT), auditing(BY, at=AT):
        assert run(f"UPDATE {table} SET {column} = {other}") > 0
    with auditing(BY, at=AT):
        assert run(f"UPDATE {table} SET {column} = {column}") > 0


# --- the same, by missing privilege: the role that serves requests ------------


@pytest.fixture(scope="module")
def application(django_db_setup, django_db_blocker):
    """A connection to the test database as the role that serves requests."""
    with (
        django_db_blocker.unblock(),
        psycopg.connect(database_url(), autocommit=True) as served,
    ):
        assert served.execute("SELECT current_user").fetchone() == ("plangate_app",)
        yield served


FORBIDDEN_STATEMENTS = [
    *(
        (
            f"{verb} {table}",
            statement.format(
                table=table,
                column="trace_id" if table.endswith("_history") else "realm_id",
            ),
        )
        for table in kept_tables()
        for verb, statement in REWRITES.items()
    ),
    *(
        (f"INSERT {table}_history", f"INSERT INTO {table}_history DEFAULT VALUES")
        for table in sorted(AUDITED)
    ),
    *((f"TRUNCATE {table}", f"TRUNCATE {table}") for table in sorted(AUDITED)),
    *(
        (f"DISABLE TRIGGER {table}", f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        for table in [*kept_tables(), *sorted(AUDITED)]
    ),
]


@pytest.mark.parametrize(
    ("name", "statement"),
    FORBIDDEN_STATEMENTS,
    ids=[name for name, _ in FORBIDDEN_STATEMENTS],
)
def test_application_may_not_rewrite(application, name, statement):
    with pytest.raises(psycopg.Error) as problem:
        application.execute(statement)

    assert problem.value.sqlstate == FORBIDDEN
