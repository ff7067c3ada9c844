"""The indexes of lots that have to be closed: what ended, and what was settled whole.

Of columns that no use of a lot changes, so that uses still touch no index.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("grants", "0013_sealed_counts")]
    operations = [
        migrations.RemoveIndex(model_name="grantlot", name="grant_lots_by_end"),
        migrations.AddIndex(
            model_name="grantlot",
            index=models.Index(
                fields=["window_end", "id"],
                condition=models.Q(closure_kind__isnull=True)
                & ~models.Q(kind="fallback"),
                name="grant_lots_by_end",
            ),
        ),
        migrations.AddIndex(
            model_name="grantlot",
            index=models.Index(
                fields=["id"],
                condition=models.Q(closure_kind__isnull=True)
                & ~models.Q(kind="fallback")
                & models.Q(settled_xusd=models.F("amount_xusd")),
                name="grant_lots_used_up",
            ),
        ),
    ]
