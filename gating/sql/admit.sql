-- Admits what one user asks of one feature, where all of it plainly fits: nearly always.
-- Whatever is not as plain as that it leaves alone and answers NULL; gate_authorize then
-- decides it. Both do what gating/decide.py specifies.
--
-- The caller has read rules that likely govern (they never change) and resolved from them,
-- of each policy: its window, its limit, what must be free (p_needs), how many requests an
-- item counts (p_uses), whether it holds the quantity (p_reserves), and of the text that
-- its counter's id is a hash of, whose it is (p_own: the user's, else the account's) and
-- the end (p_tails). Here is found out whether those rules do govern, and what the
-- counters say.
--
-- p_key to p_estimate are the first item; where there are more, p_items has them all, in
-- order: [{key, hash, lease, id, labels, trace, estimate, held, wallet}]. p_held and
-- p_wallet are what they come to, p_purse is what the balance must have.
--
-- Returns, parted by commas: 0, the ids of account and user, and what the first item saw:
-- the balance, used of each policy, reserved of each. 1 at the first place says that the
-- only item does not fit.
--
-- p_alone says that the call is a transaction of its own.
--
-- Order of locks: the account, counters, lots, the lease.
CREATE OR REPLACE FUNCTION gate_admit(
    p_realm text, p_principal text, p_business_user text, p_bound boolean,
    p_feature text, p_rules uuid, p_family text, p_mode text, p_zero_cost boolean,
    p_policy uuid, p_own boolean[], p_tails text[], p_starts timestamptz[],
    p_ends timestamptz[], p_limits bigint[], p_needs bigint[], p_uses bigint[],
    p_reserves boolean[], p_quota_limits bigint[], p_quota_held boolean[],
    p_pays boolean, p_count bigint, p_held bigint, p_wallet bigint, p_purse bigint,
    p_key text, p_hash text, p_lease text, p_id uuid, p_labels jsonb, p_trace text,
    p_estimate bigint, p_items jsonb, p_at timestamptz, p_ttl interval,
    p_grace interval, p_version bigint, p_alone boolean
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_assignment uuid;
    v_account uuid;
    v_user uuid;
    v_counters uuid[];
    v_held_on uuid[];
    v_used bigint[];
    v_reserved bigint[];
    v_known bigint;
    v_moved bigint;
    v_fits boolean;
    v_least bigint;
    v_available bigint;
    v_lots uuid[] := '{}';
    v_lots_held bigint[] := '{}';
BEGIN
    SELECT p.plan_assignment_id, p.account_id, p.user_id
    INTO v_assignment, v_account, v_user
    FROM gate_projections p
    JOIN gate_catalog_versions c
        ON c.realm_id = p.realm_id AND c.version = p.catalog_version
    JOIN gate_account_versions a
        ON a.account_id = p.account_id AND a.version = p.account_version
    JOIN credential_versions v
        ON v.id = 1 AND v.version = coalesce(p_version, v.version)
    JOIN gate_states s ON s.account_id = p.account_id
    WHERE p.realm_id = p_realm AND p.principal_id = p_principal
        AND p.business_user_id = p_business_user AND p.feature_code = p_feature
        AND p.rule_set_id = p_rules AND p.valid_from <= p_at AND p_at < p.valid_until
        AND (p_bound OR p.user_active)
    FOR NO KEY UPDATE OF s;  -- lock
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    SELECT array_agg(k.id ORDER BY k.place),
        array_agg(k.id ORDER BY k.place) FILTER (WHERE k.reserves),
        array_agg(k.used ORDER BY k.place), array_agg(k.reserved ORDER BY k.place),
        count(k.known), bool_and(k.used + k.reserved <= k.most - k.need),
        min(k.most - k.used - k.reserved) FILTER (
            -- An unlimited policy has the room that its counter has, and no cap.
            WHERE k.use = 0 AND k.most < 9223372036854775807)
    INTO v_counters, v_held_on, v_used, v_reserved, v_known, v_fits, v_least
    FROM (
        SELECT u.place, u.id, c.id AS known, u.most, u.need, u.use, u.reserves,
            coalesce(c.used_minor, 0) AS used, coalesce(c.reserved_minor, 0) AS reserved
        FROM (
            SELECT t.*, md5(CASE WHEN t.own
                THEN v_account || '|user|' || v_user || t.tail
                ELSE v_account || '|account|' || v_account || t.tail END)::uuid AS id
            FROM unnest(p_own, p_tails, p_limits, p_needs, p_uses, p_reserves)
                WITH ORDINALITY AS t(own, tail, most, need, use, reserves, place)
            OFFSET 0  -- each hash once
        ) u
        LEFT JOIN gate_counters c ON c.id = u.id
    ) k
    WHERE NOT EXISTS (
            SELECT FROM gate_leases l
            WHERE l.realm_id = p_realm AND l.user_id = v_user
                AND l.idempotency_key = p_key)
        AND NOT (p_lease IS NOT NULL AND EXISTS (
            SELECT FROM gate_leases l
            WHERE l.realm_id = p_realm AND l.user_id = v_user AND l.lease = p_lease))
        -- One look-up per item: a join would read all leases of the user.
        AND NOT (p_count > 1 AND (
            SELECT bool_or(
                (SELECT l.id FROM gate_leases l
                WHERE l.realm_id = p_realm AND l.user_id = v_user
                    AND l.idempotency_key = i.key LIMIT 1) IS NOT NULL
                OR (SELECT l.id FROM gate_leases l
                WHERE l.realm_id = p_realm AND l.user_id = v_user
                    AND l.lease = i.lease LIMIT 1) IS NOT NULL)
            FROM jsonb_to_recordset(p_items) AS i(key text, lease text)))
        AND NOT coalesce((
            SELECT l.expires_at FROM gate_leases l
            WHERE l.realm_id = p_realm AND l.account_id = v_account
                AND l.state = 'active'
            ORDER BY l.expires_at LIMIT 1) < p_at - p_grace, false);
    IF v_fits IS NULL THEN
        RETURN NULL;
    END IF;
    v_available := CASE WHEN p_pays THEN grants_available(p_realm, v_user, p_at) ELSE 0 END;
    IF NOT v_fits OR p_pays AND v_available < p_purse THEN
        IF p_count > 1 THEN
            RETURN NULL;
        END IF;
        IF p_alone THEN
            -- Nothing was written that could be lost: the disk need not be waited for.
            PERFORM set_config('synchronous_commit', 'off', true);
        END IF;
        RETURN concat_ws(',', 1, v_account, v_user, v_available,
            array_to_string(v_used || v_reserved, ','));
    END IF;
    v_held_on := coalesce(v_held_on, '{}');
    -- point: decided

    IF v_known = cardinality(v_counters) THEN
        UPDATE gate_counters c
        SET used_minor = c.used_minor + u.use * p_count,
            reserved_minor = c.reserved_minor
                + CASE WHEN u.reserves THEN p_held ELSE 0 END
        FROM unnest(v_counters, p_uses, p_reserves, p_limits)
            AS u(id, use, reserves, most)
        WHERE c.id = u.id AND c.used_minor + u.use * p_count
                <= u.most - c.reserved_minor
                    - CASE WHEN u.reserves THEN p_held ELSE 0 END
        ;
        GET DIAGNOSTICS v_moved = ROW_COUNT;
        IF v_moved < v_known THEN
            RAISE EXCEPTION 'a counter of user % moved', v_user
                USING ERRCODE = 'serialization_failure';
        END IF;
    ELSE
        INSERT INTO gate_counters AS c (
            id, realm_id, account_id, kind, subject_scope, subject_id, feature_code, key,
            window_start, window_end, used_minor, reserved_minor)
        SELECT u.id, p_realm, v_account, u.kind, u.scope,
            CASE u.scope WHEN 'user' THEN v_user ELSE v_account END, p_feature, u.key,
            u.start, u.until, u.use * p_count,
            CASE WHEN u.reserves THEN p_held ELSE 0 END
        FROM gate_rule_sets r, unnest(
            r.policy_kinds, r.policy_scopes, r.policy_keys, v_counters, p_uses,
            p_reserves, p_starts, p_ends)
            AS u(kind, scope, key, id, use, reserves, start, until)
        WHERE r.id = p_rules
        ON CONFLICT (id) DO UPDATE
        SET used_minor = c.used_minor + excluded.used_minor,
            reserved_minor = c.reserved_minor + excluded.reserved_minor;
    END IF;
    IF p_wallet > 0 THEN
        SELECT o_lots, o_amounts INTO v_lots, v_lots_held
        FROM grants_hold(p_realm, v_user, p_wallet, p_at);
    END IF;
    -- point: held
    IF p_count = 1 THEN
        INSERT INTO gate_leases (
            id, created_at, updated_at, lease, feature_code, feature_family_code, state,
            billing_mode, policy_id, window_start, window_end, estimate_minor, cap_minor,
            counter_ids, reserved_minor, reserved_xusd, zero_cost, authorized_at, expires_at,
            idempotency_key, request_hash, labels, trace_id, rule_set_id, quota_counter_ids,
            quota_limits, quota_held, seen_first, seen_second, available_xusd, account_id,
            plan_assignment_id, realm_id, user_id, held_lots, held_amounts)
        VALUES (
            p_id, p_at, p_at, coalesce(p_lease, 'lease.' || p_id), p_feature, p_family,
            'active', p_mode, p_policy, p_starts[1], p_ends[1], p_estimate,
            coalesce(p_estimate, v_least), v_held_on,
            CASE WHEN cardinality(v_held_on) > 0 THEN p_held ELSE 0 END, p_wallet,
            p_zero_cost, p_at, p_at + p_ttl, p_key, decode(p_hash, 'hex'), p_labels,
            p_trace, p_rules, v_counters[1:cardinality(p_quota_limits)], p_quota_limits,
            p_quota_held, v_used, v_reserved, v_available, v_account, v_assignment, p_realm,
            v_user, v_lots, v_lots_held);
    ELSE
        INSERT INTO gate_leases (
            id, created_at, updated_at, lease, feature_code, feature_family_code, state,
            billing_mode, policy_id, window_start, window_end, estimate_minor, cap_minor,
            counter_ids, reserved_minor, reserved_xusd, zero_cost, authorized_at, expires_at,
            idempotency_key, request_hash, labels, trace_id, rule_set_id, quota_counter_ids,
            quota_limits, quota_held, seen_first, seen_second, available_xusd, account_id,
            plan_assignment_id, realm_id, user_id, held_lots, held_amounts)
        SELECT i.id, p_at, p_at, coalesce(i.lease, 'lease.' || i.id), p_feature, p_family,
            'active', p_mode, p_policy, p_starts[1], p_ends[1], i.estimate,
            coalesce(i.estimate, (
                SELECT min(u.most - u.used - u.use * (i.n - 1) - u.reserved
                    - CASE WHEN u.reserves THEN i.before ELSE 0 END)
                FROM unnest(p_limits, v_used, v_reserved, p_uses, p_reserves)
                    AS u(most, used, reserved, use, reserves)
                -- An unlimited policy has the room that its counter has, and no cap.
                WHERE u.use = 0 AND u.most < 9223372036854775807)),
            v_held_on, CASE WHEN cardinality(v_held_on) > 0 THEN i.held ELSE 0 END, i.wallet,
            p_zero_cost, p_at, p_at + p_ttl, i.key, decode(i.hash, 'hex'), i.labels, i.trace,
            p_rules, v_counters[1:cardinality(p_quota_limits)], p_quota_limits, p_quota_held,
            CASE WHEN i.n = 1 THEN v_used ELSE ARRAY(
                SELECT u.used + u.use * (i.n - 1) FROM unnest(v_used, p_uses) AS u(used, use)
            ) END,
            CASE WHEN i.n = 1 THEN v_reserved ELSE ARRAY(
                SELECT u.reserved + CASE WHEN u.reserves THEN i.before ELSE 0 END
                FROM unnest(v_reserved, p_reserves) AS u(reserved, reserves)) END,
            v_available - i.spoken, v_account, v_assignment, p_realm, v_user, part.o_lots,
            part.o_amounts
        FROM (
            SELECT t.*, sum(t.held) OVER (ORDER BY t.n) - t.held AS before,
                CASE WHEN p_pays
                    THEN sum(t.wallet) OVER (ORDER BY t.n) - t.wallet ELSE 0 END AS spoken
            FROM ROWS FROM (jsonb_to_recordset(p_items) AS (
                key text, hash text, lease text, id uuid, labels jsonb, trace text,
                estimate bigint, held bigint, wallet bigint)) WITH ORDINALITY AS t(
                key, hash, lease, id, labels, trace, estimate, held, wallet, n)
        ) i
        CROSS JOIN LATERAL grants_part(
            v_lots, v_lots_held, i.spoken::bigint, i.wallet) part;
    END IF;
    -- point: stored
    RETURN concat_ws(',', 0, v_account, v_user, v_available,
        array_to_string(v_used || v_reserved, ','));
END $$;
