-- Admits or denies, as gating/decide.py specifies, and takes what it admits: one round
-- trip. Where the two differ, this is wrong (tests/gating/test_differential.py).
--
-- p_items: [{realm, principal, user, bound, feature, family, estimate, budget, key,
-- hash, lease, id, labels, trace}], decided one after the other; `bound` says that the
-- caller has found the user usable already. p_at is the instant of all of them. With
-- p_dry nothing is locked or written, and keys are not looked up: gate_preflight is this
-- function once more, declared STABLE, so that it sees one snapshot and cannot write.
--
-- p_version is that of the credentials the caller was known by, NULL where they were
-- read for this call; where it has moved on, `credentials` is the only answer.
--
-- Returns one object per item, `o` telling the outcome: `admitted` or `denied`, with
-- the rules and what was seen of what changes, the `budget` among it where one was
-- named; `replayed`, with the same of the first answer; `key_reused`; `lease_taken`;
-- `stale`, where the projection must be resolved again.
--
-- Order of locks: the accounts' rows in order of id, then lots, budgets, counters,
-- leases.
-- What the items read of counters is kept here while they are decided, and written once
-- at the end: under the accounts' locks nobody else changes it. A counter's id is a hash
-- of what it counts, so it is found by its primary key.
CREATE OR REPLACE FUNCTION gate_authorize(
    p_items jsonb, p_at timestamptz, p_ttl interval, p_grace interval, p_dry boolean,
    p_version bigint
) RETURNS jsonb
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    c_all CONSTANT bigint := 9223372036854775807;
    v_second CONSTANT bigint := floor(extract(epoch FROM p_at));
    v_many CONSTANT boolean := jsonb_array_length(p_items) > 1;
    v_answers jsonb[] := '{}';
    v_locked uuid[] := '{}';
    v_swept uuid[] := '{}';
    v_overdue boolean := false;
    item record;
    rule record;
    kept record;
    v_first bigint[];
    v_second_seen bigint[];
    v_ids uuid[];
    v_id uuid;
    v_user uuid;
    v_subject text;
    v_of text;
    v_governed boolean;
    v_sent_keys text[];
    v_old_keys text[];
    v_lots uuid[];
    v_lots_held bigint[];
    v_freed bigint;
    v_leases gate_leases[] := '{}';
    v_keys text[] := '{}';
    v_names text[] := '{}';
    -- Counters read so far: as they stand after the items decided so far, and what
    -- these add.
    c_ids uuid[] := '{}';
    c_used bigint[] := '{}';
    c_reserved bigint[] := '{}';
    c_known boolean[] := '{}';
    c_add_used bigint[] := '{}';
    c_add_reserved bigint[] := '{}';
    -- Budgets named so far, by user and reference, as they stand after the items
    -- decided so far; and what these hold on them.
    u_seen jsonb := '{}';
    u_ids uuid[] := '{}';
    u_owed bigint[] := '{}';
    v_budget_of text;
    v_budget jsonb;
    v_budget_id uuid;
    v_budget_shut boolean;
    v_budget_held bigint;
    v_budget_left bigint;

    v_a bigint;
    v_b bigint;
    v_seconds bigint;
    v_start timestamptz;
    v_end timestamptz;
    v_room bigint;
    v_held bigint;
    v_place integer;
    v_quota_ids uuid[];
    v_quota_limits bigint[];
    v_quota_held boolean[];
    v_take_ids uuid[];
    v_take_used bigint[];
    v_take_held bigint[];
    v_reserves boolean;
    v_no_seat boolean;
    v_no_quota boolean;
    v_no_rate boolean;
    v_least bigint;
    v_available bigint;
    v_wallet numeric;
    v_reason text;
    v_holds uuid[];
