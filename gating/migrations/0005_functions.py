"""The gate's functions, the counts of changes they rely on, and the partitions."""

from pathlib import Path

from django.db import migrations

from config.tenancy.operations import append_only, references, same_realm

SQL = Path(__file__).resolve().parents[1] / "sql"

CATALOG = (
    "realms", "feature_families", "features", "meters", "feature_meters",
    "meter_prices", "billing_plans", "billing_plan_entitlements",
    "gate_policy_bundles", "gate_policies",
)  # fmt: skip
ACCOUNT = {
    "billing_accounts": "c.id",
    "billing_users": "c.account_id",
    "billing_plan_assignments": "c.account_id",
    "billing_plan_assignment_statuses": (
        "(SELECT a.account_id FROM billing_plan_assignments a"
        " WHERE a.id = c.assignment_id)"
    ),
}
EVENTS = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"}

COUNTER_IDS = """
UPDATE gate_counters SET id = md5(
    account_id || '|' || subject_scope || '|' || subject_id || '|' || feature_code || '|'
    || kind || '|' || extract(epoch FROM window_end - window_start)::bigint || '|'
    || extract(epoch FROM window_start)::bigint
        / extract(epoch FROM window_end - window_start)::bigint || '|' || key)::uuid
"""

# What Django made as plain tables becomes partitioned: nothing is in them yet.
PARTITION = """
ALTER TABLE {table} RENAME TO {table}_plain;
CREATE TABLE {table} (LIKE {table}_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (rated_at);
DROP TABLE {table}_plain;
CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;
"""
KEYS = """
ALTER TABLE gate_ratings ADD CONSTRAINT gate_ratings_pkey
    PRIMARY KEY (id, realm_id, rated_at);
CREATE INDEX gate_ratings_by_account ON gate_ratings (realm_id, account_id, rated_at);
CREATE INDEX gate_ratings_by_time ON gate_ratings (realm_id, rated_at);
ALTER TABLE gate_rated_records ADD CONSTRAINT gate_rated_record_numbered_once
    UNIQUE (rating_id, realm_id, rated_at, line_number);
"""
ROOM = """
ALTER TABLE gate_leases SET (fillfactor = 80);
"""


def sql(name):
    return (SQL / name).read_text()


def preflight(authorize):
    """Return the same function as one that sees a single snapshot and cannot write."""
    return authorize.replace("FUNCTION gate_authorize", "FUNCTION gate_preflight").replace(
        "LANGUAGE plpgsql SET", "LANGUAGE plpgsql STABLE SET"
    )


def counted(table, function, *arguments):
    """Call the counting function once per statement that changes the table."""
    # The count of an account goes with it.
    final = {"DELETE"} if table == "billing_accounts" else set()
    listed = ", ".join("'" + argument.replace("'", "''") + "'" for argument in arguments)
    return migrations.RunSQL(
        "".join(
            f"""
            CREATE TRIGGER {table}_{event.lower()}_counted AFTER {event} ON {table}
                REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT
                EXECUTE FUNCTION {function}({listed});
            """
            for event, rows in EVENTS.items()
            if event not in final
        )
    )


def of_user(table, name):
    return references(
        table,
        "realm_id, account_id, user_id",
        "billing_users",
        "realm_id, account_id, id",
        name=name,
    )


class Migration(migrations.Migration):
    dependencies = [("gating", "0004_hot_path"), ("grants", "0003_funding")]
    operations = [
        migrations.RunSQL(COUNTER_IDS),
        migrations.RunSQL(PARTITION.format(table="gate_ratings")),
        migrations.RunSQL(PARTITION.format(table="gate_rated_records")),
        migrations.RunSQL(KEYS),
        migrations.RunSQL(ROOM),
        of_user("gate_leases", "gate_lease_of_a_user_of_its_account"),
        of_user("gate_ratings", "gate_rating_of_a_user_of_its_account"),
        of_user("gate_projections", "gate_projection_of_a_user_of_its_account"),
        references(
            "gate_rating_keys",
            "realm_id, user_id",
            "billing_users",
            "realm_id, id",
            name="gate_rating_key_of_a_user_of_its_realm",
        ),
        references(
            "gate_rated_records",
            "realm_id, rating_id, rated_at",
            "gate_ratings",
            "realm_id, id, rated_at",
            name="gate_rated_record_of_a_rating_of_its_realm",
        ),
        same_realm("gate_projections", "rule_set_id", "gate_rule_sets"),
        same_realm(
            "gate_projections", "plan_assignment_id", "billing_plan_assignments"
        ),
        references(
            "gate_account_versions",
            "realm_id, account_id",
            "billing_accounts",
            "realm_id, id",
            name="gate_account_version_of_an_account_of_its_realm",
            dependent=True,
        ),
        append_only("gate_rule_sets"),
        append_only("gate_ratings"),
        append_only("gate_rated_records"),
        migrations.RunSQL(sql("partitions.sql")),
        migrations.RunSQL(
            """
            SELECT gate_seal_partition('gate_ratings_default'),
                gate_seal_partition('gate_rated_records_default');
            SELECT gate_make_partitions(
                (now() - interval '3 months')::date, 7);
            """
        ),
        migrations.RunSQL(sql("versions.sql")),
        *(counted(table, "gate_catalog_changed") for table in CATALOG),
        *(
            counted(table, "gate_account_changed", account)
            for table, account in ACCOUNT.items()
        ),
        migrations.RunSQL(sql("expire.sql")),
        migrations.RunSQL(sql("store.sql")),
        migrations.RunSQL(sql("authorize.sql")),
        migrations.RunSQL(preflight(sql("authorize.sql"))),
        migrations.RunSQL(sql("book.sql")),
        migrations.RunSQL(sql("commit.sql")),
    ]
