"""The first stride asks by names alone, and takes several commits; months by their names."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql"

# Those of other arguments would stay beside the new ones.
BEFORE = """
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace
            AND p.proname IN ('gate_admit', 'gate_close', 'gate_close_all')
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("gating", "0016_ingest_budgets")]
    operations = [
        migrations.RunSQL(BEFORE, migrations.RunSQL.noop),
        *(
            migrations.RunSQL((SQL / name).read_text(), migrations.RunSQL.noop)
            for name in ("admit.sql", "close.sql", "close_all.sql", "partitions.sql")
        ),
    ]
