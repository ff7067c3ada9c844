"""Programs, campaigns, assignments, lots, allocations, and the double-entry ledger."""

import config.kernel.ids
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import simple_history.models
from django.db import migrations, models


from config.tenancy.operations import (
    append_only,
    audited,
    immutable,
    kept,
    references,
    same_realm,
    set_once,
    sound,
    whole,
)

OWNER = "realm_id, account_id, user_id"
LOT_MONEY = "consumed_xusd,settled_xusd,reserved_xusd,paid_xusd"
LOT_TERMS = (
    "program_id, assignment_id, carried_from_id, period_start, period_end, alloc_seq, "
    "issue_key, source_kind, source_ref, on_ledger, kind, window_start, "
    "outstanding_policy"
)
LOT_DECIDED = (
    "status, priority, amount_xusd, window_end, closure_kind, closed_at, "
    "closed_remaining_xusd, metadata"
)
LOTS = (
    "amount_xusd bigint, consumed_xusd bigint, settled_xusd bigint, "
    "reserved_xusd bigint, paid_xusd bigint, kind text, status text, closure_kind text, "
    "closed_at timestamptz, closed_remaining_xusd bigint, window_start timestamptz, "
    "window_end timestamptz, period_start timestamptz, period_end timestamptz, "
    "source_kind text, outstanding_policy text, assignment_id uuid, "
    "carried_from_id uuid, source_ref text, issue_key text, metadata jsonb",
    {
        "grant_lot_amounts_are_not_negative": "amount_xusd >= 0 AND consumed_xusd >= 0"
        " AND settled_xusd >= 0 AND reserved_xusd >= 0 AND paid_xusd >= 0",
        # Differences, because a sum of two large amounts would overflow.
        "grant_lot_is_never_overdrawn": "kind = 'fallback' OR status = 'canceled'"
        " OR consumed_xusd <= amount_xusd - reserved_xusd",
        "grant_lot_revoked_is_never_spent": "status <> 'canceled'"
        " OR consumed_xusd = amount_xusd - closed_remaining_xusd",
        "grant_lot_settles_what_was_consumed": "settled_xusd <= consumed_xusd",
        "grant_lot_of_overage_was_given_nothing": "kind <> 'fallback'"
        " OR amount_xusd = 0 AND reserved_xusd = 0 AND assignment_id IS NULL",
        "grant_lot_of_overage_only_is_paid": "paid_xusd = 0"
        " OR kind = 'fallback' AND paid_xusd <= consumed_xusd",
        "grant_lot_has_an_assignment_unless_overage": "kind = 'fallback'"
        " OR assignment_id IS NOT NULL",
        "grant_lot_closed_when_told": "(status IN ('closed', 'canceled'))"
        " = (closed_at IS NOT NULL) AND (closed_at IS NULL)"
        " = (closed_remaining_xusd IS NULL) AND (closed_at IS NULL)"
        " = (closure_kind IS NULL)",
        "grant_lot_closed_holds_nothing": "status <> 'closed' OR reserved_xusd = 0"
        " AND (kind = 'fallback'"
        " OR closed_remaining_xusd = amount_xusd - consumed_xusd)",
        "grant_lot_window_not_empty": "window_end IS NULL OR window_end > window_start",
        "grant_lot_period_not_empty": "period_end IS NULL OR period_start IS NULL"
        " OR period_end > period_start",
        "grant_lot_status_is_known": "status IN ('ready', 'active', 'suspended',"
        " 'pending_close', 'closed', 'canceled')",
        "grant_lot_kind_is_known": "kind IN ('grant', 'sponsorship', 'promo', 'credit',"
        " 'cash', 'wallet', 'rollover', 'nonexpiring', 'fallback', 'other')",
        "grant_lot_source_is_known": "source_kind IN ('provider.subscription',"
        " 'provider.subscription_item', 'provider.one_time', 'billing_payment',"
        " 'wallet.cash', 'ops.campaign', 'ops.manual', 'internal.catalog',"
        " 'billing_plan_assignment')",
        "grant_lot_closure_is_known": "closure_kind IN ('forfeit', 'refund',"
        " 'carryover', 'none')",
        "grant_lot_outstanding_policy_is_known": "outstanding_policy IN ('never',"
        " 'apply_to_outstanding')",
        "grant_lot_source_ref_is_1_to_255_characters":
            r"source_ref ~ '\A.{1,255}\Z' AND source_ref ~ '\S'",
        "grant_lot_issue_key_is_not_blank": r"issue_key ~ '\S'",
        "grant_lot_metadata_is_object": "jsonb_typeof(metadata) = 'object'",
    },
)
ALLOCATIONS = (
    "amount_xusd bigint, source_ref text, lot_id uuid, posting_id uuid",
    {
        "grant_allocation_takes_an_amount": "amount_xusd > 0",
        "grant_allocation_source_is_1_to_255_characters":
            r"source_ref ~ '\A.{1,255}\Z' AND source_ref ~ '\S'",
        "grant_allocation_settled_has_its_lot": "posting_id IS NULL"
        " OR lot_id IS NOT NULL",
    },
)
NOBODYS = """
CREATE FUNCTION grant_allocation_of_a_user_of_its_account() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM billing_users
    WHERE realm_id = NEW.realm_id AND account_id = NEW.account_id AND id = NEW.user_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the allocation % is of no user', NEW.id
            USING ERRCODE = 'foreign_key_violation',
                CONSTRAINT = 'grant_allocation_of_a_user_of_its_account';
    END IF;
    RETURN NULL;
END $$;
-- Where there is a lot, the key to it says the same.
CREATE CONSTRAINT TRIGGER grant_allocation_of_a_user_of_its_account
    AFTER INSERT ON grant_allocations
    DEFERRABLE INITIALLY IMMEDIATE
    FOR EACH ROW WHEN (NEW.lot_id IS NULL)
    EXECUTE FUNCTION grant_allocation_of_a_user_of_its_account();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0004_contracts'),
        ('grants', '0005_narrow_identity'),
        ('tenancy', '0006_credential_version'),
    ]

    operations = [
        migrations.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seq', models.BigIntegerField()),
                ('amount_xusd', models.BigIntegerField()),
                ('balance_xusd', models.BigIntegerField()),
                ('occurred_at', models.DateTimeField()),
                ('account', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingaccount')),
            ],
            options={
                'verbose_name': 'ledger entry',
                'verbose_name_plural': 'ledger entries',
                'db_table': 'ledger_entries',
            },
        ),
        migrations.CreateModel(
            name='GrantCampaign',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('window_start', models.DateTimeField()),
                ('window_end', models.DateTimeField(blank=True, help_text='Empty means open: it never ends.', null=True)),
                ('name', models.TextField()),
                ('status', models.TextField(choices=[('scheduled', 'Scheduled'), ('active', 'Active'), ('paused', 'Paused'), ('ended', 'Ended')], default='scheduled')),
                ('event_type', models.TextField(blank=True, help_text='Empty means: not by event, but by target.', null=True)),
                ('payload_match', models.JSONField(blank=True, default=dict)),
                ('assignment_trigger', models.TextField(blank=True, choices=[('first_match', 'Once per user'), ('every_match', 'Once per matching event')], null=True)),
                ('target_filter', models.JSONField(blank=True, default=dict)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
            ],
            options={
                'verbose_name': 'campaign',
                'db_table': 'grant_campaigns',
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='GrantAssignment',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('window_start', models.DateTimeField()),
                ('window_end', models.DateTimeField(blank=True, help_text='Empty means open: it never ends.', null=True)),
                ('payment_id', models.UUIDField(blank=True, null=True)),
                ('source_kind', models.TextField(choices=[('provider.subscription', 'Subscription'), ('provider.subscription_item', 'Subscription item'), ('provider.one_time', 'One-time purchase'), ('billing_payment', 'Payment'), ('wallet.cash', 'Cash top-up'), ('ops.campaign', 'Campaign'), ('ops.manual', 'Support or operations'), ('internal.catalog', 'Eligibility'), ('billing_plan_assignment', 'Plan')])),
                ('source_ref', models.TextField(help_text="The source's own id: plan assignment, campaign, order, ticket.")),
                ('status', models.TextField(choices=[('active', 'Active'), ('paused', 'Paused'), ('canceled', 'Canceled'), ('expired', 'Expired')], default='active')),
                ('amount_xusd', models.BigIntegerField(blank=True, help_text='Empty means: what the program gives.', null=True)),
                ('quantity', models.BigIntegerField(default=1, help_text='How many were bought; multiplies a scaling amount.')),
                ('outstanding_policy_override', models.TextField(blank=True, choices=[('never', 'Never pays what is owed'), ('apply_to_outstanding', 'First pays what is owed')], null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='grant_assignments', to='billing.billingaccount')),
                ('plan_assignment', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='grants', to='billing.planassignment')),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='grant_assignments', to='billing.billinguser')),
                ('campaign', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='grants.grantcampaign')),
            ],
            options={
                'verbose_name': 'grant assignment',
                'db_table': 'grant_assignments',
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='GrantProgram',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('program_code', models.TextField()),
                ('name', models.TextField(blank=True, default='')),
                ('active', models.BooleanField(default=True, help_text='Whether plans and eligibility may bind it anew.')),
                ('cadence', models.TextField(choices=[('once', 'Once'), ('daily', 'Every day'), ('weekly', 'Every week'), ('monthly', 'Every month'), ('quarterly', 'Every quarter'), ('yearly', 'Every year'), ('billing_period', 'Every billing period')])),
                ('issue_anchor', models.TextField(choices=[('calendar_start', 'The calendar'), ('binding_start', 'The start of the assignment'), ('first_use', 'The first use'), ('billing_period_start', 'The billing period')], default='calendar_start')),
                ('grant_kind', models.TextField(choices=[('grant', 'Grant'), ('sponsorship', 'Sponsorship'), ('promo', 'Promotion'), ('credit', 'Credit'), ('cash', 'Cash'), ('wallet', 'Wallet'), ('rollover', 'Carried over'), ('nonexpiring', 'Without end'), ('fallback', 'Overage'), ('other', 'Other')], default='grant')),
                ('amount_xusd', models.BigIntegerField(default=0, help_text='In millionths of a US dollar, where a binding says none.')),
                ('window_kind', models.TextField(choices=[('period', 'Its period'), ('fixed', 'As long as the assignment'), ('forever', 'Forever'), ('relative_duration', 'So many seconds')], default='period')),
                ('window_default_seconds', models.BigIntegerField(blank=True, help_text='How long lots of a relative window last.', null=True)),
                ('priority', models.IntegerField(default=0, help_text='Among lots that end together the higher is spent first.')),
                ('on_ledger', models.BooleanField(default=False, help_text='Whether its lots count as money paid for.')),
                ('outstanding_application_policy', models.TextField(choices=[('never', 'Never pays what is owed'), ('apply_to_outstanding', 'First pays what is owed')], default='never', help_text='Whether a new lot first pays what its user owes.')),
                ('issuance_mode', models.TextField(choices=[('eager', 'At once, and by the sweep'), ('lazy', 'Only when asked for'), ('hybrid', 'Both')], default='eager')),
                ('periodic_accounting', models.BooleanField(default=False)),
                ('accrual_mode', models.TextField(blank=True, choices=[('full_at_period_start', 'All at the start of the period'), ('earn_daily', 'Day by day')], null=True)),
                ('eligibility_kind', models.TextField(choices=[('manual', 'Nobody'), ('all_accounts', 'Every user'), ('subscription_group', 'Subscribers of a group')], default='manual')),
                ('eligibility_payload', models.JSONField(blank=True, default=dict)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
            ],
            options={
                'verbose_name': 'grant program',
                'db_table': 'grant_programs',
            },
        ),
        migrations.CreateModel(
            name='GrantLot',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('window_start', models.DateTimeField()),
                ('window_end', models.DateTimeField(blank=True, help_text='Empty means open: it never ends.', null=True)),
                ('period_start', models.DateTimeField(blank=True, null=True)),
                ('period_end', models.DateTimeField(blank=True, null=True)),
                ('alloc_seq', models.IntegerField(default=0)),
                ('issue_key', models.TextField(help_text='What it was issued for, once per user.')),
                ('source_kind', models.TextField(choices=[('provider.subscription', 'Subscription'), ('provider.subscription_item', 'Subscription item'), ('provider.one_time', 'One-time purchase'), ('billing_payment', 'Payment'), ('wallet.cash', 'Cash top-up'), ('ops.campaign', 'Campaign'), ('ops.manual', 'Support or operations'), ('internal.catalog', 'Eligibility'), ('billing_plan_assignment', 'Plan')])),
                ('source_ref', models.TextField()),
                ('on_ledger', models.BooleanField(default=False)),
                ('status', models.TextField(choices=[('ready', 'Ready'), ('active', 'Active'), ('suspended', 'Suspended'), ('pending_close', 'Ended, about to close'), ('closed', 'Closed'), ('canceled', 'Revoked')], default='ready')),
                ('kind', models.TextField(choices=[('grant', 'Grant'), ('sponsorship', 'Sponsorship'), ('promo', 'Promotion'), ('credit', 'Credit'), ('cash', 'Cash'), ('wallet', 'Wallet'), ('rollover', 'Carried over'), ('nonexpiring', 'Without end'), ('fallback', 'Overage'), ('other', 'Other')], default='grant')),
                ('priority', models.IntegerField(default=0)),
                ('outstanding_policy', models.TextField(choices=[('never', 'Never pays what is owed'), ('apply_to_outstanding', 'First pays what is owed')], default='never')),
                ('amount_xusd', models.BigIntegerField()),
                ('consumed_xusd', models.BigIntegerField(default=0)),
                ('settled_xusd', models.BigIntegerField(default=0)),
                ('reserved_xusd', models.BigIntegerField(default=0)),
                ('paid_xusd', models.BigIntegerField(default=0)),
                ('closure_kind', models.TextField(blank=True, choices=[('forfeit', 'Forfeited'), ('refund', 'Refunded'), ('carryover', 'Carried over'), ('none', 'Nothing left, or kept')], null=True)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('closed_remaining_xusd', models.BigIntegerField(blank=True, null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('account', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='grant_lots', to='billing.billingaccount')),
                ('assignment', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='lots', to='grants.grantassignment')),
                ('carried_from', models.OneToOneField(blank=True, help_text='The ended lot whose rest this is.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='carried_to', to='grants.grantlot')),
                ('realm', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='grant_lots', to='billing.billinguser')),
                ('program', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='lots', to='grants.grantprogram')),
            ],
            options={
                'verbose_name': 'grant',
                'db_table': 'grant_lots',
                'abstract': False,
            },
        ),
        migrations.AddField(
            model_name='grantassignment',
            name='program',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='grants.grantprogram'),
        ),
        migrations.CreateModel(
            name='HistoricalGrantAssignment',
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
                ('window_start', models.DateTimeField()),
                ('window_end', models.DateTimeField(blank=True, help_text='Empty means open: it never ends.', null=True)),
                ('payment_id', models.UUIDField(blank=True, null=True)),
                ('source_kind', models.TextField(choices=[('provider.subscription', 'Subscription'), ('provider.subscription_item', 'Subscription item'), ('provider.one_time', 'One-time purchase'), ('billing_payment', 'Payment'), ('wallet.cash', 'Cash top-up'), ('ops.campaign', 'Campaign'), ('ops.manual', 'Support or operations'), ('internal.catalog', 'Eligibility'), ('billing_plan_assignment', 'Plan')])),
                ('source_ref', models.TextField(help_text="The source's own id: plan assignment, campaign, order, ticket.")),
                ('status', models.TextField(choices=[('active', 'Active'), ('paused', 'Paused'), ('canceled', 'Canceled'), ('expired', 'Expired')], default='active')),
                ('amount_xusd', models.BigIntegerField(blank=True, help_text='Empty means: what the program gives.', null=True)),
                ('quantity', models.BigIntegerField(default=1, help_text='How many were bought; multiplies a scaling amount.')),
                ('outstanding_policy_override', models.TextField(blank=True, choices=[('never', 'Never pays what is owed'), ('apply_to_outstanding', 'First pays what is owed')], null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField()),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('account', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.billingaccount')),
                ('campaign', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='grants.grantcampaign')),
                ('plan_assignment', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.planassignment')),
                ('program', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='grants.grantprogram')),
                ('realm', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.billinguser')),
            ],
            options={
                'verbose_name': 'historical grant assignment',
                'verbose_name_plural': 'historical grant assignments',
                'db_table': 'grant_assignments_history',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalGrantCampaign',
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
                ('window_start', models.DateTimeField()),
                ('window_end', models.DateTimeField(blank=True, help_text='Empty means open: it never ends.', null=True)),
                ('name', models.TextField()),
                ('status', models.TextField(choices=[('scheduled', 'Scheduled'), ('active', 'Active'), ('paused', 'Paused'), ('ended', 'Ended')], default='scheduled')),
                ('event_type', models.TextField(blank=True, help_text='Empty means: not by event, but by target.', null=True)),
                ('payload_match', models.JSONField(blank=True, default=dict)),
                ('assignment_trigger', models.TextField(blank=True, choices=[('first_match', 'Once per user'), ('every_match', 'Once per matching event')], null=True)),
                ('target_filter', models.JSONField(blank=True, default=dict)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField()),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('realm', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenancy.realm')),
            ],
            options={
                'verbose_name': 'historical campaign',
                'verbose_name_plural': 'historical campaigns',
                'db_table': 'grant_campaigns_history',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalGrantLot',
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
                ('window_start', models.DateTimeField()),
                ('window_end', models.DateTimeField(blank=True, help_text='Empty means open: it never ends.', null=True)),
                ('period_start', models.DateTimeField(blank=True, null=True)),
                ('period_end', models.DateTimeField(blank=True, null=True)),
                ('alloc_seq', models.IntegerField(default=0)),
                ('issue_key', models.TextField(help_text='What it was issued for, once per user.')),
                ('source_kind', models.TextField(choices=[('provider.subscription', 'Subscription'), ('provider.subscription_item', 'Subscription item'), ('provider.one_time', 'One-time purchase'), ('billing_payment', 'Payment'), ('wallet.cash', 'Cash top-up'), ('ops.campaign', 'Campaign'), ('ops.manual', 'Support or operations'), ('internal.catalog', 'Eligibility'), ('billing_plan_assignment', 'Plan')])),
                ('source_ref', models.TextField()),
                ('on_ledger', models.BooleanField(default=False)),
                ('status', models.TextField(choices=[('ready', 'Ready'), ('active', 'Active'), ('suspended', 'Suspended'), ('pending_close', 'Ended, about to close'), ('closed', 'Closed'), ('canceled', 'Revoked')], default='ready')),
                ('kind', models.TextField(choices=[('grant', 'Grant'), ('sponsorship', 'Sponsorship'), ('promo', 'Promotion'), ('credit', 'Credit'), ('cash', 'Cash'), ('wallet', 'Wallet'), ('rollover', 'Carried over'), ('nonexpiring', 'Without end'), ('fallback', 'Overage'), ('other', 'Other')], default='grant')),
                ('priority', models.IntegerField(default=0)),
                ('outstanding_policy', models.TextField(choices=[('never', 'Never pays what is owed'), ('apply_to_outstanding', 'First pays what is owed')], default='never')),
                ('amount_xusd', models.BigIntegerField()),
                ('closure_kind', models.TextField(blank=True, choices=[('forfeit', 'Forfeited'), ('refund', 'Refunded'), ('carryover', 'Carried over'), ('none', 'Nothing left, or kept')], null=True)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('closed_remaining_xusd', models.BigIntegerField(blank=True, null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField()),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('account', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.billingaccount')),
                ('assignment', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='grants.grantassignment')),
                ('carried_from', models.ForeignKey(blank=True, db_constraint=False, help_text='The ended lot whose rest this is.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='grants.grantlot')),
                ('program', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='grants.grantprogram')),
                ('realm', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.billinguser')),
            ],
            options={
                'verbose_name': 'historical grant',
                'verbose_name_plural': 'historical grants',
                'db_table': 'grant_lots_history',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalGrantProgram',
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
                ('program_code', models.TextField()),
                ('name', models.TextField(blank=True, default='')),
                ('active', models.BooleanField(default=True, help_text='Whether plans and eligibility may bind it anew.')),
                ('cadence', models.TextField(choices=[('once', 'Once'), ('daily', 'Every day'), ('weekly', 'Every week'), ('monthly', 'Every month'), ('quarterly', 'Every quarter'), ('yearly', 'Every year'), ('billing_period', 'Every billing period')])),
                ('issue_anchor', models.TextField(choices=[('calendar_start', 'The calendar'), ('binding_start', 'The start of the assignment'), ('first_use', 'The first use'), ('billing_period_start', 'The billing period')], default='calendar_start')),
                ('grant_kind', models.TextField(choices=[('grant', 'Grant'), ('sponsorship', 'Sponsorship'), ('promo', 'Promotion'), ('credit', 'Credit'), ('cash', 'Cash'), ('wallet', 'Wallet'), ('rollover', 'Carried over'), ('nonexpiring', 'Without end'), ('fallback', 'Overage'), ('other', 'Other')], default='grant')),
                ('amount_xusd', models.BigIntegerField(default=0, help_text='In millionths of a US dollar, where a binding says none.')),
                ('window_kind', models.TextField(choices=[('period', 'Its period'), ('fixed', 'As long as the assignment'), ('forever', 'Forever'), ('relative_duration', 'So many seconds')], default='period')),
                ('window_default_seconds', models.BigIntegerField(blank=True, help_text='How long lots of a relative window last.', null=True)),
                ('priority', models.IntegerField(default=0, help_text='Among lots that end together the higher is spent first.')),
                ('on_ledger', models.BooleanField(default=False, help_text='Whether its lots count as money paid for.')),
                ('outstanding_application_policy', models.TextField(choices=[('never', 'Never pays what is owed'), ('apply_to_outstanding', 'First pays what is owed')], default='never', help_text='Whether a new lot first pays what its user owes.')),
                ('issuance_mode', models.TextField(choices=[('eager', 'At once, and by the sweep'), ('lazy', 'Only when asked for'), ('hybrid', 'Both')], default='eager')),
                ('periodic_accounting', models.BooleanField(default=False)),
                ('accrual_mode', models.TextField(blank=True, choices=[('full_at_period_start', 'All at the start of the period'), ('earn_daily', 'Day by day')], null=True)),
                ('eligibility_kind', models.TextField(choices=[('manual', 'Nobody'), ('all_accounts', 'Every user'), ('subscription_group', 'Subscribers of a group')], default='manual')),
                ('eligibility_payload', models.JSONField(blank=True, default=dict)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField()),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('realm', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenancy.realm')),
            ],
            options={
                'verbose_name': 'historical grant program',
                'verbose_name_plural': 'historical grant programs',
                'db_table': 'grant_programs_history',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='LedgerAccount',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('kind', models.TextField(choices=[('wallet', 'Paid money'), ('promotional', 'Promotional credit'), ('issued', 'Given'), ('consumed', 'Used'), ('outstanding', 'Owed'), ('forfeited', 'Forfeited'), ('refunded', 'Refunded'), ('adjusted', 'Adjusted')])),
                ('balance_xusd', models.BigIntegerField(default=0)),
                ('entry_count', models.BigIntegerField(default=0)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingaccount')),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='ledger_accounts', to='billing.billinguser')),
            ],
            options={
                'verbose_name': 'ledger account',
                'db_table': 'ledger_accounts',
            },
        ),
        migrations.CreateModel(
            name='LedgerSeal',
            fields=[
                ('entry', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='seal', serialize=False, to='grants.ledgerentry')),
                ('seq', models.BigIntegerField()),
                ('hash', models.BinaryField()),
                ('sealed_at', models.DateTimeField()),
            ],
            options={
                'verbose_name': 'seal',
                'db_table': 'ledger_seals',
            },
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='ledger_account',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='grants.ledgeraccount'),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='lot',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='grants.grantlot'),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='realm',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm'),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='user',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='ledger_entries', to='billing.billinguser'),
        ),
        migrations.CreateModel(
            name='Posting',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('reason', models.TextField(choices=[('issue', 'Given'), ('consumption', 'Used'), ('forfeit', 'Forfeited'), ('refund', 'Refunded'), ('carryover', 'Carried over'), ('revocation', 'Revoked'), ('payment', 'Paid what was owed'), ('adjustment', 'Adjusted'), ('reversal', 'Reversed')])),
                ('source_ref', models.TextField()),
                ('idempotency_key', models.TextField()),
                ('actor_kind', models.TextField()),
                ('actor_id', models.TextField()),
                ('operator', models.TextField()),
                ('explanation', models.TextField()),
                ('ticket_id', models.TextField()),
                ('trace_id', models.TextField()),
                ('effective_at', models.DateTimeField()),
                ('occurred_at', models.DateTimeField()),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingaccount')),
                ('realm', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('reverses', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reversed_by', to='grants.posting')),
                ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='postings', to='billing.billinguser')),
            ],
            options={
                'verbose_name': 'posting',
                'db_table': 'ledger_postings',
            },
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='posting',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='grants.posting'),
        ),
        migrations.CreateModel(
            name='GrantAllocation',
            fields=[
                ('id', models.UUIDField(default=config.kernel.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('amount_xusd', models.BigIntegerField()),
                ('source_ref', models.TextField(help_text='What was paid for.')),
                ('occurred_at', models.DateTimeField()),
                ('account', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingaccount')),
                ('realm', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='grant_allocations', to='billing.billinguser')),
                ('lot', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='allocations', to='grants.grantlot')),
                ('posting', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='allocations', to='grants.posting')),
            ],
            options={
                'verbose_name': 'allocation',
                'db_table': 'grant_allocations',
            },
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('window_end__isnull', True), ('window_end__gt', models.F('window_start')), _connector='OR'), name='grantcampaign_window_not_empty', violation_error_message='A window must end after it starts.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.UniqueConstraint(fields=('realm', 'id'), name='grant_campaign_in_one_realm'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.UniqueConstraint(models.F('realm'), django.db.models.functions.text.Lower('name'), name='grant_campaign_name_once_per_realm', violation_error_message='This realm already has a campaign of that name.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('name__regex', '\\S')), name='grant_campaign_has_a_name', violation_error_message='Name the campaign.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['scheduled', 'active', 'paused', 'ended'])), name='grant_campaign_status_is_known', violation_error_message='Must be one of scheduled, active, paused, ended.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('assignment_trigger__in', ['first_match', 'every_match'])), name='grant_campaign_trigger_is_known', violation_error_message='Must be one of first_match, every_match.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('assignment_trigger__isnull', True), ('event_type__isnull', True)), models.Q(('assignment_trigger__isnull', False), ('event_type__isnull', False)), _connector='OR'), name='grant_campaign_event_has_a_trigger', violation_error_message='A campaign by event says how often it gives to one user.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('event_type__isnull', True), ('event_type__regex', '\\A\\S{1,128}\\Z'), _connector='OR'), name='grant_campaign_event_is_1_to_128_characters', violation_error_message="An event's name has 1 to 128 characters and no spaces."),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', False), ('status', 'ended')), models.Q(models.Q(('status', 'ended'), _negated=True), ('ended_at__isnull', True)), _connector='OR'), name='grant_campaign_ended_when_told', violation_error_message='An ended campaign says when it ended.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('payload_match__contains', {})), name='grant_campaign_payload_match_is_object', violation_error_message='Must be a JSON object.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('target_filter__contains', {})), name='grant_campaign_target_filter_is_object', violation_error_message='Must be a JSON object.'),
        ),
        migrations.AddConstraint(
            model_name='grantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('metadata__contains', {})), name='grant_campaign_metadata_is_object', violation_error_message='Must be a JSON object.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.UniqueConstraint(fields=('realm', 'id'), name='grant_program_in_one_realm'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.UniqueConstraint(fields=('realm', 'program_code'), name='grant_program_code_once_per_realm', violation_error_message='This realm already has a program of that code.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('program_code__regex', '\\A[a-z0-9](?:[a-z0-9._/@:-]{0,126}[a-z0-9])?\\Z')), name='grant_program_code_is_a_code', violation_error_message='A code is 1 to 128 lower-case letters, digits or . _ / @ : - and begins and ends with a letter or digit.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('cadence__in', ['once', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly', 'billing_period'])), name='grant_program_cadence_is_known', violation_error_message='Must be one of once, daily, weekly, monthly, quarterly, yearly, billing_period.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('issue_anchor__in', ['calendar_start', 'binding_start', 'first_use', 'billing_period_start'])), name='grant_program_anchor_is_known', violation_error_message='Must be one of calendar_start, binding_start, first_use, billing_period_start.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('grant_kind__in', ['grant', 'sponsorship', 'promo', 'credit', 'cash', 'wallet', 'rollover', 'nonexpiring', 'fallback', 'other'])), name='grant_program_kind_is_known', violation_error_message='Must be one of grant, sponsorship, promo, credit, cash, wallet, rollover, nonexpiring, fallback, other.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('window_kind__in', ['period', 'fixed', 'forever', 'relative_duration'])), name='grant_program_window_is_known', violation_error_message='Must be one of period, fixed, forever, relative_duration.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('outstanding_application_policy__in', ['never', 'apply_to_outstanding'])), name='grant_program_outstanding_policy_is_known', violation_error_message='Must be one of never, apply_to_outstanding.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('issuance_mode__in', ['eager', 'lazy', 'hybrid'])), name='grant_program_mode_is_known', violation_error_message='Must be one of eager, lazy, hybrid.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('accrual_mode__in', ['full_at_period_start', 'earn_daily'])), name='grant_program_accrual_is_known', violation_error_message='Must be one of full_at_period_start, earn_daily.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('eligibility_kind__in', ['manual', 'all_accounts', 'subscription_group'])), name='grant_program_eligibility_is_known', violation_error_message='Must be one of manual, all_accounts, subscription_group.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('amount_xusd__gte', 0)), name='grant_program_amount_is_not_negative', violation_error_message='An amount is 0 or more.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('window_default_seconds__isnull', True), ('window_default_seconds__gt', 0), _connector='OR'), name='grant_program_window_lasts', violation_error_message='A relative window lasts 1 second or more.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('cadence', 'billing_period'), _negated=True), ('window_kind', 'period'), _connector='OR'), name='grant_program_billing_periods_are_windows', violation_error_message='A program issued per billing period has windows of that period.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('eligibility_payload__contains', {})), name='grant_program_eligibility_payload_is_object', violation_error_message='Must be a JSON object.'),
        ),
        migrations.AddConstraint(
            model_name='grantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('metadata__contains', {})), name='grant_program_metadata_is_object', violation_error_message='Must be a JSON object.'),
        ),
        migrations.AddIndex(
            model_name='grantlot',
            index=models.Index(models.F('realm'), models.F('user'), models.OrderBy(models.F('window_end')), models.OrderBy(models.F('priority'), descending=True), models.OrderBy(models.F('id')), condition=models.Q(('status__in', ['ready', 'active'])), name='grant_lots_in_spend_order'),
        ),
        migrations.AddIndex(
            model_name='grantlot',
            index=models.Index(condition=models.Q(('closure_kind__isnull', True)), fields=['realm', 'window_end', 'id'], name='grant_lots_by_end'),
        ),
        migrations.AddConstraint(
            model_name='grantlot',
            constraint=models.UniqueConstraint(fields=('realm', 'account', 'user', 'id'), name='grant_lot_of_one_user'),
        ),
        migrations.AddConstraint(
            model_name='grantlot',
            constraint=models.UniqueConstraint(fields=('realm', 'user', 'issue_key'), name='grant_lot_once_per_issue_key', violation_error_message='This grant was issued before.'),
        ),
        migrations.AddConstraint(
            model_name='grantlot',
            constraint=models.UniqueConstraint(condition=models.Q(('assignment__isnull', False), ('carried_from__isnull', True)), fields=('realm', 'assignment', 'period_start', 'period_end', 'alloc_seq'), name='grant_lot_once_per_period', nulls_distinct=False, violation_error_message="This period's grant was issued before."),
        ),
        migrations.AddConstraint(
            model_name='grantlot',
            constraint=models.UniqueConstraint(condition=models.Q(('kind', 'fallback')), fields=('realm', 'user', 'period_start', 'period_end'), name='grant_lot_of_overage_once_per_period', nulls_distinct=False, violation_error_message='This period already has its overage.'),
        ),
        migrations.AddIndex(
            model_name='grantassignment',
            index=models.Index(fields=['realm', 'status', 'id'], name='grant_assignments_by_status'),
        ),
        migrations.AddIndex(
            model_name='grantassignment',
            index=models.Index(fields=['realm', 'account', 'user'], name='grant_assignments_by_user'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('window_end__isnull', True), ('window_end__gt', models.F('window_start')), _connector='OR'), name='grantassignment_window_not_empty', violation_error_message='A window must end after it starts.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.UniqueConstraint(fields=('realm', 'account', 'user', 'id'), name='grant_assignment_of_one_user'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.UniqueConstraint(fields=('realm', 'user', 'source_kind', 'source_ref', 'program'), name='grant_assignment_once_per_identity', violation_error_message='This user is already bound to the program under this source.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('source_kind__in', ['provider.subscription', 'provider.subscription_item', 'provider.one_time', 'billing_payment', 'wallet.cash', 'ops.campaign', 'ops.manual', 'internal.catalog', 'billing_plan_assignment'])), name='grant_assignment_source_is_known', violation_error_message='Must be one of provider.subscription, provider.subscription_item, provider.one_time, billing_payment, wallet.cash, ops.campaign, ops.manual, internal.catalog, billing_plan_assignment.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['active', 'paused', 'canceled', 'expired'])), name='grant_assignment_status_is_known', violation_error_message='Must be one of active, paused, canceled, expired.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('outstanding_policy_override__in', ['never', 'apply_to_outstanding'])), name='grant_assignment_outstanding_policy_is_known', violation_error_message='Must be one of never, apply_to_outstanding.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('source_ref__regex', '\\A.{1,255}\\Z'), ('source_ref__regex', '\\S')), name='grant_assignment_source_ref_is_1_to_255_characters', violation_error_message="A source's reference has 1 to 255 characters."),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('plan_assignment__isnull', False), ('source_kind', 'billing_plan_assignment')), models.Q(models.Q(('source_kind', 'billing_plan_assignment'), _negated=True), ('plan_assignment__isnull', True)), _connector='OR'), name='grant_assignment_of_a_plan_iff_by_plan', violation_error_message="A plan's grant names the plan assignment."),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('campaign__isnull', False), ('source_kind', 'ops.campaign')), models.Q(models.Q(('source_kind', 'ops.campaign'), _negated=True), ('campaign__isnull', True)), _connector='OR'), name='grant_assignment_of_a_campaign_iff_by_campaign', violation_error_message="A campaign's grant names the campaign."),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('amount_xusd__isnull', True), ('amount_xusd__gte', 0), _connector='OR'), name='grant_assignment_amount_is_not_negative', violation_error_message='An amount is 0 or more.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('quantity__gte', 1)), name='grant_assignment_quantity_is_1_or_more', violation_error_message='A quantity is 1 or more.'),
        ),
        migrations.AddConstraint(
            model_name='grantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('metadata__contains', {})), name='grant_assignment_metadata_is_object', violation_error_message='Must be a JSON object.'),
        ),
        migrations.AddConstraint(
            model_name='historicalgrantassignment',
            constraint=models.CheckConstraint(condition=models.Q(('operator__regex', '\\S'), ('reason__regex', '\\S'), ('ticket_id__regex', '\\S')), name='grant_assignments_history_is_explained'),
        ),
        migrations.AddConstraint(
            model_name='historicalgrantcampaign',
            constraint=models.CheckConstraint(condition=models.Q(('operator__regex', '\\S'), ('reason__regex', '\\S'), ('ticket_id__regex', '\\S')), name='grant_campaigns_history_is_explained'),
        ),
        migrations.AddConstraint(
            model_name='historicalgrantlot',
            constraint=models.CheckConstraint(condition=models.Q(('operator__regex', '\\S'), ('reason__regex', '\\S'), ('ticket_id__regex', '\\S')), name='grant_lots_history_is_explained'),
        ),
        migrations.AddConstraint(
            model_name='historicalgrantprogram',
            constraint=models.CheckConstraint(condition=models.Q(('operator__regex', '\\S'), ('reason__regex', '\\S'), ('ticket_id__regex', '\\S')), name='grant_programs_history_is_explained'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.UniqueConstraint(fields=('realm', 'account', 'user', 'id'), name='ledger_account_of_one_user'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.UniqueConstraint(fields=('realm', 'user', 'kind'), name='ledger_account_once_per_user_and_kind', violation_error_message='This user already has that ledger account.'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['wallet', 'promotional', 'issued', 'consumed', 'outstanding', 'forfeited', 'refunded', 'adjusted'])), name='ledger_account_kind_is_known', violation_error_message='Must be one of wallet, promotional, issued, consumed, outstanding, forfeited, refunded, adjusted.'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(('entry_count__gte', 0)), name='ledger_account_count_is_not_negative'),
        ),
        migrations.AddField(
            model_name='ledgerseal',
            name='ledger_account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='seals', to='grants.ledgeraccount'),
        ),
        migrations.AddField(
            model_name='ledgerseal',
            name='realm',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.realm'),
        ),
        migrations.AddIndex(
            model_name='posting',
            index=models.Index(fields=['realm', 'user', 'id'], name='postings_by_user'),
        ),
        migrations.AddConstraint(
            model_name='posting',
            constraint=models.UniqueConstraint(fields=('realm', 'account', 'user', 'id'), name='posting_of_one_user'),
        ),
        migrations.AddConstraint(
            model_name='posting',
            constraint=models.UniqueConstraint(fields=('realm', 'user', 'idempotency_key'), name='posting_once_per_idempotency_key', violation_error_message='This idempotency key was posted before.'),
        ),
        migrations.AddConstraint(
            model_name='posting',
            constraint=models.CheckConstraint(condition=models.Q(('reason__in', ['issue', 'consumption', 'forfeit', 'refund', 'carryover', 'revocation', 'payment', 'adjustment', 'reversal'])), name='posting_reason_is_known', violation_error_message='Must be one of issue, consumption, forfeit, refund, carryover, revocation, payment, adjustment, reversal.'),
        ),
        migrations.AddConstraint(
            model_name='posting',
            constraint=models.CheckConstraint(condition=models.Q(('source_ref__regex', '\\A.{1,255}\\Z'), ('source_ref__regex', '\\S')), name='posting_source_is_1_to_255_characters', violation_error_message='A source has 1 to 255 characters.'),
        ),
        migrations.AddConstraint(
            model_name='posting',
            constraint=models.CheckConstraint(condition=models.Q(('actor_id__regex', '\\S'), ('actor_kind__regex', '\\S'), ('explanation__regex', '\\S'), ('idempotency_key__regex', '\\S'), ('operator__regex', '\\S'), ('ticket_id__regex', '\\S'), ('trace_id__regex', '\\S')), name='posting_is_explained', violation_error_message='A posting needs actor, operator, reason, ticket and trace.'),
        ),
        migrations.AddConstraint(
            model_name='posting',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('reason', 'reversal'), ('reverses__isnull', False)), models.Q(models.Q(('reason', 'reversal'), _negated=True), ('reverses__isnull', True)), _connector='OR'), name='posting_reversal_names_what_it_reverses', violation_error_message='A reversal names the posting it reverses.'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.UniqueConstraint(fields=('realm', 'ledger_account', 'seq'), name='ledger_entry_in_sequence'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.CheckConstraint(condition=models.Q(('amount_xusd', 0), _negated=True), name='ledger_entry_moves_an_amount', violation_error_message='An entry moves an amount.'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.CheckConstraint(condition=models.Q(('seq__gte', 1)), name='ledger_entry_is_numbered_from_1'),
        ),
        migrations.AddIndex(
            model_name='grantallocation',
            index=models.Index(condition=models.Q(('posting__isnull', True)), fields=['realm', 'user', 'id'], name='grant_allocations_pending'),
        ),
        migrations.AddIndex(
            model_name='grantallocation',
            index=models.Index(condition=models.Q(('lot__isnull', True)), fields=['realm', 'user'], name='grant_allocations_owed'),
        ),
        migrations.AddIndex(
            model_name='grantallocation',
            index=models.Index(fields=['lot', 'id'], name='grant_allocations_by_lot'),
        ),
        migrations.AddConstraint(
            model_name='grantallocation',
            constraint=models.UniqueConstraint(fields=('realm', 'user', 'source_ref', 'lot'), name='grant_allocation_once_per_source_and_lot', nulls_distinct=False, violation_error_message='This source was paid from this grant before.'),
        ),
        migrations.AddConstraint(
            model_name='ledgerseal',
            constraint=models.UniqueConstraint(fields=('realm', 'ledger_account', 'seq'), name='ledger_seal_in_sequence'),
        ),
        *(
            references(
                table,
                OWNER,
                "billing_users",
                "realm_id, account_id, id",
                name=f"{name}_of_a_user_of_its_account",
            )
            for table, name in (
                ("grant_assignments", "grant_assignment"),
                ("grant_lots", "grant_lot"),
                ("ledger_accounts", "ledger_account"),
                ("ledger_postings", "posting"),
            )
        ),
        same_realm("grant_assignments", "program_id", "grant_programs"),
        same_realm("grant_assignments", "campaign_id", "grant_campaigns"),
        same_realm("grant_assignments", "plan_assignment_id", "billing_plan_assignments"),
        same_realm("grant_lots", "program_id", "grant_programs"),
        *(
            references(table, f"{OWNER}, {column}", parent, f"{OWNER}, id", name=name)
            for table, column, parent, name in (
                ("grant_lots", "assignment_id", "grant_assignments",
                 "grant_lot_of_its_users_assignment"),
                ("grant_lots", "carried_from_id", "grant_lots",
                 "grant_lot_carried_from_its_users_lot"),
                ("grant_allocations", "lot_id", "grant_lots",
                 "grant_allocation_of_its_users_lot"),
                ("grant_allocations", "posting_id", "ledger_postings",
                 "grant_allocation_settled_by_its_users_posting"),
                ("ledger_postings", "reverses_id", "ledger_postings",
                 "posting_reverses_its_users_posting"),
                ("ledger_entries", "posting_id", "ledger_postings",
                 "ledger_entry_of_its_users_posting"),
                ("ledger_entries", "ledger_account_id", "ledger_accounts",
                 "ledger_entry_of_its_users_account"),
                ("ledger_entries", "lot_id", "grant_lots",
                 "ledger_entry_of_its_users_lot"),
            )
        ),
        migrations.RunSQL(
            NOBODYS,
            "DROP FUNCTION grant_allocation_of_a_user_of_its_account() CASCADE;",
        ),
        sound("grant_lots", *LOTS),
        sound("grant_allocations", *ALLOCATIONS),
        migrations.RunSQL(
            "ALTER TABLE ledger_seals ADD CONSTRAINT ledger_seal_is_a_sha256"
            " CHECK (octet_length(hash) = 32);",
            "ALTER TABLE ledger_seals DROP CONSTRAINT ledger_seal_is_a_sha256;",
        ),
        audited("grant_programs"),
        audited("grant_campaigns"),
        audited("grant_assignments"),
        audited(
            "grant_lots",
            ignored=f"updated_at,{LOT_MONEY}",
            watched=f"id, {OWNER}, {LOT_TERMS}, {LOT_DECIDED}, created_at",
        ),
        immutable(
            "grant_programs",
            "realm_id, program_code, cadence, issue_anchor, window_kind, on_ledger, "
            "grant_kind, accrual_mode, periodic_accounting, eligibility_kind, "
            "eligibility_payload",
        ),
        immutable("grant_campaigns", "realm_id"),
        immutable(
            "grant_assignments",
            f"{OWNER}, program_id, plan_assignment_id, campaign_id, payment_id, "
            "source_kind, source_ref",
        ),
        immutable("grant_lots", f"{OWNER}, {LOT_TERMS}", cheap=True),
        immutable("ledger_accounts", f"{OWNER}, kind"),
        immutable(
            "grant_allocations", f"{OWNER}, amount_xusd, source_ref, occurred_at"
        ),
        set_once("grant_allocations", "posting_id"),
        set_once("grant_allocations", "lot_id"),
        set_once("grant_campaigns", "ended_at"),
        set_once("grant_lots", "closed_at"),
        kept("grant_programs"),
        kept("grant_assignments"),
        kept("grant_lots"),
        kept("grant_allocations"),
        kept("ledger_accounts"),
        append_only("ledger_postings"),
        append_only("ledger_entries"),
        append_only("ledger_seals"),
        whole(
            "posting_sums_to_zero",
            "(SELECT coalesce(sum(amount_xusd), 0) <> 0 OR count(*) < 2"
            " FROM ledger_entries WHERE posting_id = subject)",
            ledger_postings=("INSERT", "id"),
            ledger_entries=("INSERT", "posting_id"),
        ),
        whole(
            "ledger_account_is_its_last_entry",
            "EXISTS (SELECT FROM ledger_accounts a LEFT JOIN LATERAL ("
            "SELECT balance_xusd, seq FROM ledger_entries"
            " WHERE realm_id = a.realm_id AND ledger_account_id = a.id"
            " ORDER BY seq DESC LIMIT 1) e ON true WHERE a.id = subject"
            " AND (a.balance_xusd, a.entry_count) IS DISTINCT FROM"
            " (coalesce(e.balance_xusd, 0), coalesce(e.seq, 0)))",
            ledger_accounts=("INSERT OR UPDATE", "id"),
            ledger_entries=("INSERT", "ledger_account_id"),
        ),
        whole(
            "ledger_entry_continues_the_last",
            "EXISTS (SELECT FROM ledger_entries e LEFT JOIN ledger_entries b"
            " ON b.realm_id = e.realm_id AND b.ledger_account_id = e.ledger_account_id"
            " AND b.seq = e.seq - 1 WHERE e.id = subject"
            " AND (e.balance_xusd <> coalesce(b.balance_xusd, 0) + e.amount_xusd"
            " OR e.seq > 1 AND b.id IS NULL))",
            ledger_entries=("INSERT", "id"),
        ),
        # Room on each page for the next version of a row, so that a use of a lot
        # touches no index.
        migrations.RunSQL(
            "ALTER TABLE grant_lots SET (fillfactor = 70);",
            "ALTER TABLE grant_lots RESET (fillfactor);",
        ),
    ]
