-- The rows `function` and `function_hot`: one call of the function that an authorize
-- mostly is (gating/sql/admit.sql), as pgbench sends it, prepared and in one round trip.
--
-- pgbench puts these in place of their names:
--   :realm           the realm's id
--   :first, :last    the range of the customers to call
--   :step            customer n of that range is account number n * :step
--   :account_prefix  an account's id is this and its number as 12 hex digits:
--   :user_prefix     a user's likewise
--   :rules           the id of the rule set that governs all of them
--
--   (:account_prefix || lpad(to_hex(:number::bigint), 12, '0'))::uuid
--   principal  'acct-' || lpad(:number::text, 9, '0'), user id the same with '-user'
--   feature    'chat.completion', estimate 2000 at 3 XUSD per 1; a new key each time
\set customer random(:first, :last)
\set number :customer * :step
SELECT gate_admit(
    :realm::text, c.name, c.name || '-user', false, 'chat.completion', c.account, c.person,
    r.id, r.feature_family_code, r.billing_mode, r.zero_cost, r.policy_ids[1], w.ids,
    w.starts, w.ends, ARRAY[r.policy_limits[1], r.policy_limits[2]], '{2000, 1}', '{0, 1}',
    '{t, f}', w.ids[1:1], r.policy_limits[1:1], '{t}', w.ids[1:1], true, 1, 2000, 6000,
    6000, gen_random_uuid()::text, '00', NULL, gen_random_uuid(), '{}', 'bench', 2000, NULL,
    now(), '12 hours', '60 seconds', NULL)
FROM gate_rule_sets r, (
    SELECT 'acct-' || lpad(:number::text, 9, '0') AS name,
        (:account_prefix || lpad(to_hex(:number::bigint), 12, '0'))::uuid AS account,
        (:user_prefix || lpad(to_hex(:number::bigint), 12, '0'))::uuid AS person,
        floor(extract(epoch FROM now()))::bigint AS second
) c, LATERAL (
    SELECT array_agg(md5(
            c.account || '|' || p.scope || '|'
            || CASE p.scope WHEN 'user' THEN c.person ELSE c.account END
            || '|chat.completion|' || p.kind || '|' || p.seconds || '|'
            || c.second / p.seconds || '|' || p.key)::uuid ORDER BY p.place) AS ids,
        array_agg(to_timestamp(c.second / p.seconds * p.seconds) ORDER BY p.place)
            AS starts,
        array_agg(to_timestamp((c.second / p.seconds + 1) * p.seconds) ORDER BY p.place)
            AS ends
    FROM unnest(r.policy_kinds, r.policy_scopes, r.policy_seconds, r.policy_keys)
        WITH ORDINALITY AS p(kind, scope, seconds, key, place)
) w
WHERE r.id = :rules::uuid;
