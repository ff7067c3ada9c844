"""Simulations read leases in the order of time."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gating", "0012_hold_desk")]
    operations = [
        migrations.AddIndex(
            model_name="lease",
            index=models.Index(fields=["authorized_at"], name="gate_leases_by_time"),
        ),
    ]
