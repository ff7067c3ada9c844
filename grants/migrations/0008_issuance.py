"""Where issuance goes on, what plans bring, and who was given it.

Realms that are there already get the built-in programs. What their plan assignments
bring is taken now, so that a later edit of a plan changes nothing for its holders.
"""

import django.db.models.deletion
from django.db import migrations, models

from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.kernel.metadata import PlanMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.operations import immutable, references, same_realm, set_once
from grants.bindings import stored_templates, templates_of

BATCH = 1_000
YEAR_SECONDS = 365 * 86_400
PROGRAMS = (
    ("one_time_xusd", "One-time credit", "once", "binding_start", "fixed", YEAR_SECONDS, 10, True, "grant"),
    ("daily_xusd", "Daily credit", "daily", "calendar_start", "period", None, 50, False, "grant"),
    ("weekly_xusd", "Weekly credit", "weekly", "calendar_start", "period", None, 50, False, "grant"),
    ("monthly_xusd", "Monthly credit", "monthly", "calendar_start", "period", None, 20, True, "grant"),
    ("period_xusd", "Credit of a billing period", "billing_period", "calendar_start", "period", None, 20, True, "grant"),
    ("quarterly_xusd", "Quarterly credit", "quarterly", "calendar_start", "period", None, 20, True, "grant"),
    ("yearly_xusd", "Yearly credit", "yearly", "calendar_start", "period", None, 50, True, "grant"),
    ("fallback-cash", "Overage", "once", "calendar_start", "forever", None, -100_000, False, "fallback"),
)
COLUMNS = (
    "program_code", "name", "cadence", "issue_anchor", "window_kind",
    "window_default_seconds", "priority", "on_ledger", "grant_kind",
)
METADATA = {"monthly_xusd": {"expiry_policy": "forfeit"}}


def give(apps, schema_editor):
    at = now()
    by = AuditContext(
        actor=Actor("system", "migration"),
        operator="Plangate",
        reason="Every realm has the built-in grant programs.",
        ticket_id="0008_issuance",
        effective_at=at,
        trace_id=new_trace_id(),
    )
    program = apps.get_model("grants", "GrantProgram")
    rows = [
        program(
            realm_id=realm_id,
            metadata=METADATA.get(terms[0], {}),
            **dict(zip(COLUMNS, terms, strict=True)),
        )
        for realm_id in apps.get_model("tenancy", "Realm").objects.values_list("pk", flat=True)
        for terms in PROGRAMS
    ]
    with auditing(by, at=at):
        program.objects.bulk_create(rows, BATCH, ignore_conflicts=True)
    freeze(apps, at)


def freeze(apps, at):
    templates = apps.get_model("grants", "PlanTemplates")
    brought = {}
    for plan in apps.get_model("billing", "Plan").objects.filter(active=True):
        known = check_metadata(PlanMetadata, plan.metadata).known
        brought[plan.pk] = stored_templates(templates_of(known.grants))
    assignments = apps.get_model("billing", "PlanAssignment").objects
    rows = (
        templates(
            plan_assignment_id=pk, realm_id=realm, templates=brought[plan], taken_at=at
        )
        for pk, realm, plan in assignments.values_list("pk", "realm_id", "plan_id").iterator()
        if plan in brought
    )
    templates.objects.bulk_create(rows, BATCH, ignore_conflicts=True)


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
        migrations.RunPython(give, migrations.RunPython.noop),
    ]
