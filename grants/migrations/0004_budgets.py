"""Budgets, which cap a user's spending on a piece of work, and the gate's way there."""

from pathlib import Path

import config.kernel.ids
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
import simple_history.models
from django.db import migrations, models

from config.tenancy.operations import audited, immutable, kept, references, set_once

SQL = Path(__file__).resolve().parents[1] / "sql" / "budgets.sql"
DROP = """
DROP FUNCTION grants_budget, grants_lock_budget, grants_hold_budget,
    grants_settle_budget;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0004_contracts'),
        ('grants', '0003_funding'),
        ('tenancy', '0006_credential_version'),
    ]

    operations = [
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('reference', models.TextField(help_text='The name that callers know it by; its own id where they gave none.')),
                ('name', models.TextField(blank=True, default='')),
                ('scope_kind', models.TextField(choices=[('global', 'Every feature'), ('feature', 'One feature'), ('feature_set', 'Some features')], default='global')),
                ('feature_codes', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), help_text='Empty means every feature.', null=True, size=None)),
                ('limit_xusd', models.BigIntegerField(help_text='Empty means unlimited.', null=True)),
                ('consumed_xusd', models.BigIntegerField(default=0)),
                ('reserved_xusd', models.BigIntegerField(default=0)),
                ('window_start', models.DateTimeField(help_text='Empty means that it has always held.', null=True)),
                ('window_end', models.DateTimeField(help_text='Empty means open: it never ends.', null=True)),
                ('closed_at', models.DateTimeField(null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to='billing.billingaccount')),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to='billing.billinguser')),
            ],
            options={
                'db_table': 'budgets',
                'constraints': [models.UniqueConstraint(fields=('realm', 'account', 'user', 'id'), name='budget_of_one_user'), models.UniqueConstraint(fields=('realm', 'user', 'reference'), name='budget_reference_once_per_user', violation_error_message='This user already has a budget of that name.'), models.CheckConstraint(condition=models.Q(('reference__regex', '\\A.{1,255}\\Z'), ('reference__regex', '\\S')), name='budget_reference_is_1_to_255_characters', violation_error_message='A reference has 1 to 255 characters.'), models.CheckConstraint(condition=models.Q(('scope_kind__in', ['global', 'feature', 'feature_set'])), name='budget_scope_is_known', violation_error_message='Must be one of global, feature, feature_set.'), models.CheckConstraint(condition=models.Q(models.Q(('feature_codes__isnull', True), ('scope_kind', 'global')), models.Q(('feature_codes__isnull', False), ('feature_codes__len', 1), ('scope_kind', 'feature')), models.Q(('feature_codes__isnull', False), ('feature_codes__len__gte', 1), ('scope_kind', 'feature_set')), models.Q(('scope_kind__in', ['global', 'feature', 'feature_set']), _negated=True), _connector='OR'), name='budget_features_fit_its_scope', violation_error_message='A scoped budget names its features.'), models.CheckConstraint(condition=models.Q(('consumed_xusd__gte', 0), ('reserved_xusd__gte', 0), models.Q(('limit_xusd__isnull', True), ('limit_xusd__gte', 0), _connector='OR')), name='budget_amounts_are_not_negative', violation_error_message='The amounts of a budget are 0 or more.'), models.CheckConstraint(condition=models.Q(('limit_xusd__isnull', True), ('reserved_xusd__lte', models.F('limit_xusd')), _connector='OR'), name='budget_reserves_within_its_limit', violation_error_code='BUDGET.EXHAUSTED', violation_error_message='A budget reserves no more than its limit.'), models.CheckConstraint(condition=models.Q(('consumed_xusd__lte', django.db.models.expressions.CombinedExpression(models.Value(9223372036854775807), '-', models.F('reserved_xusd')))), name='budget_fits_64_bits', violation_error_message='The amounts of a budget have 64 bits.'), models.CheckConstraint(condition=models.Q(('window_end__isnull', True), ('window_start__isnull', True), ('window_end__gt', models.F('window_start')), _connector='OR'), name='budget_window_not_empty', violation_error_message='A window must end after it starts.'), models.CheckConstraint(condition=models.Q(('metadata__contains', {})), name='budget_metadata_is_object', violation_error_message='Must be a JSON object.')],
            },
        ),
        migrations.CreateModel(
            name='HistoricalBudget',
            fields=[
                ('id', models.UUIDField(db_index=True, default=config.kernel.ids.new_id, editable=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('actor_kind', models.TextField()),
                ('actor_id', models.TextField()),
                ('operator', models.TextField()),
                ('reason', models.TextField()),
                ('ticket_id', models.TextField()),
                ('effective_at', models.DateTimeField()),
                ('trace_id', models.TextField()),
                ('idempotency_key', models.TextField(null=True)),
                ('reference', models.TextField(help_text='The name that callers know it by; its own id where they gave none.')),
                ('name', models.TextField(blank=True, default='')),
                ('scope_kind', models.TextField(choices=[('global', 'Every feature'), ('feature', 'One feature'), ('feature_set', 'Some features')], default='global')),
                ('feature_codes', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), help_text='Empty means every feature.', null=True, size=None)),
                ('limit_xusd', models.BigIntegerField(help_text='Empty means unlimited.', null=True)),
                ('window_start', models.DateTimeField(help_text='Empty means that it has always held.', null=True)),
                ('window_end', models.DateTimeField(help_text='Empty means open: it never ends.', null=True)),
                ('closed_at', models.DateTimeField(null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField()),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('account', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.billingaccount')),
                ('realm', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.billinguser')),
            ],
            options={
                'verbose_name': 'historical budget',
                'verbose_name_plural': 'historical budgets',
                'db_table': 'budgets_history',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
                'constraints': [models.CheckConstraint(condition=models.Q(('operator__regex', '\\S'), ('reason__regex', '\\S'), ('ticket_id__regex', '\\S')), name='budgets_history_is_explained')],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        references(
            "budgets",
            "realm_id, account_id, user_id",
            "billing_users",
            "realm_id, account_id, id",
            name="budget_of_a_user_of_its_account",
        ),
        # What the gate counts on a budget has its record in leases and ratings.
        audited("budgets", ignored="updated_at,consumed_xusd,reserved_xusd"),
        immutable(
            "budgets",
            "realm_id, account_id, user_id, reference, scope_kind, feature_codes, "
            "limit_xusd, window_start, window_end",
        ),
        set_once("budgets", "closed_at"),
        kept("budgets"),
        # Room on each page for the next version of a row, so that an update of the
        # amounts touches no index.
        migrations.RunSQL(
            "ALTER TABLE budgets SET (fillfactor = 70);",
            "ALTER TABLE budgets RESET (fillfactor);",
        ),
        migrations.RunSQL(SQL.read_text(), DROP),
    ]
