"""How many entries of a ledger account were sealed: remembered beside the seals."""

from django.db import migrations, models

# Before the rules below: nothing may wait to be judged when they are added.
COUNT = """
UPDATE ledger_accounts a SET sealed_count = s.sealed FROM (
    SELECT ledger_account_id, max(seq) AS sealed FROM ledger_seals GROUP BY 1
) s WHERE s.ledger_account_id = a.id;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""
ONLY_GROWS = """
CREATE TRIGGER ledger_accounts_sealed_count_only_grows
    BEFORE UPDATE OF sealed_count ON ledger_accounts
    FOR EACH ROW WHEN (NEW.sealed_count < OLD.sealed_count)
    EXECUTE FUNCTION plangate_refuse_rewrite('sealed_count');
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0012_wallets")]
    operations = [
        migrations.AddField(
            model_name="ledgeraccount",
            name="sealed_count",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="ledgeraccount",
            constraint=models.CheckConstraint(
                name="ledger_account_sealed_what_it_has",
                condition=models.Q(
                    sealed_count__gte=0, sealed_count__lte=models.F("entry_count")
                ),
            ),
        ),
        migrations.AddIndex(
            model_name="ledgeraccount",
            index=models.Index(
                fields=["id"],
                name="ledger_accounts_unsealed",
                condition=models.Q(sealed_count__lt=models.F("entry_count")),
            ),
        ),
        migrations.RunSQL(
            ONLY_GROWS,
            "DROP TRIGGER ledger_accounts_sealed_count_only_grows ON ledger_accounts;",
        ),
    ]
