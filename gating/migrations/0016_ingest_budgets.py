"""Budgets on usage without a lease."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql"

BEFORE = """
DROP FUNCTION IF EXISTS
    gate_ingest_book(jsonb, jsonb, jsonb, text, uuid, timestamptz);
"""


class Migration(migrations.Migration):
    dependencies = [("gating", "0015_budgets")]
    operations = [
        migrations.RunSQL(
            BEFORE + (SQL / "ingest.sql").read_text(), migrations.RunSQL.noop
        )
    ]
