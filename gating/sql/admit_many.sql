-- Admits what several users, each of an account of its own, ask of one feature under one
-- set of rules, one item each, where it plainly fits: what gate_admit does for each, in
-- the statements of one. For callers that met by chance (gating/services/coalescing.py):
-- an item that is not plain, or whose account is in use just now, is left out, and is to
-- be asked for by itself. Nobody waits for another's account here; should somebody else
-- have a lot, hardly: then it raises, and all are to be asked for by themselves.
--
-- The parameters are those of gate_admit; p_items has what is the item's own:
-- [{principal, user, key, hash, lease, id, labels, trace, estimate, held, wallet}].
--
-- Returns, for each item decided, its place in p_items, then what gate_admit answers;
-- parted by semicolons.
--
-- Order of locks: the accounts, free ones only; counters, lots, leases.
CREATE OR REPLACE FUNCTION gate_admit_many(
    p_realm text, p_bound boolean, p_feature text, p_rules uuid, p_family text,
    p_mode text, p_zero_cost boolean, p_policy uuid, p_own boolean[], p_tails text[],
    p_starts timestamptz[], p_ends timestamptz[], p_limits bigint[], p_uses bigint[],
    p_reserves boolean[], p_quota_limits bigint[], p_quota_held boolean[],
    p_pays boolean, p_items jsonb, p_at timestamptz, p_ttl interval, p_grace interval,
    p_version bigint, p_alone boolean
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '50ms' AS $$
DECLARE
    v_places bigint[];
    v_accounts uuid[];
    v_users uuid[];
    v_assignments uuid[];
    v_keys text[];
    v_leases text[];
    v_held bigint[];
    v_wallets bigint[];
    v_ones integer[];
    v_counters uuid[];
    v_used bigint[];
    v_reserved bigint[];
    v_least bigint[];
    v_available bigint[];
    v_updated integer[];
    v_made integer[];
    v_fitting integer[];
    v_moved bigint;
BEGIN
    SELECT array_agg(t.n), array_agg(t.account_id), array_agg(t.user_id),
        array_agg(t.plan_assignment_id), array_agg(t.key), array_agg(t.lease),
        array_agg(t.held), array_agg(t.wallet)
    INTO v_places, v_accounts, v_users, v_assignments, v_keys, v_leases, v_held, v_wallets
    FROM (
        SELECT DISTINCT ON (p.account_id) i.n, i.key, i.lease, i.held, i.wallet, p.*
        FROM ROWS FROM (jsonb_to_recordset(p_items) AS (
            principal text, "user" text, key text, lease text, held bigint, wallet bigint
        )) WITH ORDINALITY AS i(principal, business_user, key, lease, held, wallet, n)
        CROSS JOIN LATERAL (
            -- A look-up per item: a join planned when nothing was there would read all.
            SELECT p.account_id, p.user_id, p.plan_assignment_id
            FROM gate_projections p
            JOIN gate_catalog_versions c
                ON c.realm_id = p.realm_id AND c.version = p.catalog_version
            JOIN gate_account_versions a
                ON a.account_id = p.account_id AND a.version = p.account_version
            JOIN credential_versions v
                ON v.id = 1 AND v.version = coalesce(p_version, v.version)
            JOIN gate_states s ON s.account_id = p.account_id
            WHERE p.realm_id = p_realm AND p.principal_id = i.principal
                AND p.business_user_id = i.business_user AND p.feature_code = p_feature
                AND p.rule_set_id = p_rules AND p.valid_from <= p_at
                AND p_at < p.valid_until AND (p_bound OR p.user_active)
            LIMIT 1
            FOR NO KEY UPDATE OF s SKIP LOCKED  -- lock
        ) p
        ORDER BY p.account_id, i.n
    ) t;
    IF v_places IS NULL THEN
        RETURN NULL;
    END IF;

    SELECT array_agg(d.i), array_agg(d.counters), array_agg(d.used),
        array_agg(d.reserved), array_agg(d.least), array_agg(d.available),
        array_agg(d.j) FILTER (WHERE d.fits),
        array_agg(d.j) FILTER (WHERE d.fits AND d.known),
        array_agg(d.j) FILTER (WHERE d.fits AND NOT d.known)
    INTO v_ones, v_counters, v_used, v_reserved, v_least, v_available, v_fitting,
        v_updated, v_made
    FROM (
        SELECT g.*, (row_number() OVER ())::integer AS j,
            g.roomy AND (NOT p_pays OR g.available >= greatest(v_wallets[g.i], 1)) AS fits
        FROM (
            SELECT k.i, array_agg(k.id ORDER BY k.place) AS counters,
                array_agg(k.used ORDER BY k.place) AS used,
                array_agg(k.reserved ORDER BY k.place) AS reserved,
                bool_and(k.known) AS known,
                bool_and(k.used + k.reserved <= k.most - k.need) AS roomy,
                min(k.most - k.used - k.reserved) FILTER (
                    -- An unlimited policy has the room its counter has, and no cap.
                    WHERE k.use = 0 AND k.most < 9223372036854775807) AS least,
                CASE WHEN p_pays THEN grants_available(p_realm, v_users[k.i], p_at)
                    ELSE 0 END AS available
            FROM (
                SELECT u.*, c.id IS NOT NULL AS known,
                    coalesce(c.used_minor, 0) AS used,
                    coalesce(c.reserved_minor, 0) AS reserved
                FROM (
                    SELECT s.i, t.most, t.use, t.place,
                        CASE WHEN t.reserves THEN s.held ELSE 1 END AS need,
                        md5(CASE WHEN t.own THEN s.account || '|user|' || s.usr || t.tail
                            ELSE s.account || '|account|' || s.account || t.tail
                        END)::uuid AS id
                    FROM unnest(v_accounts, v_users, v_keys, v_leases, v_held)
                        WITH ORDINALITY AS s(account, usr, key, lease, held, i),
                        unnest(p_own, p_tails, p_limits, p_uses, p_reserves)
                        WITH ORDINALITY AS t(own, tail, most, use, reserves, place)
                    -- A look-up for each: as EXISTS they might be planned as a join.
                    WHERE (
                            SELECT l.id FROM gate_leases l
                            WHERE l.realm_id = p_realm AND l.user_id = s.usr
                                AND l.idempotency_key = s.key LIMIT 1) IS NULL
                        AND (s.lease IS NULL OR (
                            SELECT l.id FROM gate_leases l
                            WHERE l.realm_id = p_realm AND l.user_id = s.usr
                                AND l.lease = s.lease LIMIT 1) IS NULL)
                        AND NOT coalesce((
                            SELECT l.expires_at FROM gate_leases l
                            WHERE l.realm_id = p_realm AND l.account_id = s.account
                                AND l.state = 'active'
                            ORDER BY l.expires_at LIMIT 1) < p_at - p_grace, false)
                    OFFSET 0  -- each hash once
                ) u
                LEFT JOIN gate_counters c ON c.id = u.id
            ) k
            GROUP BY k.i
        ) g
    ) d;
    IF v_fitting IS NULL AND p_alone THEN
        -- Nothing was written that could be lost: the disk need not be waited for.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    -- point: decided

    IF v_updated IS NOT NULL THEN
        UPDATE gate_counters c
        SET used_minor = c.used_minor + u.use, reserved_minor = c.reserved_minor + u.hold
        FROM (
            SELECT v_counters[j][t.place] AS id, t.use, t.most,
                CASE WHEN t.reserves THEN v_held[v_ones[j]] ELSE 0 END AS hold
            FROM unnest(v_updated) AS j,
                unnest(p_uses, p_reserves, p_limits)
                WITH ORDINALITY AS t(use, reserves, most, place)
        ) u
        WHERE c.id = u.id AND c.used_minor + u.use <= u.most - c.reserved_minor - u.hold
        ;
        GET DIAGNOSTICS v_moved = ROW_COUNT;
        IF v_moved < cardinality(v_updated) * cardinality(p_limits) THEN
            RAISE EXCEPTION 'a counter moved'
                USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF v_made IS NOT NULL THEN
        INSERT INTO gate_counters AS c (
            id, realm_id, account_id, kind, subject_scope, subject_id, feature_code, key,
            window_start, window_end, used_minor, reserved_minor)
        SELECT v_counters[j][u.place], p_realm, v_accounts[v_ones[j]], u.kind, u.scope,
            CASE u.scope WHEN 'user' THEN v_users[v_ones[j]]
                ELSE v_accounts[v_ones[j]] END,
            p_feature, u.key, u.start, u.until, u.use,
            CASE WHEN u.reserves THEN v_held[v_ones[j]] ELSE 0 END
        FROM unnest(v_made) AS j, gate_rule_sets r, unnest(
            r.policy_kinds, r.policy_scopes, r.policy_keys, p_uses, p_reserves, p_starts,
            p_ends) WITH ORDINALITY
            AS u(kind, scope, key, use, reserves, start, until, place)
        WHERE r.id = p_rules
        ON CONFLICT (id) DO UPDATE
        SET used_minor = c.used_minor + excluded.used_minor,
            reserved_minor = c.reserved_minor + excluded.reserved_minor;
    END IF;
    -- point: held
    IF v_fitting IS NOT NULL THEN
        INSERT INTO gate_leases (
            id, created_at, updated_at, lease, feature_code, feature_family_code, state,
            billing_mode, policy_id, window_start, window_end, estimate_minor, cap_minor,
            counter_ids, reserved_minor, reserved_xusd, zero_cost, authorized_at, expires_at,
            idempotency_key, request_hash, labels, trace_id, rule_set_id, quota_counter_ids,
            quota_limits, quota_held, seen_first, seen_second, available_xusd, account_id,
            plan_assignment_id, realm_id, user_id, held_lots, held_amounts)
        SELECT (w.item ->> 'id')::uuid, p_at, p_at,
            coalesce(v_leases[w.i], 'lease.' || (w.item ->> 'id')), p_feature, p_family,
            'active', p_mode, p_policy, p_starts[1], p_ends[1],
            (w.item ->> 'estimate')::bigint,
            coalesce((w.item ->> 'estimate')::bigint, v_least[w.j]), h.ids,
            CASE WHEN cardinality(h.ids) > 0 THEN v_held[w.i] ELSE 0 END, v_wallets[w.i],
            p_zero_cost, p_at, p_at + p_ttl, v_keys[w.i], decode(w.item ->> 'hash', 'hex'),
            w.item -> 'labels', w.item ->> 'trace', p_rules,
            q.counters[1:cardinality(p_quota_limits)], p_quota_limits, p_quota_held, q.used,
            q.reserved, v_available[w.j], v_accounts[w.i], v_assignments[w.i], p_realm,
            v_users[w.i], lots.o_lots, lots.o_amounts
        FROM (
            SELECT j, v_ones[j] AS i, p_items -> (v_places[v_ones[j]] - 1)::integer AS item
            FROM unnest(v_fitting) AS j
            OFFSET 0
        ) w
        CROSS JOIN LATERAL grants_hold(p_realm, v_users[w.i], v_wallets[w.i], p_at) lots
        CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(v_counters[w.j][t.place] ORDER BY t.place)
                FILTER (WHERE t.reserves), '{}') AS ids
            FROM unnest(p_reserves) WITH ORDINALITY AS t(reserves, place)
        ) h
        CROSS JOIN LATERAL (
            SELECT array_agg(v_counters[w.j][n] ORDER BY n) AS counters,
                array_agg(v_used[w.j][n] ORDER BY n) AS used,
                array_agg(v_reserved[w.j][n] ORDER BY n) AS reserved
            FROM generate_subscripts(p_limits, 1) AS n
        ) q;
    END IF;
    -- point: stored
    RETURN (
        SELECT string_agg(concat_ws(',', v_places[i] - 1,
            CASE WHEN j = ANY (v_fitting) THEN 0 ELSE 1 END, v_accounts[i], v_users[i],
            v_available[j], array_to_string(v_used[j:j], ','),
            array_to_string(v_reserved[j:j], ',')), ';')
        FROM unnest(v_ones) WITH ORDINALITY AS o(i, j));
END $$;
