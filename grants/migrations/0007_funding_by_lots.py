"""Lots are what pays: each simple balance becomes one lot, and the gate's way to it."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parents[1] / "sql" / "lots.sql"

AUDIT = """
SELECT set_config('plangate.audit', jsonb_build_object(
    'actor_kind', 'system', 'actor_id', 'migration', 'operator', 'Plangate',
    'reason', 'Balances became lots.', 'ticket_id', 'grants 0007',
    'effective_at', now(), 'history_date', now(),
    'trace_id', '00000000000000000000000000000000')::text, true);
"""
# Every id follows from the user's, so that what points at the rows can be made of it.
LOTS = """
INSERT INTO grant_programs (
    id, realm_id, program_code, name, active, cadence, issue_anchor, grant_kind,
    amount_xusd, window_kind, priority, on_ledger, outstanding_application_policy,
    issuance_mode, periodic_accounting, eligibility_kind, eligibility_payload, metadata)
SELECT md5(realm_id || '|credit')::uuid, realm_id, 'credit', 'Credit', true, 'once',
    'calendar_start', 'credit', 0, 'forever', 0, true, 'never', 'eager', false, 'manual',
    '{}', '{}'
FROM (SELECT DISTINCT realm_id FROM credit_balances WHERE granted_xusd > 0) r;

INSERT INTO grant_assignments (
    id, realm_id, account_id, user_id, program_id, source_kind, source_ref, status,
    amount_xusd, quantity, metadata, window_start)
SELECT md5(b.user_id || '|opening assignment')::uuid, b.realm_id, b.account_id, b.user_id,
    md5(b.realm_id || '|credit')::uuid, 'ops.manual', 'opening balance', 'active',
    b.granted_xusd, 1, '{}', (
        SELECT coalesce(min(e.occurred_at), b.updated_at) FROM credit_entries e
        WHERE e.realm_id = b.realm_id AND e.user_id = b.user_id)
FROM credit_balances b WHERE b.granted_xusd > 0;

INSERT INTO grant_lots (
    id, realm_id, account_id, user_id, program_id, assignment_id, period_start, alloc_seq,
    issue_key, source_kind, source_ref, on_ledger, status, kind, priority,
    outstanding_policy, amount_xusd, consumed_xusd, settled_xusd, reserved_xusd, paid_xusd,
    metadata, window_start)
SELECT md5(b.user_id || '|opening lot')::uuid, b.realm_id, b.account_id, b.user_id,
    a.program_id, a.id, a.window_start, 0, 'credit:opening balance', a.source_kind,
    a.source_ref, true, 'ready', 'credit', 0, 'never', b.granted_xusd, b.spent_xusd,
    b.spent_xusd, b.reserved_xusd, 0, '{}', a.window_start
FROM credit_balances b
JOIN grant_assignments a ON a.id = md5(b.user_id || '|opening assignment')::uuid;
"""
LEDGER = """
CREATE TEMPORARY TABLE opening ON COMMIT DROP AS
SELECT l.*, p.reason, p.moved, p.source, p.target, p.key,
    md5(l.user_id || '|opening ' || p.reason)::uuid AS posting
FROM grant_lots l, LATERAL (VALUES
    ('issue', l.amount_xusd, 'issued', 'wallet', 'credit:opening balance'),
    ('consumption', l.consumed_xusd, 'wallet', 'consumed', 'settle:opening balance')
) AS p(reason, moved, source, target, key)
WHERE l.source_ref = 'opening balance' AND p.moved > 0;

INSERT INTO ledger_postings (
    id, realm_id, account_id, user_id, reason, source_ref, idempotency_key, actor_kind,
    actor_id, operator, explanation, ticket_id, trace_id, effective_at, occurred_at)
SELECT posting, realm_id, account_id, user_id, reason, source_ref, key, 'system',
    'migration', 'Plangate', 'Balances became lots.', 'grants 0007',
    '00000000000000000000000000000000', now(), now()
FROM opening;

CREATE TEMPORARY TABLE opening_entries ON COMMIT DROP AS
SELECT e.*, row_number() OVER account AS seq,
    (sum(e.amount) OVER (account ROWS UNBOUNDED PRECEDING))::bigint AS balance
FROM (
    SELECT o.*, s.kind AS side, s.amount,
        md5(o.user_id || '|ledger ' || s.kind)::uuid AS ledger_account,
        CASE o.reason WHEN 'issue' THEN 1 ELSE 2 END AS place
    FROM opening o, LATERAL (VALUES (o.source, -o.moved), (o.target, o.moved))
        AS s(kind, amount)
) e
WINDOW account AS (PARTITION BY e.ledger_account ORDER BY e.place);

INSERT INTO ledger_accounts (
    id, realm_id, account_id, user_id, kind, balance_xusd, entry_count)
SELECT DISTINCT ON (ledger_account) ledger_account, realm_id, account_id, user_id, side,
    balance, seq
FROM opening_entries ORDER BY ledger_account, seq DESC;

INSERT INTO ledger_entries (
    id, realm_id, account_id, user_id, posting_id, ledger_account_id, lot_id, seq,
    amount_xusd, balance_xusd, occurred_at)
SELECT md5(posting || '|' || side)::uuid, realm_id, account_id, user_id, posting,
    ledger_account, id, seq, amount, balance, now()
FROM opening_entries;

INSERT INTO grant_allocations (
    id, realm_id, account_id, user_id, lot_id, amount_xusd, source_ref, occurred_at,
    posting_id)
SELECT e.id, e.realm_id, e.account_id, e.user_id, l.id, -e.amount_xusd, e.source_ref,
    e.occurred_at, md5(e.user_id || '|opening consumption')::uuid
FROM credit_entries e
JOIN grant_lots l ON l.id = md5(e.user_id || '|opening lot')::uuid
WHERE e.kind = 'spend';

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
        migrations.RunSQL(AUDIT),
        migrations.RunSQL(LOTS),
        migrations.RunSQL(LEDGER),
        migrations.RunSQL(BEFORE + SQL.read_text()),
    ]
