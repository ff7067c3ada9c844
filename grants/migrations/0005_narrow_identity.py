"""A balance's identity is looked at only by updates that name it: holds never do."""

from django.db import migrations

TABLE = "credit_balances"
TRIGGER = f"{TABLE}_identity_is_fixed"
COLUMNS = "realm_id, account_id, user_id"


def _trigger(event: str) -> str:
    new, old = (
        ", ".join(f"{row}.{name}" for name in COLUMNS.split(", "))
        for row in ("NEW", "OLD")
    )
    return f"""
    DROP TRIGGER {TRIGGER} ON {TABLE};
    CREATE TRIGGER {TRIGGER} BEFORE {event} ON {TABLE}
        FOR EACH ROW WHEN (({new}) IS DISTINCT FROM ({old}))
        EXECUTE FUNCTION plangate_refuse_rewrite('{COLUMNS}');
    """


class Migration(migrations.Migration):
    dependencies = [("grants", "0004_budgets")]
    operations = [
        migrations.RunSQL(_trigger(f"UPDATE OF {COLUMNS}"), _trigger("UPDATE"))
    ]
