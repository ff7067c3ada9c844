"""The simple balances are gone: lots, allocations and the ledger tell all of it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("grants", "0008_issuance"), ("gating", "0019_leases_hold_lots")]
    operations = [
        migrations.DeleteModel(name="CreditEntry"),
        migrations.DeleteModel(name="CreditBalance"),
    ]
