"""Wallets: users, looked at for what they have. Nothing is stored for them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0004_contracts"),
        ("grants", "0011_without_balances"),
    ]
    operations = [
        migrations.CreateModel(
            name="Wallet",
            fields=[],
            options={
                "verbose_name": "wallet",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("billing.billinguser",),
        ),
    ]
