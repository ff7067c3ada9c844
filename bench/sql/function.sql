-- The rows `function` and `function_hot`: one call of the gate's own SQL function, as
-- pgbench sends it, prepared and in one round trip.
--
-- pgbench puts these in place of their names:
--   :realm           the realm's id
--   :first, :last    the range of the customers to call
--   :step            customer n of that range is account number n * :step
--   :account_prefix  an account's id is this and its number as 12 hex digits:
--   :user_prefix     a user's likewise
--
--   (:account_prefix || lpad(to_hex(:number::bigint), 12, '0'))::uuid
--   principal  'acct-' || lpad(:number::text, 9, '0'), user id the same with '-user'
--   feature    'chat.completion', estimate 2000; an idempotency key: gen_random_uuid()
\set customer random(:first, :last)
\set number :customer * :step
SELECT gate_authorize(
    jsonb_build_array(jsonb_build_object(
        'realm', :realm::text, 'principal', 'acct-' || lpad(:number::text, 9, '0'),
        'user', 'acct-' || lpad(:number::text, 9, '0') || '-user', 'bound', false,
        'feature', 'chat.completion', 'estimate', 2000, 'key', gen_random_uuid()::text,
        'hash', '00', 'id', gen_random_uuid(), 'labels', '{}'::jsonb, 'trace', 'bench')),
    now(), '12 hours', '60 seconds', false,
    (SELECT version FROM credential_versions));
