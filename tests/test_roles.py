"""What the roles of the database may do: who serves requests owns nothing.

`plangate_owner` makes the schema and runs migrations; `plangate_app` serves requests.
"""

import json

import psycopg
import pytest

from tests.test_history import APPEND_ONLY, AUDITED, NEVER_DELETED
from tests.tools.server import database_url
from tests.tools.tables import own_tables, partitions, rows

APP, OWNER = "plangate_app", "plangate_owner"
ALL = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
PERMISSION_DENIED = "42501"

EXPLANATION = {
    "actor_kind": "user", "actor_id": "ada", "operator": "ada", "reason": "because", "ticket_id": "T-1", "trace_id": "0" * 32,
    "effective_at": "2026-03-10T12:00:00Z", "history_date": "2026-03-10T12:00:00Z",
}  # fmt: skip

FORBIDDEN = [
    "CREATE TABLE stray (id int)",
    "CREATE SCHEMA stray",
    "CREATE VIEW stray AS SELECT 1",
    "CREATE FUNCTION stray() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION postgres_fdw",
    "CREATE ROLE stray",
    "CREATE DATABASE stray",
    "ALTER TABLE realms ADD COLUMN stray int",
    "ALTER TABLE grant_lots DROP CONSTRAINT grant_lots_are_sound",
    "ALTER TABLE realms OWNER TO plangate_app",
    "ALTER FUNCTION plangate_audit_row() OWNER TO plangate_app",
    "CREATE OR REPLACE FUNCTION plangate_refuse_rewrite() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "DROP TABLE realms",
    "DROP TRIGGER realms_audit ON realms",
    "DROP FUNCTION plangate_audit_row() CASCADE",
    "CREATE TRIGGER stray BEFORE INSERT ON realms FOR EACH ROW EXECUTE FUNCTION plangate_refuse_rewrite()",
    "CREATE INDEX stray ON realms (name)",
    "SET ROLE plangate_owner",
    "SET SESSION AUTHORIZATION plangate_owner",
    "SET session_replication_role = 'replica'",
    "ALTER ROLE plangate_app SUPERUSER",
    "ALTER SYSTEM SET fsync = off",
    "COPY realms TO PROGRAM 'cat'",
    "COPY realms FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "SELECT gate_drop_partitions('2200-01-01')",
    "SELECT gate_drop_old_partitions('2200-01-01')",
    "SELECT gate_seal_partition('gate_ratings')",
    "SELECT gate_take_from_default('gate_ratings', '_200001', '2000-01-01', '2000-02-01')",
    "SELECT setval('realms_history_history_id_seq', 1)",
    "ALTER SEQUENCE realms_history_history_id_seq RESTART",
]


@pytest.fixture
def application(db):
    """A connection to the test database as the role that serves requests."""
    with psycopg.connect(database_url(), autocommit=True) as served:
        assert served.execute("SELECT current_user").fetchone() == (APP,)
        yield served


def expected(table):
    """Return what the application may do with one of our tables."""
    if table.removesuffix("_history") in AUDITED and table.endswith("_history"):
        return {"SELECT"}
    if table in APPEND_ONLY:
        return {"SELECT", "INSERT"}
    if table in NEVER_DELETED:
        return {"SELECT", "INSERT", "UPDATE"}
    return {"SELECT", "INSERT", "UPDATE", "DELETE"}


def privileges(table):
    """Return what the application may do with a table."""
    return {
        verb
        for verb in ALL
        if rows("SELECT has_table_privilege(%s, %s, %s)", [APP, table, verb])
        == [(True,)]
    }


def test_application_has_what_it_needs_and_no_more(db):
    found = {table: privileges(table) for table in own_tables()}

    print(f"\n{len(found)} tables x {len(ALL)} privileges")
    assert found == {table: expected(table) for table in own_tables()}


def test_application_writes_partitions_through_their_table_only(db):
    found = {table: privileges(table) for table in partitions()}

    assert found == {table: {"SELECT"} for table in partitions()}
    assert len(found) >= 4


def test_application_makes_room_for_months_to_come(application):
    """As the owner of what it makes, so that it is sealed like the rest."""
    with application.transaction(force_rollback=True):
        made = application.execute(
            "SELECT gate_make_partitions('2101-01-15', 2)"
        ).fetchone()
        [(schema, owner, may_write)] = application.execute(
            "SELECT relnamespace::regnamespace::text, pg_get_userbyid(relowner),"
            " has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
            " FROM pg_class WHERE relname = 'gate_ratings_210102'"
        ).fetchall()

    assert made == (4,)
    assert (schema, owner, may_write) == ("public", OWNER, False)


