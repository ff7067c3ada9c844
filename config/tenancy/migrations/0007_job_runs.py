"""What periodic jobs did: a row per run."""

import config.kernel.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0006_credential_version'),
    ]

    operations = [
        migrations.CreateModel(
            name='JobRun',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('job', models.TextField()),
                ('at', models.DateTimeField()),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('done', models.BigIntegerField(default=0)),
                ('failed', models.BigIntegerField(default=0)),
                ('error', models.TextField(blank=True, default='')),
                ('trace_id', models.TextField()),
            ],
            options={
                'verbose_name': 'job run',
                'db_table': 'job_runs',
                'indexes': [models.Index(fields=['job', 'started_at', 'id'], name='job_runs_by_job')],
                'constraints': [models.CheckConstraint(condition=models.Q(('job__regex', '\\S')), name='job_run_names_its_job'), models.CheckConstraint(condition=models.Q(('done__gte', 0), ('failed__gte', 0)), name='job_run_counts_are_not_negative')],
            },
        ),
    ]
