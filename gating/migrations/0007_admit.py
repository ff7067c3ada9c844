"""The gate's first stride: what plainly fits is admitted, and committed, at once."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql"


class Migration(migrations.Migration):
    dependencies = [("gating", "0006_soundness")]
    operations = [
        migrations.RunSQL((SQL / name).read_text(), migrations.RunSQL.noop)
        for name in ("authorize.sql", "commit.sql", "admit.sql", "close.sql")
    ]