def test_owner_drops_the_months_that_are_over(db):
    rows("SELECT gate_make_partitions('2001-01-01', 2)")

    [(dropped,)] = rows("SELECT gate_drop_partitions('2001-02-28')")

    assert dropped == ["gate_rated_records_200101", "gate_ratings_200101"]
    assert "gate_ratings_200102" in partitions()
    assert not set(dropped) & set(partitions())


def test_public_has_no_privilege_on_tables(db):
    found = rows(
        "SELECT relname, privilege_type FROM pg_class, aclexplode(relacl) WHERE grantee = 0"
        " AND relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'S')"
    )

    assert found == []


def test_application_owns_nothing(db):
    owned = rows(
        "SELECT 'relation', relname FROM pg_class WHERE pg_get_userbyid(relowner) = %(role)s"
        " UNION ALL SELECT 'function', proname FROM pg_proc WHERE pg_get_userbyid(proowner) = %(role)s"
        " UNION ALL SELECT 'type', typname FROM pg_type WHERE pg_get_userbyid(typowner) = %(role)s"
        " UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = %(role)s"
        " UNION ALL SELECT 'database', datname FROM pg_database WHERE pg_get_userbyid(datdba) = %(role)s",
        {"role": APP},
    )

    assert owned == []


def test_application_has_no_power_over_the_server(db):
    attributes = rows(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = %s",
        [APP],
    )
    groups = rows(
        "SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE pg_get_userbyid(member) = %s",
        [APP],
    )

    assert attributes == [(False,) * 5]
    # Among them pg_signal_backend, which could cancel another's wait for its commit.
    assert groups == []


def test_application_may_not_create_in_the_schema(db):
    assert rows("SELECT has_schema_privilege(%s, 'public', 'CREATE')", [APP]) == [
        (False,)
    ]


@pytest.mark.parametrize(
    "statement", FORBIDDEN, ids=lambda text: " ".join(text.split()[:3])
)
def test_application_is_refused(application, statement):
    with pytest.raises(psycopg.Error) as problem:
        application.execute(statement)

    assert problem.value.sqlstate == PERMISSION_DENIED, problem.value


def test_application_may_read_and_write(application):
    """The control: it is not refused everything."""
    with application.transaction(force_rollback=True):
        application.execute(
            "INSERT INTO service_key_nonces (key_id, nonce, seen_at) VALUES ('pk-x', 'n', now())"
        )

        assert application.execute(
            "SELECT nonce FROM service_key_nonces"
        ).fetchall() == [("n",)]


def test_functions_of_the_owner_say_where_they_look(db):
    """What runs as its owner must not find its tables in the caller's search path."""
    loose = rows(
        "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        " AND NOT ('search_path=pg_catalog, public, pg_temp' = ANY (coalesce(proconfig, '{}')))"
    )

    assert loose == []


def test_application_cannot_hide_history_behind_a_table_of_its_own(application):
    """The trigger writes as the tables' owner, to the tables it means."""
    with application.transaction(force_rollback=True):
        application.execute(
            "CREATE TEMPORARY TABLE realms_history (LIKE public.realms_history)"
        )
        application.execute(
            "CREATE TEMPORARY SEQUENCE numbers OWNED BY realms_history.history_id"
        )
        application.execute("GRANT ALL ON pg_temp.realms_history TO PUBLIC")
        application.execute("GRANT ALL ON SEQUENCE pg_temp.numbers TO PUBLIC")
        application.execute(
            "SELECT set_config('plangate.audit', %s, true)", [json.dumps(EXPLANATION)]
        )
        application.execute(
            "INSERT INTO realms (realm_id, name, status, metadata) VALUES ('hidden', 'Hidden', 'active', '{}')"
        )

        written = application.execute(
            "SELECT count(*) FROM public.realms_history WHERE realm_id = 'hidden'"
        ).fetchone()
        hidden = application.execute(
            "SELECT count(*) FROM pg_temp.realms_history"
        ).fetchone()

    assert (written, hidden) == ((1,), (0,))


def test_migrating_role_is_no_superuser(db):
    [(current, is_superuser)] = rows(
        "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
    )

    assert (current, is_superuser) == (OWNER, False)
