"""Lots are what pays: each credit becomes one, and the gate's way to them.

Spends and holds are spread over a user's credits, the oldest first. What reads and
writes the balance is to be down until the migrations have run: the gate's functions are
those of lots from gating 0019 on.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql" / "lots.sql"

BEGIN = """
LOCK TABLE credit_balances, credit_entries IN ACCESS EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT FROM credit_entries WHERE kind = 'correction') THEN
        RAISE EXCEPTION 'a correction cannot be brought over: no verb ever made one';
    END IF;
END $$;
SELECT set_config('plangate.audit', jsonb_build_object(
    'actor_kind', 'system', 'actor_id', 'migration', 'operator', 'Plangate',
    'reason', 'Credits became lots.', 'ticket_id', 'grants 0007',
    'effective_at', now(), 'history_date', now(),
    'trace_id', '00000000000000000000000000000000')::text, true);
"""
# Every new id follows from an old one. `since` and `upto` are where an entry begins and
# ends among the entries of its kind and user.
OLD = """
CREATE TEMPORARY TABLE old_entries ON COMMIT DROP AS
SELECT e.*, (sum(abs(e.amount_xusd)) OVER so_far)::bigint AS upto,
    (sum(abs(e.amount_xusd)) OVER so_far - abs(e.amount_xusd))::bigint AS since
FROM credit_entries e
WINDOW so_far AS (PARTITION BY e.user_id, e.kind ORDER BY e.id);

CREATE TEMPORARY TABLE old_lots ON COMMIT DROP AS
SELECT e.*, md5(e.id || '|lot')::uuid AS lot, md5(e.id || '|assignment')::uuid AS bound,
    md5(e.id || '|issue')::uuid AS issue, md5(e.realm_id || '|credit')::uuid AS program,
    md5(e.user_id || '|settled')::uuid AS settled,
    greatest(0, least(e.upto, b.spent_xusd) - e.since) AS spent,
    greatest(0, least(e.upto, b.spent_xusd + b.reserved_xusd)
        - greatest(e.since, b.spent_xusd)) AS held
FROM old_entries e JOIN credit_balances b ON b.user_id = e.user_id
WHERE e.kind = 'credit';
"""
LOTS = """
INSERT INTO grant_programs (
    id, realm_id, program_code, name, active, cadence, issue_anchor, grant_kind,
    amount_xusd, window_kind, priority, on_ledger, outstanding_application_policy,
    issuance_mode, periodic_accounting, eligibility_kind, eligibility_payload, metadata)
SELECT DISTINCT program, realm_id, 'credit', 'Credit', true, 'once', 'calendar_start',
    'credit', 0, 'forever', 0, true, 'never', 'eager', false, 'manual', '{}'::jsonb,
    '{}'::jsonb
FROM old_lots;

INSERT INTO grant_assignments (
    id, realm_id, account_id, user_id, program_id, source_kind, source_ref, status,
    amount_xusd, quantity, metadata, window_start)
SELECT bound, realm_id, account_id, user_id, program, 'ops.manual', source_ref, 'active',
    amount_xusd, 1, '{}', occurred_at
FROM old_lots;

INSERT INTO grant_lots (
    id, realm_id, account_id, user_id, program_id, assignment_id, period_start, alloc_seq,
    issue_key, source_kind, source_ref, on_ledger, status, kind, priority,
    outstanding_policy, amount_xusd, consumed_xusd, settled_xusd, reserved_xusd, paid_xusd,
    metadata, window_start)
SELECT lot, realm_id, account_id, user_id, program, bound, occurred_at, 0,
    'credit:' || source_ref, 'ops.manual', source_ref, true, 'ready', 'credit', 0, 'never',
    amount_xusd, spent, spent, held, 0, '{}', occurred_at
FROM old_lots;
"""
LEDGER = """
INSERT INTO ledger_postings (
    id, realm_id, account_id, user_id, reason, source_ref, idempotency_key, actor_kind,
    actor_id, operator, explanation, ticket_id, trace_id, effective_at, occurred_at)
SELECT issue, realm_id, account_id, user_id, 'issue', source_ref,
    coalesce('credit:key:' || idempotency_key, 'credit:source:' || source_ref),
    actor_kind, actor_id, operator, reason, ticket_id, trace_id, effective_at, occurred_at
FROM old_lots
UNION ALL
SELECT DISTINCT settled, realm_id, account_id, user_id, 'consumption', 'settle:credits',
    'settle:credits', 'system', 'migration', 'Plangate', 'Credits became lots.',
    'grants 0007', '00000000000000000000000000000000', now(), now()
FROM old_lots WHERE spent > 0;

CREATE TEMPORARY TABLE new_entries ON COMMIT DROP AS
SELECT e.*, md5(e.user_id || '|ledger ' || e.side)::uuid AS ledger_account,
    row_number() OVER account AS seq,
    (sum(e.amount) OVER (account ROWS UNBOUNDED PRECEDING))::bigint AS balance
FROM (
    SELECT o.realm_id, o.account_id, o.user_id, o.lot, o.id AS source, s.*
    FROM old_lots o, LATERAL (VALUES
        (o.issue, 'issued', -o.amount_xusd, 1, o.occurred_at),
        (o.issue, 'wallet', o.amount_xusd, 1, o.occurred_at),
        (o.settled, 'wallet', -o.spent, 2, now()),
        (o.settled, 'consumed', o.spent, 2, now())
    ) AS s(posting, side, amount, place, moved_at)
    WHERE s.amount <> 0
) e
WINDOW account AS (PARTITION BY e.user_id, e.side ORDER BY e.place, e.source);

INSERT INTO ledger_accounts (
    id, realm_id, account_id, user_id, kind, balance_xusd, entry_count)
SELECT DISTINCT ON (ledger_account) ledger_account, realm_id, account_id, user_id, side,
    balance, seq
FROM new_entries ORDER BY ledger_account, seq DESC;

INSERT INTO ledger_entries (
    id, realm_id, account_id, user_id, posting_id, ledger_account_id, lot_id, seq,
    amount_xusd, balance_xusd, occurred_at)
SELECT md5(posting || '|' || side || '|' || lot)::uuid, realm_id, account_id, user_id,
    posting, ledger_account, lot, seq, amount, balance, moved_at
FROM new_entries;

INSERT INTO grant_allocations (
    id, realm_id, account_id, user_id, lot_id, amount_xusd, source_ref, occurred_at,
    posting_id)
SELECT md5(s.id || '|' || l.lot)::uuid, s.realm_id, s.account_id, s.user_id, l.lot,
    least(s.upto, l.upto) - greatest(s.since, l.since), s.source_ref, s.occurred_at,
    l.settled
FROM old_entries s
JOIN old_lots l ON l.user_id = s.user_id AND l.since < s.upto AND s.since < l.upto
WHERE s.kind = 'spend';

SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
SELECT set_config('plangate.audit', '', true);
"""
BEFORE = """
DROP FUNCTION IF EXISTS grants_available(uuid);
DROP FUNCTION IF EXISTS grants_lock(uuid);
DROP FUNCTION IF EXISTS grants_hold(uuid, bigint, timestamptz);
DROP FUNCTION IF EXISTS grants_settle(
    text, uuid, uuid, bigint, uuid[], bigint[], text[], timestamptz);
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0006_lots")]
    operations = [
        migrations.RunSQL(BEGIN),
        migrations.RunSQL(OLD),
        migrations.RunSQL(LOTS),
        migrations.RunSQL(LEDGER),
        migrations.RunSQL(BEFORE + SQL.read_text()),
    ]
