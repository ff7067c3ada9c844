"""Ratings of usage without a lease: their metadata, and the functions that book them."""

from importlib import import_module
from pathlib import Path

from django.db import migrations, models

from config.tenancy.operations import sound

SQL = Path(__file__).resolve().parents[1] / "sql"

BEFORE = import_module("gating.migrations.0011_seat_billing")
WERE = sound("gate_ratings", BEFORE.COLUMNS, BEFORE.RULES)
ARE = sound(
    "gate_ratings",
    f"{BEFORE.COLUMNS}, metadata jsonb",
    BEFORE.RULES
    | {"gate_rating_metadata_is_object": "jsonb_typeof(metadata) = 'object'"},
)


def installed(name):
    return migrations.RunSQL((SQL / name).read_text(), migrations.RunSQL.noop)


class Migration(migrations.Migration):
    dependencies = [("gating", "0013_simulations"), ("grants", "0003_funding")]
    operations = [
        migrations.AddField(
            "rating",
            "metadata",
            models.JSONField(
                db_default=models.Value({}, output_field=models.JSONField()),
                default=dict,
            ),
        ),
        migrations.RunSQL(
            WERE.reverse_sql + ARE.sql, ARE.reverse_sql + WERE.sql
        ),
        # Its row of a rating has one column more.
        installed("commit.sql"),
        installed("ingest.sql"),
    ]
