"""Functions and privileges that every later table builds on."""

from django.db import migrations

EXTENSIONS = """
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
"""

# The serving role reads and writes rows, and owns nothing. Where the migrating role
# may not create it, one role serves both and `check --deploy` says so.
ROLES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'plangate_app') THEN
        BEGIN
            CREATE ROLE plangate_app NOLOGIN;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'role plangate_app does not exist and may not be created';
        END;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'plangate_app') THEN
        GRANT USAGE ON SCHEMA public TO plangate_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public
            TO plangate_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO plangate_app;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO plangate_app;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public
            GRANT USAGE ON SEQUENCES TO plangate_app;
    END IF;
END $$;

CREATE FUNCTION plangate_revoke(table_name text, privileges text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'plangate_app') THEN
        EXECUTE format(
            'REVOKE %s ON %I FROM plangate_app', privileges, table_name);
    END IF;
END $$;
"""

REFUSE = """
CREATE FUNCTION plangate_refuse_rewrite() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% refuses %: % is kept as it was written',
        TG_TABLE_NAME, TG_OP, coalesce(TG_ARGV[0], 'every row')
        USING ERRCODE = 'PG002';
END $$;
"""

# One history row per changed row, in the columns of the history table. A history
# instant never runs backwards for one row, so "what was known at K" has one answer
# even when two writers read their clocks in the other order than they committed.
# pg_temp comes last in the search path: unnamed it would come first, and a temporary
# table of the history table's name would take its rows.
AUDIT = """
CREATE FUNCTION plangate_audit_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    history text := TG_ARGV[0];
    key text := TG_ARGV[1];
    ignored text[] := string_to_array(TG_ARGV[2], ',');
    audit jsonb := nullif(current_setting('plangate.audit', true), '')::jsonb;
    subject jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
    latest timestamptz;
BEGIN
    IF TG_OP = 'UPDATE' AND subject - ignored = to_jsonb(OLD) - ignored THEN
        RETURN NULL;
    END IF;
    IF audit IS NULL THEN
        RAISE EXCEPTION
            '% refuses % without operator, reason, ticket and effective time',
            TG_TABLE_NAME, TG_OP USING ERRCODE = 'PG001';
    END IF;
    EXECUTE format(
        'SELECT max(h.history_date) FROM %1$I h,'
        ' jsonb_populate_record(NULL::%1$I, $1) r WHERE h.%2$I = r.%2$I',
        history, key) INTO latest USING subject;
    subject := subject || audit || jsonb_build_object(
        'history_id', nextval(pg_get_serial_sequence(history, 'history_id')),
        'history_date', greatest((audit->>'history_date')::timestamptz, latest),
        'history_type', CASE TG_OP
            WHEN 'INSERT' THEN '+' WHEN 'UPDATE' THEN '~' ELSE '-' END);
    EXECUTE format(
        'INSERT INTO %1$I SELECT (jsonb_populate_record(NULL::%1$I, $1)).*',
        history) USING subject;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.RunSQL(EXTENSIONS, migrations.RunSQL.noop),
        migrations.RunSQL(
            ROLES, "DROP FUNCTION plangate_revoke(text, text);"
        ),
        migrations.RunSQL(REFUSE, "DROP FUNCTION plangate_refuse_rewrite();"),
        migrations.RunSQL(AUDIT, "DROP FUNCTION plangate_audit_row();"),
    ]