BEGIN
    IF p_version <> (SELECT version FROM credential_versions WHERE id = 1) THEN
        RETURN '[{"o": "credentials"}]';
    END IF;
    IF v_many AND NOT p_dry THEN
        v_sent_keys := ARRAY(
            SELECT i.key FROM jsonb_to_recordset(p_items) AS i(key text));
        -- One look-up per item: a join planned while there was nothing would read all.
        v_locked := ARRAY(
            SELECT DISTINCT (
                SELECT p.account_id FROM gate_projections p
                WHERE p.realm_id = i.realm AND p.principal_id = i.principal
                    AND p.business_user_id = i."user" AND p.feature_code = i.feature)
            FROM jsonb_to_recordset(p_items)
                AS i(realm text, principal text, "user" text, feature text));
        SELECT array_agg(account_id) INTO v_locked FROM (
            SELECT s.account_id FROM gate_states s
            WHERE s.account_id = ANY (v_locked)
            ORDER BY s.account_id
            FOR NO KEY UPDATE  -- lock
        ) locked;
    END IF;

    FOR item IN
        SELECT * FROM jsonb_to_recordset(p_items) AS i(
            realm text, principal text, "user" text, bound boolean, feature text,
            family text, estimate bigint, budget text, key text, hash text, lease text,
            id uuid, labels jsonb, trace text)
    LOOP
        -- Most batches are of one user and feature: what governs is then the same.
        v_subject := concat_ws(
            E'\x01', item.realm, item.principal, item."user", item.feature, item.bound);
        IF v_subject IS DISTINCT FROM v_of THEN
            v_of := v_subject;
            SELECT p.account_id, p.user_id, p.plan_assignment_id, r.id AS rules,
                r.feature_family_code, r.active, r.entitlement, r.bundle_missing,
                r.billing_mode, r.zero_cost, r.price_xusd, r.price_quantity_minor,
                r.price_whole_blocks, r.policy_ids, r.policy_kinds, r.policy_scopes,
                r.policy_features, r.policy_keys, r.policy_seconds, r.policy_limits,
                r.policy_reserves
            INTO rule
            FROM gate_projections p
            JOIN gate_catalog_versions c
                ON c.realm_id = p.realm_id AND c.version = p.catalog_version
            JOIN gate_account_versions a
                ON a.account_id = p.account_id AND a.version = p.account_version
            JOIN gate_rule_sets r ON r.id = p.rule_set_id
            WHERE p.realm_id = item.realm AND p.principal_id = item.principal
                AND p.business_user_id = item."user" AND p.feature_code = item.feature
                AND p.valid_from <= p_at AND p_at < p.valid_until
                AND (item.bound OR p.user_active);
            v_governed := FOUND;
            v_old_keys := NULL;
        END IF;
        IF NOT v_governed THEN
            v_answers := array_append(v_answers, '{"o": "stale"}'::jsonb);
            CONTINUE;
        END IF;

        IF NOT p_dry THEN
            IF NOT (rule.account_id = ANY (v_locked)) OR v_locked IS NULL THEN
                IF v_many THEN
                    -- Projected since the locks were taken: out of their order.
                    v_answers := array_append(v_answers, '{"o": "stale"}'::jsonb);
                    CONTINUE;
                END IF;
                PERFORM 1 FROM gate_states s WHERE s.account_id = rule.account_id
                FOR NO KEY UPDATE;  -- lock
                v_locked := ARRAY[rule.account_id];
            END IF;

            IF rule.user_id || item.key = ANY (v_keys)
                OR rule.user_id || item.lease = ANY (v_names)
            THEN
                -- Of an item decided just now, and not stored yet.
                PERFORM gate_store(
                    v_leases, c_ids, c_used, c_reserved, c_add_used, c_add_reserved);
                v_leases := '{}'; v_keys := '{}'; v_names := '{}';
                c_add_used := array_fill(0::bigint, ARRAY[cardinality(c_ids)]);
                c_add_reserved := c_add_used;
                v_old_keys := NULL;
            END IF;
            IF v_many AND v_old_keys IS NULL THEN
                -- One statement for the keys of all items, and one look-up for each:
                -- a join would read all leases of the user.
                SELECT coalesce(array_agg(k.key), '{}') INTO v_old_keys
                FROM unnest(v_sent_keys) AS k(key)
                WHERE (
                    SELECT l.id FROM gate_leases l
                    WHERE l.realm_id = item.realm AND l.user_id = rule.user_id
                        AND l.idempotency_key = k.key LIMIT 1) IS NOT NULL;
            END IF;
            IF NOT v_many OR item.key = ANY (v_old_keys) THEN
                SELECT l.id, l.lease, l.request_hash, l.authorized_at, l.expires_at,
                    l.rule_set_id, l.seen_first, l.seen_second, l.available_xusd,
                    l.budget_id, l.budget_seen, l.trace_id
                INTO kept
                FROM gate_leases l
                WHERE l.realm_id = item.realm AND l.user_id = rule.user_id
                    AND l.idempotency_key = item.key;
                IF FOUND THEN
                    v_answers := array_append(v_answers, CASE
                        WHEN kept.request_hash = decode(item.hash, 'hex') THEN
                            jsonb_build_object(
                                'o', 'replayed', 'account', rule.account_id,
                                'user', rule.user_id, 'id', kept.id,
                                'lease', kept.lease,
                                'at', kept.authorized_at, 'expires', kept.expires_at,
                                'trace', kept.trace_id,
                                'rules', kept.rule_set_id, 'first', kept.seen_first,
                                'second', kept.seen_second,
                                'available', kept.available_xusd,
                                'budget', kept.budget_seen || jsonb_build_object(
                                    'budget_id', kept.budget_id))
                        ELSE '{"o": "key_reused"}'::jsonb END);
                    CONTINUE;
                END IF;
            END IF;
            IF item.lease IS NOT NULL THEN
                PERFORM 1 FROM gate_leases l
                WHERE l.realm_id = item.realm AND l.user_id = rule.user_id
                    AND l.lease = item.lease;
                IF FOUND THEN
                    v_answers := array_append(v_answers, '{"o": "lease_taken"}'::jsonb);
                    CONTINUE;
                END IF;
            END IF;
        END IF;

        IF NOT (rule.account_id = ANY (v_swept)) THEN
            -- The first to run out: in the order of the one index that is short.
            v_overdue := coalesce((
                SELECT l.expires_at FROM gate_leases l
                WHERE l.realm_id = item.realm AND l.account_id = rule.account_id
                    AND l.state = 'active'
                ORDER BY l.expires_at LIMIT 1) < p_at - p_grace, false);
            IF v_overdue AND NOT p_dry THEN
                PERFORM gate_expire(
                    item.realm, rule.account_id, p_at - p_grace, p_at, 1000);
            END IF;
            v_swept := v_swept || rule.account_id;
        END IF;

        -- What changes, policy by policy.
        v_first := '{}'; v_second_seen := '{}'; v_ids := '{}';
        v_quota_ids := '{}'; v_quota_limits := '{}'; v_quota_held := '{}';
        v_take_ids := '{}'; v_take_used := '{}'; v_take_held := '{}';
        v_reserves := false; v_no_seat := false; v_no_quota := false;
        v_no_rate := false; v_least := NULL;
        v_held := coalesce(item.estimate, 1);
        FOR i IN 1 .. cardinality(rule.policy_ids) LOOP
            v_seconds := rule.policy_seconds[i];
            IF rule.policy_kinds[i] = 'seats' THEN
                v_start := '1970-01-01 00:00+00'; v_end := NULL;
                IF v_seconds > 0 THEN
                    v_start := to_timestamp(v_second / v_seconds * v_seconds);
                    v_end := to_timestamp((v_second / v_seconds + 1) * v_seconds);
                END IF;
                SELECT count(*) FILTER (WHERE u.status = 'active'),
                    least(count(*) FILTER (WHERE s.user_id = rule.user_id), 1)
                INTO v_a, v_b
                FROM gate_seats s JOIN billing_users u ON u.id = s.user_id
                WHERE s.realm_id = item.realm AND s.account_id = rule.account_id
                    AND s.scope_code = rule.policy_features[i]
                    AND s.key = rule.policy_keys[i] AND s.window_start = v_start
                    AND s.window_end IS NOT DISTINCT FROM v_end;
                v_no_seat := v_no_seat
                    OR (v_b = 0 AND v_a >= rule.policy_limits[i]) IS TRUE;
                v_ids := v_ids || NULL::uuid;
                v_first := v_first || v_a;
                v_second_seen := v_second_seen || v_b;
                CONTINUE;
            END IF;

            v_id := md5(
                rule.account_id || '|' || rule.policy_scopes[i] || '|'
                || CASE rule.policy_scopes[i]
                    WHEN 'user' THEN rule.user_id ELSE rule.account_id END
                || '|' || item.feature || '|' || rule.policy_kinds[i] || '|'
                || v_seconds || '|' || v_second / v_seconds || '|'
                || rule.policy_keys[i])::uuid;
            v_place := array_position(c_ids, v_id);
            IF v_place IS NULL THEN
                SELECT c.used_minor, c.reserved_minor INTO v_a, v_b
                FROM gate_counters c WHERE c.id = v_id;
                c_known := c_known || FOUND;
                v_a := coalesce(v_a, 0);
                v_b := coalesce(v_b, 0);
                IF v_overdue AND p_dry THEN
                    v_b := v_b - (
                        SELECT coalesce(sum(l.reserved_minor), 0) FROM gate_leases l
                        WHERE l.realm_id = item.realm
                            AND l.account_id = rule.account_id AND l.state = 'active'
                            AND l.expires_at < p_at - p_grace
                            AND v_id = ANY (l.counter_ids));
                END IF;
                c_ids := c_ids || v_id;
                c_used := c_used || v_a;
                c_reserved := c_reserved || v_b;
                c_add_used := c_add_used || 0::bigint;
                c_add_reserved := c_add_reserved || 0::bigint;
            ELSE
                v_a := c_used[v_place];
                v_b := c_reserved[v_place];
            END IF;
            v_ids := v_ids || v_id;
            v_first := v_first || v_a;
            v_second_seen := v_second_seen || v_b;
            v_room := coalesce(rule.policy_limits[i], c_all) - v_a - v_b;

            IF rule.policy_kinds[i] = 'rate' THEN
                v_no_rate := v_no_rate OR v_room < 1;
            ELSE
                v_no_quota := v_no_quota OR v_room < CASE
                    WHEN rule.policy_reserves[i] THEN greatest(v_held, 1) ELSE 1 END;
                v_reserves := v_reserves OR rule.policy_reserves[i];
                IF rule.policy_limits[i] IS NOT NULL THEN
                    v_least := least(v_least, v_room);
                END IF;
                v_place := array_position(v_quota_ids, v_id);
                IF v_place IS NULL THEN
                    v_quota_ids := v_quota_ids || v_id;
                    v_quota_limits := v_quota_limits || rule.policy_limits[i];
                    v_quota_held := v_quota_held
                        || (rule.policy_reserves[i] AND v_held > 0);
                ELSE
                    v_quota_limits[v_place] :=
                        least(v_quota_limits[v_place], rule.policy_limits[i]);
                    v_quota_held[v_place] := v_quota_held[v_place]
                        OR (rule.policy_reserves[i] AND v_held > 0);
                END IF;
            END IF;

            -- What an admission would take, once per counter.
            IF rule.policy_kinds[i] = 'quota'
                AND NOT (rule.policy_reserves[i] AND v_held > 0)
            THEN
                CONTINUE;
            END IF;
            v_place := array_position(v_take_ids, v_id);
            IF v_place IS NULL THEN
                v_take_ids := v_take_ids || v_id;
                IF rule.policy_kinds[i] = 'rate' THEN
                    v_take_used := v_take_used || 1::bigint;
                    v_take_held := v_take_held || 0::bigint;
                ELSE
                    v_take_used := v_take_used || 0::bigint;
                    v_take_held := v_take_held || v_held;
                END IF;
            END IF;
        END LOOP;

        v_available := 0;
        v_wallet := 0;
        IF rule.billing_mode = 'prepaid' AND NOT rule.zero_cost THEN
            v_freed := 0;
            IF v_overdue AND p_dry THEN
                SELECT grants_freed(array_agg(h.lot), array_agg(h.held), p_at) INTO v_freed
                FROM gate_leases l, unnest(l.held_lots, l.held_amounts) AS h(lot, held)
                WHERE l.realm_id = item.realm AND l.account_id = rule.account_id
                    AND l.user_id = rule.user_id AND l.state = 'active'
                    AND l.expires_at < p_at - p_grace;
            END IF;
            v_available := grants_available(item.realm, rule.user_id, p_at, v_freed);
            IF v_reserves AND rule.price_xusd IS NOT NULL THEN
                -- Rounded up: it covers whatever remainder is carried in.
                v_wallet := CASE
                    WHEN rule.price_whole_blocks THEN div(
                        v_held::numeric + rule.price_quantity_minor - 1,
                        rule.price_quantity_minor) * rule.price_xusd
                    ELSE div(
                        v_held::numeric * rule.price_xusd
                        + rule.price_quantity_minor - 1,
                        rule.price_quantity_minor) END;
            END IF;
        END IF;

        IF item.budget IS NOT NULL THEN
            v_budget_of := rule.user_id || item.budget;
            IF NOT u_seen ? v_budget_of THEN
                u_seen := u_seen || jsonb_build_object(v_budget_of,
                    grants_budget(item.realm, rule.user_id, item.budget));
            END IF;
            v_budget := nullif(u_seen -> v_budget_of, 'null');
            v_budget_id := v_budget->>'budget_id';
            v_budget_held := (v_budget->'reserved_xusd')::bigint;
            IF v_overdue AND p_dry THEN
                v_budget_held := v_budget_held - (
                    SELECT coalesce(sum(l.reserved_xusd), 0) FROM gate_leases l
                    WHERE l.realm_id = item.realm AND l.account_id = rule.account_id
                        AND l.budget_id = v_budget_id AND l.state = 'active'
                        AND l.expires_at < p_at - p_grace);
                v_budget := v_budget
                    || jsonb_build_object('reserved_xusd', v_budget_held);
            END IF;
            v_budget_shut := v_budget IS NULL OR (v_budget ? 'closed_at'
                OR p_at < (v_budget->>'window_start')::timestamptz
                OR p_at >= (v_budget->>'window_end')::timestamptz
                OR NOT v_budget->'feature_codes' ? item.feature) IS TRUE;
            v_budget_left := coalesce((v_budget->'limit_xusd')::bigint, c_all)
                - (v_budget->'consumed_xusd')::bigint - v_budget_held;
        ELSIF v_many THEN
            v_budget := NULL; v_budget_id := NULL;
        END IF;

        v_reason := CASE
            WHEN item.family <> rule.feature_family_code THEN 'feature_in_other_family'
            WHEN NOT rule.active THEN 'feature_inactive'
            WHEN rule.entitlement = 'denied' THEN 'entitlement_denied'
            WHEN rule.entitlement = 'missing' THEN 'entitlement_required'
            WHEN rule.bundle_missing THEN 'default_bundle_missing'
            WHEN cardinality(rule.policy_ids) = 0 THEN 'policy_not_found'
            WHEN cardinality(v_quota_ids) = 0 THEN 'quota_missing'
            WHEN v_no_seat THEN 'seats_taken'
            WHEN v_no_quota THEN 'quota_exhausted'
            WHEN v_no_rate THEN 'rate_exceeded'
            WHEN item.budget IS NOT NULL AND v_budget_shut THEN 'budget_not_found'
            WHEN item.budget IS NOT NULL AND rule.billing_mode = 'prepaid'
                AND NOT rule.zero_cost
                AND v_budget_left < greatest(v_wallet, 1) THEN 'budget_exhausted'
            WHEN rule.billing_mode = 'prepaid' AND NOT rule.zero_cost
                AND v_available < greatest(v_wallet, 1) THEN 'funding_exhausted'
        END;
        -- point: decided
        IF v_reason IS NULL AND NOT p_dry THEN
            v_lots := '{}';
            v_lots_held := '{}';
            IF v_wallet > 0 THEN
                SELECT o_lots, o_amounts INTO v_lots, v_lots_held
                FROM grants_hold(item.realm, rule.user_id, v_wallet::bigint, p_at);
            END IF;
            IF v_budget_id IS NOT NULL AND v_wallet > 0 THEN
                u_seen := jsonb_set(
                    u_seen, ARRAY[v_budget_of, 'reserved_xusd'],
                    to_jsonb(v_budget_held + v_wallet));
                v_place := array_position(u_ids, v_budget_id);
                IF v_place IS NULL THEN
                    u_ids := u_ids || v_budget_id;
                    u_owed := u_owed || v_wallet::bigint;
                ELSE
                    u_owed[v_place] := u_owed[v_place] + v_wallet;
                END IF;
            END IF;
            FOR i IN 1 .. cardinality(rule.policy_ids) LOOP
                CONTINUE WHEN rule.policy_kinds[i] = 'seats';
                v_place := array_position(c_ids, v_ids[i]);
                CONTINUE WHEN c_known[v_place];
                c_known[v_place] := true;
                v_seconds := rule.policy_seconds[i];
                INSERT INTO gate_counters (
                    id, realm_id, account_id, kind, subject_scope, subject_id,
                    feature_code, key, window_start, window_end, used_minor,
                    reserved_minor)
                VALUES (
                    v_ids[i], item.realm, rule.account_id, rule.policy_kinds[i],
                    rule.policy_scopes[i], CASE rule.policy_scopes[i]
                        WHEN 'user' THEN rule.user_id ELSE rule.account_id END,
                    item.feature, rule.policy_keys[i],
                    to_timestamp(v_second / v_seconds * v_seconds),
                    to_timestamp((v_second / v_seconds + 1) * v_seconds),
                    0, 0)
                ON CONFLICT DO NOTHING;
            END LOOP;
            FOR i IN 1 .. cardinality(v_take_ids) LOOP
                v_place := array_position(c_ids, v_take_ids[i]);
                c_used[v_place] := c_used[v_place] + v_take_used[i];
                c_reserved[v_place] := c_reserved[v_place] + v_take_held[i];
                c_add_used[v_place] := c_add_used[v_place] + v_take_used[i];
                c_add_reserved[v_place] := c_add_reserved[v_place] + v_take_held[i];
            END LOOP;
            FOR i IN 1 .. cardinality(rule.policy_ids) LOOP
                CONTINUE WHEN rule.policy_kinds[i] <> 'seats' OR v_second_seen[i] > 0;
                v_seconds := rule.policy_seconds[i];
                v_start := '1970-01-01 00:00+00'; v_end := NULL;
                IF v_seconds > 0 THEN
                    v_start := to_timestamp(v_second / v_seconds * v_seconds);
                    v_end := to_timestamp((v_second / v_seconds + 1) * v_seconds);
                END IF;
                INSERT INTO gate_seats (
                    id, realm_id, account_id, user_id, scope_code, key, window_start,
                    window_end, taken_at)
                VALUES (
                    md5(item.id || '|' || i)::uuid, item.realm, rule.account_id,
                    rule.user_id, rule.policy_features[i], rule.policy_keys[i], v_start,
                    v_end, p_at)
                ON CONFLICT DO NOTHING;
            END LOOP;
            v_user := rule.user_id;
            v_keys := v_keys || (v_user || item.key);
            IF item.lease IS NOT NULL THEN
                v_names := v_names || (v_user || item.lease);
            END IF;
            v_holds := '{}';
            FOR i IN 1 .. cardinality(v_take_ids) LOOP
                IF v_take_held[i] > 0 THEN
                    v_holds := v_holds || v_take_ids[i];
                END IF;
            END LOOP;
            v_seconds := rule.policy_seconds[1];
            -- One expression for all columns, in the table's order: for a single item,
            -- each assignment would cost as much as its evaluation.
            v_leases := v_leases || ROW(
                item.id, p_at, p_at, coalesce(item.lease, 'lease.' || item.id),
                item.feature, rule.feature_family_code, 'active', rule.billing_mode,
                rule.policy_ids[1], to_timestamp(v_second / v_seconds * v_seconds),
                to_timestamp((v_second / v_seconds + 1) * v_seconds), item.estimate,
                CASE WHEN item.estimate > 0 THEN item.estimate ELSE v_least END,
                v_holds, CASE WHEN v_reserves THEN v_held ELSE 0 END, v_wallet,
                rule.zero_cost, p_at, p_at + p_ttl, NULL, item.key,
                decode(item.hash, 'hex'), item.labels, item.trace, rule.rules,
                v_quota_ids, v_quota_limits, v_quota_held, v_first, v_second_seen,
                v_available, item.budget, NULL, NULL, rule.account_id,
                rule.plan_assignment_id, item.realm, v_user, v_budget_id,
                v_budget - 'budget_id', v_lots, v_lots_held)::gate_leases;
        END IF;
        v_answers := array_append(v_answers, jsonb_build_object(
            'o', CASE WHEN v_reason IS NULL THEN 'admitted' ELSE 'denied' END,
            'reason', v_reason, 'account', rule.account_id, 'user', rule.user_id,
            'rules', rule.rules, 'first', v_first, 'second', v_second_seen,
            'available', v_available));
        IF v_budget_id IS NOT NULL THEN
            v_answers[cardinality(v_answers)] := v_answers[cardinality(v_answers)]
                || jsonb_build_object('budget', v_budget);
        END IF;
    END LOOP;
    IF NOT p_dry THEN
        FOR i IN 1 .. cardinality(u_ids) LOOP
            IF NOT grants_hold_budget(u_ids[i], u_owed[i], p_at) THEN
                RAISE EXCEPTION 'the budget % moved', u_ids[i]
                    USING ERRCODE = 'serialization_failure';
            END IF;
        END LOOP;
        PERFORM gate_store(
            v_leases, c_ids, c_used, c_reserved, c_add_used, c_add_reserved);
    END IF;
    RETURN to_jsonb(v_answers);
END $$;
