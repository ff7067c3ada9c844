"""The gate's way to a user's money, as functions."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql" / "funding.sql"


class Migration(migrations.Migration):
    dependencies = [("grants", "0002_rules")]
    operations = [migrations.RunSQL(SQL.read_text())]
