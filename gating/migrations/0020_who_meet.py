"""Users under the same rules are admitted, and commit, by one call where they meet."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql"


class Migration(migrations.Migration):
    dependencies = [("gating", "0019_leases_hold_lots")]
    operations = [
        migrations.RunSQL((SQL / f"{name}.sql").read_text(), f"DROP FUNCTION gate_{name};")
        for name in ("admit_many", "close_many")
    ]
