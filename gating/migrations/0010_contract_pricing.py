"""Contracts and their terms count as changes of their account."""

from django.db import migrations

ACCOUNT = {
    "billing_contracts": "c.account_id",
    "contract_terms": (
        "(SELECT b.account_id FROM billing_contracts b WHERE b.id = c.contract_id)"
    ),
}
EVENTS = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"}


def counted(table, account):
    """Call the counting function once per statement that changes the table."""
    return migrations.RunSQL(
        "".join(
            f"""
            CREATE TRIGGER {table}_{event.lower()}_counted AFTER {event} ON {table}
                REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT
                EXECUTE FUNCTION gate_account_changed('{account}');
            """
            for event, rows in EVENTS.items()
        ),
        "".join(
            f"DROP TRIGGER {table}_{event.lower()}_counted ON {table};"
            for event in EVENTS
        ),
    )


class Migration(migrations.Migration):
    dependencies = [("gating", "0007_admit"), ("billing", "0004_contracts")]
    operations = [counted(table, account) for table, account in ACCOUNT.items()]
