"""Users under the same rules are admitted by one call where they meet."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql"


class Migration(migrations.Migration):
    dependencies = [("gating", "0019_leases_hold_lots")]
    operations = [
        migrations.RunSQL(
            (SQL / "admit_many.sql").read_text(), "DROP FUNCTION gate_admit_many;"
        ),
    ]
