"""Entries that only grow, keys that stay inside their account, and room to update."""

from django.db import migrations

from config.tenancy.operations import append_only, immutable, references


class Migration(migrations.Migration):
    dependencies = [("grants", "0001_initial")]
    operations = [
        references(
            "credit_balances",
            "realm_id, account_id, user_id",
            "billing_users",
            "realm_id, account_id, id",
            name="credit_balance_of_a_user_of_its_account",
        ),
        references(
            "credit_entries",
            "realm_id, account_id, user_id",
            "credit_balances",
            "realm_id, account_id, user_id",
            name="credit_entry_of_a_balance_of_its_account",
        ),
        append_only("credit_entries"),
        immutable("credit_balances", "realm_id, account_id, user_id"),
        # Room on each page for the next version of a row, so that an update of the
        # amounts touches no index.
        migrations.RunSQL(
            "ALTER TABLE credit_balances SET (fillfactor = 70);",
            "ALTER TABLE credit_balances RESET (fillfactor);",
        ),
    ]
