"""The gate's usage tables go, to come again in another form.

Nothing was released that could have filled them: what is held is given back.
"""

from django.db import migrations

DROP = """
UPDATE gate_counters SET reserved_minor = 0 WHERE reserved_minor > 0;
UPDATE credit_balances SET reserved_xusd = 0 WHERE reserved_xusd > 0;
DROP TABLE gate_rated_records;
DROP TABLE gate_ratings;
DROP TABLE gate_leases;
DELETE FROM gate_denials;
"""


class Migration(migrations.Migration):
    dependencies = [("gating", "0002_rules"), ("grants", "0002_rules")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(DROP)],
            state_operations=[
                migrations.DeleteModel("RatedRecord"),
                migrations.DeleteModel("Rating"),
                migrations.DeleteModel("Lease"),
            ],
        ),
    ]
