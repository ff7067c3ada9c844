"""Where the next run of a job goes on."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0007_job_runs")]
    operations = [
        migrations.AddField(
            model_name="jobrun",
            name="position",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
    ]
