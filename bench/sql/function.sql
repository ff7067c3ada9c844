-- The rows `function` and `function_hot`: one call of the function that an authorize
-- mostly is (gating/sql/admit.sql), as pgbench sends it, prepared and in one round trip.
--
-- pgbench puts these in place of their names:
--   :realm           the realm's id
--   :first, :last    the range of the customers to call
--   :step            customer n of that range is account number n * :step
--   :rules           the id of the rule set that governs all of them, with a quota of 30
--                    days per account and a rate per minute and user
--   :policy, :family its first policy, and its feature's family
--   :quota, :rate    the limits
--   :quota_key, :rate_key   the counters' keys
--
--   principal  'acct-' || lpad(:number::text, 9, '0'), user id the same with '-user'
--   feature    'chat.completion', estimate 2000 at 3 XUSD per 1; a new key each time
\set customer random(:first, :last)
\set number :customer * :step
SELECT gate_admit(
    :realm::text, c.name, c.name || '-user', false, 'chat.completion', :rules::uuid,
    :family::text, 'prepaid', false, :policy::uuid, '{f, t}',
    ARRAY[
        '|chat.completion|quota|2592000|' || c.month || '|' || :quota_key::text,
        '|chat.completion|rate|60|' || c.minute || '|' || :rate_key::text],
    ARRAY[to_timestamp(c.month * 2592000), to_timestamp(c.minute * 60)],
    ARRAY[to_timestamp((c.month + 1) * 2592000), to_timestamp((c.minute + 1) * 60)],
    ARRAY[:quota, :rate]::bigint[], '{2000, 1}', '{0, 1}', '{t, f}',
    ARRAY[:quota]::bigint[], '{t}', true, 1, 2000, 6000, 6000, gen_random_uuid()::text,
    '00', NULL, gen_random_uuid(), '{}', 'bench', 2000, NULL, now(), '12 hours',
    '60 seconds', NULL, true)
FROM (
    SELECT 'acct-' || lpad(:number::text, 9, '0') AS name,
        floor(extract(epoch FROM now()) / 2592000)::bigint AS month,
        floor(extract(epoch FROM now()) / 60)::bigint AS minute
) c;
