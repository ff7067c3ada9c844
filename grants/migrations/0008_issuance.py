"""Where issuance goes on, what plans bring, and who was given it."""

import django.db.models.deletion
from django.db import migrations, models

from config.tenancy.operations import immutable, references, same_realm, set_once


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0004_contracts'),
        ('grants', '0007_funding_by_lots'),
        ('tenancy', '0006_credential_version'),
    ]

    operations = [
        migrations.AddField(
            model_name='grantassignment',
            name='anchored_at',
            field=models.DateTimeField(blank=True, help_text='From where its periods are counted; empty means: from its start.', null=True),
        ),
        migrations.AddField(
            model_name='historicalgrantassignment',
            name='anchored_at',
            field=models.DateTimeField(blank=True, help_text='From where its periods are counted; empty means: from its start.', null=True),
        ),
        migrations.CreateModel(
            name='GrantEnrollment',
            fields=[
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='grant_enrollment', serialize=False, to='billing.billinguser')),
                ('fingerprint', models.TextField()),
                ('bindings', models.JSONField(default=list)),
                ('applied_at', models.DateTimeField()),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingaccount')),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
            ],
            options={
                'verbose_name': 'enrollment',
                'db_table': 'grant_enrollments',
                'constraints': [models.CheckConstraint(condition=models.Q(('bindings__contains', [])), name='grant_enrollment_bindings_are_a_list'), models.CheckConstraint(condition=models.Q(('fingerprint__regex', '\\S')), name='grant_enrollment_fingerprint_is_given')],
            },
        ),
        migrations.CreateModel(
            name='IssuanceCursor',
            fields=[
                ('assignment', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='cursor', serialize=False, to='grants.grantassignment')),
                ('next_at', models.DateTimeField(blank=True, null=True)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingaccount')),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billinguser')),
            ],
            options={
                'verbose_name': 'issuance cursor',
                'db_table': 'grant_issuance_cursors',
                'indexes': [models.Index(condition=models.Q(('next_at__isnull', False)), fields=['next_at', 'assignment'], name='grant_issuance_cursors_due')],
            },
        ),
        migrations.CreateModel(
            name='PlanTemplates',
            fields=[
                ('plan_assignment', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='grant_templates', serialize=False, to='billing.planassignment')),
                ('templates', models.JSONField(default=list)),
                ('taken_at', models.DateTimeField()),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
            ],
            options={
                'verbose_name': 'templates of a plan assignment',
                'verbose_name_plural': 'templates of plan assignments',
                'db_table': 'grant_plan_templates',
                'constraints': [models.CheckConstraint(condition=models.Q(('templates__contains', [])), name='grant_plan_templates_are_a_list')],
            },
        ),
        references(
            "grant_issuance_cursors",
            "realm_id, account_id, user_id, assignment_id",
            "grant_assignments",
            "realm_id, account_id, user_id, id",
            name="grant_issuance_cursor_of_its_users_assignment",
        ),
        references(
            "grant_enrollments",
            "realm_id, account_id, user_id",
            "billing_users",
            "realm_id, account_id, id",
            name="grant_enrollment_of_a_user_of_its_account",
        ),
        same_realm(
            "grant_plan_templates", "plan_assignment_id", "billing_plan_assignments"
        ),
        immutable(
            "grant_issuance_cursors", "realm_id, account_id, user_id, assignment_id"
        ),
        immutable("grant_enrollments", "realm_id, account_id, user_id"),
        immutable("grant_plan_templates", "realm_id, plan_assignment_id"),
        set_once("grant_assignments", "anchored_at"),
    ]
