"""Migration operations: rules that live in the database, not in Python."""

from collections.abc import Mapping

from django.db.migrations import RunSQL


def audited(
    table: str, *, key: str = "id", ignored: str = "updated_at", watched: str = ""
) -> RunSQL:
    """Return the operation that makes `table` an audited one.

    Every insert, update and delete writes one row to `<table>_history`, and is
    refused outside an audit context. `key` is the primary key column; `ignored`
    lists columns (comma separated) whose change alone is not history. Of a table
    whose ignored columns change at every use, `watched` lists all the others: a
    statement that sets none of them costs nothing.
    """
    history = f"{table}_history"
    update = f"UPDATE OF {watched}" if watched else "UPDATE"
    return RunSQL(
        sql=f"""
        CREATE TRIGGER {table}_audit AFTER INSERT OR {update} OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION
            plangate_audit_row('{history}', '{key}', '{ignored}');
        CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION plangate_refuse_rewrite();
        CREATE TRIGGER {history}_append_only
            BEFORE UPDATE OR DELETE OR TRUNCATE ON {history}
            FOR EACH STATEMENT EXECUTE FUNCTION plangate_refuse_rewrite();
        SELECT plangate_revoke('{history}', 'INSERT, UPDATE, DELETE, TRUNCATE');
        SELECT plangate_revoke('{table}', 'TRUNCATE');
        """,
        reverse_sql=f"""
        DROP TRIGGER {table}_audit ON {table};
        DROP TRIGGER {table}_no_truncate ON {table};
        DROP TRIGGER {history}_append_only ON {history};
        """,
    )


def append_only(table: str) -> RunSQL:
    """Return the operation that lets `table` only ever grow.

    Refused by trigger for everyone, and by missing privilege for the application.
    """
    return RunSQL(
        sql=f"""
        CREATE TRIGGER {table}_append_only
            BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION plangate_refuse_rewrite();
        SELECT plangate_revoke('{table}', 'UPDATE, DELETE, TRUNCATE');
        """,
        reverse_sql=f"DROP TRIGGER {table}_append_only ON {table};",
    )


def immutable(table: str, columns: str, *, cheap: bool = False) -> RunSQL:
    """Return the operation that fixes `columns` (comma separated) once written.

    Where it is `cheap`, statements that set none of them are not even looked at.
    """
    update = f"UPDATE OF {columns}" if cheap else "UPDATE"
    listed = ", ".join(f"NEW.{name.strip()}" for name in columns.split(","))
    before = listed.replace("NEW.", "OLD.")
    return RunSQL(
        sql=f"""
        CREATE TRIGGER {table}_identity_is_fixed BEFORE {update} ON {table}
            FOR EACH ROW WHEN (({listed}) IS DISTINCT FROM ({before}))
            EXECUTE FUNCTION plangate_refuse_rewrite('{columns}');
        """,
        reverse_sql=f"DROP TRIGGER {table}_identity_is_fixed ON {table};",
    )


def kept(table: str) -> RunSQL:
    """Return the operation that refuses to delete a row of `table`.

    By trigger for everyone, and by missing privilege for the application.
    """
    return RunSQL(
        sql=f"""
        CREATE TRIGGER {table}_never_deleted BEFORE DELETE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION plangate_refuse_rewrite();
        SELECT plangate_revoke('{table}', 'DELETE');
        """,
        reverse_sql=f"DROP TRIGGER {table}_never_deleted ON {table};",
    )


def set_once(table: str, column: str) -> RunSQL:
    """Return the operation that lets `column` go from NULL to a value, once."""
    return RunSQL(
        sql=f"""
        CREATE TRIGGER {table}_{column}_is_set_once BEFORE UPDATE ON {table}
            FOR EACH ROW WHEN (
                OLD.{column} IS NOT NULL
                AND NEW.{column} IS DISTINCT FROM OLD.{column})
            EXECUTE FUNCTION plangate_refuse_rewrite('{column}');
        """,
        reverse_sql=f"DROP TRIGGER {table}_{column}_is_set_once ON {table};",
    )


