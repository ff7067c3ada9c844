"""Seats that are billed; months that can be moved and, once old, dropped by the job."""

from importlib import import_module
from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

import config.kernel.ids
from config.tenancy.operations import references, sound_otherwise

SQL = Path(__file__).resolve().parents[1] / "sql"

COLUMNS, BEFORE = import_module("gating.migrations.0006_soundness").RATINGS
RULES = BEFORE | {
    "gate_rating_kind_is_known": "rating_kind IN ('gate', 'ingest', 'seats')"
}
GONE = """
DROP FUNCTION gate_move_to_month(date, integer);
DROP FUNCTION gate_take_from_default(text, text, timestamptz, timestamptz);
DROP FUNCTION gate_drop_old_partitions(date);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_whole"),
        ("gating", "0007_admit"),
        ("tenancy", "0006_credential_version"),
    ]
    operations = [
        migrations.CreateModel(
            name="SeatBilling",
            fields=[
                ("id", models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("policy_id", models.UUIDField(help_text="A policy that may be gone by now.")),
                ("billed_until", models.DateTimeField()),
                ("account", models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.billingaccount")),
                ("realm", models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenancy.realm")),
            ],
            options={"db_table": "gate_seat_billings"},
        ),
        migrations.AddConstraint(
            model_name="seatbilling",
            constraint=models.UniqueConstraint(fields=("realm", "account", "policy_id"), name="gate_seat_billing_once_per_policy"),
        ),
        references(
            "gate_seat_billings",
            "realm_id, account_id",
            "billing_accounts",
            "realm_id, id",
            name="gate_seat_billing_of_an_account_of_its_realm",
        ),
        migrations.AddIndex(
            model_name="seat",
            index=models.Index(fields=["realm", "key", "scope_code", "account"], name="gate_seats_by_policy"),
        ),
        migrations.AlterField(
            model_name="rating",
            name="rating_kind",
            field=models.TextField(choices=[("gate", "Commit of a lease"), ("ingest", "Report without a lease"), ("seats", "Seat of a window")]),
        ),
        migrations.AlterField(
            model_name="rating",
            name="lease",
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="ratings", to="gating.lease"),
        ),
        sound_otherwise("gate_ratings", COLUMNS, RULES, before=BEFORE),
        migrations.RunSQL((SQL / "partitions.sql").read_text(), GONE),
    ]