def whole(name: str, broken: str, **events: tuple[str, str]) -> RunSQL:
    """Return the operation that judges several rows together, when a transaction ends.

    `broken` is an SQL condition over `subject`, a uuid: true where the rule is broken.
    `events` maps each table to its trigger event (`INSERT OR DELETE`) and to the
    column that holds the subject. A violation is told under `name`, which says what
    is true, as a check is.
    """
    triggers = "".join(
        f"""
        CREATE CONSTRAINT TRIGGER {name} AFTER {event} ON {table}
            DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION {name}('{column}');
        """
        for table, (event, column) in events.items()
    )
    return RunSQL(
        sql=f"""
        CREATE FUNCTION {name}() RETURNS trigger
        LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
        DECLARE
            subject uuid := to_jsonb(
                CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END)->>TG_ARGV[0];
        BEGIN
            IF {broken} THEN
                RAISE EXCEPTION '% breaks the rule {name}', TG_TABLE_NAME
                    USING ERRCODE = 'check_violation', CONSTRAINT = '{name}';
            END IF;
            RETURN NULL;
        END $$;
        {triggers}
        """,
        reverse_sql=f"DROP FUNCTION {name}() CASCADE;",
    )


def references(
    table: str,
    columns: str,
    parent: str,
    parent_columns: str,
    *,
    name: str,
    dependent: bool = False,
) -> RunSQL:
    """Return a composite foreign key, such as (realm_id, plan_id) → plans.

    Django's own foreign keys name one column, so a row could point into another
    realm; this one cannot. `parent_columns` must be unique together. `name` says
    what is true. A row that is `dependent` goes with its parent; others keep theirs.
    """
    deletion = "ON DELETE CASCADE" if dependent else ""
    return RunSQL(
        sql=f"""
        ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({columns})
            REFERENCES {parent} ({parent_columns}) {deletion}
            DEFERRABLE INITIALLY IMMEDIATE;
        """,
        reverse_sql=f"ALTER TABLE {table} DROP CONSTRAINT {name};",
    )


def same_realm(table: str, column: str, parent: str) -> RunSQL:
    """Return the foreign key that keeps `table.column` inside its row's realm."""
    return references(
        table,
        f"realm_id, {column}",
        parent,
        "realm_id, id",
        name=f"{table}_{column}_same_realm",
    )


def sound(table: str, columns: str, rules: Mapping[str, str]) -> RunSQL:
    """Return one CHECK of many rules, which names the one that a row breaks.

    For tables whose every statement counts: the server reads a CHECK's expression
    anew for each statement, and keeps a function's. `columns` are those that the rules
    read, with their types; a rule holds, as in a CHECK, unless it is false.
    """
    names = ", ".join(column.split()[0] for column in columns.split(","))
    return RunSQL(
        sql=f"""
        {_soundness(table, columns, rules)}
        ALTER TABLE {table} ADD CONSTRAINT {table}_are_sound
            CHECK ({table}_is_sound({names}));
        """,
        reverse_sql=f"""
        ALTER TABLE {table} DROP CONSTRAINT {table}_are_sound;
        DROP FUNCTION {table}_is_sound;
        """,
    )


def sound_otherwise(
    table: str, columns: str, rules: Mapping[str, str], *, before: Mapping[str, str]
) -> RunSQL:
    """Return other rules for the same columns of a table that `sound` was said of.

    Every row that kept the rules `before` must keep these: they are not judged again.
    """
    return RunSQL(
        sql=_soundness(table, columns, rules),
        reverse_sql=_soundness(table, columns, before),
    )


def _soundness(table: str, columns: str, rules: Mapping[str, str]) -> str:
    """Return the SQL of the function that judges a row."""
    cases = "".join(
        f"WHEN NOT ({rule}) THEN '{name}'\n" for name, rule in rules.items()
    )
    return f"""
        CREATE OR REPLACE FUNCTION {table}_is_sound({columns}) RETURNS boolean
        LANGUAGE plpgsql IMMUTABLE AS $$
        DECLARE
            broken text := CASE {cases} END;
        BEGIN
            IF broken IS NOT NULL THEN
                RAISE EXCEPTION
                    'new row for relation "{table}" violates check constraint "%"',
                    broken USING ERRCODE = 'check_violation', TABLE = '{table}',
                    CONSTRAINT = broken;
            END IF;
            RETURN true;
        END $$;
        """
