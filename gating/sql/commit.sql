-- Rates what was used under a lease, settles it as gating/settle.py and gating/pricing
-- specify, and closes the lease: one round trip. Where they differ, this is wrong.
--
-- p_items: [{realm, principal, user, bound, feature, lease, quantity, key, hash, id,
-- operation, labels, trace, entry, uses: [{id, meter, quantity, unit, etag}]}], one
-- after the other, at the instant p_at. With p_strict, usage on a meter that the
-- feature does not have is refused instead of kept as quarantined.
--
-- p_version is that of the credentials the caller was known by, NULL where they were
-- read for this call; where it has moved on, `credentials` is the only answer.
--
-- Returns one object per item, `o` telling the outcome: `committed`, with the numbers
-- that the answer is made of; `replayed`, with the rating to read; or a refusal that
-- changes nothing: `key_reused`, `lease_unknown`, `other_feature`, `overflow` (of a
-- `field`), `meter_not_allowed` (`meters`); or `stale`.
--
-- Order of locks: the accounts' rows in order of id, then lots and budgets, counters,
-- leases.
-- As in gate_authorize, what the items read is kept here while they are settled, and
-- written once at the end (gate_book); so are the remainders of one user. Lots pay item
-- by item: which ones do depends on those before.
CREATE OR REPLACE FUNCTION gate_commit(
    p_items jsonb, p_at timestamptz, p_grace interval, p_strict boolean,
    p_version bigint
) RETURNS jsonb
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    c_all CONSTANT bigint := 9223372036854775807;
    v_many CONSTANT boolean := jsonb_array_length(p_items) > 1;
    v_answers jsonb[] := '{}';
    v_locked uuid[] := '{}';
    item record;
    rule record;
    kept record;
    held record;
    v_use record;
    v_state text;
    v_at integer;
    v_place integer;
    v_side integer;
    v_price bigint;
    v_per bigint;
    v_mode text;
    v_identity text;
    v_carried bigint;
    v_number numeric;
    v_amount numeric;
    v_next bigint;
    v_quantity numeric;
    v_revenue numeric;
    v_cost numeric;
    v_overflow text;
    v_unpriced text[];
    v_foreign text[];
    v_carry_keys text[];
    v_carry_values bigint[];
    v_carry_per bigint[];
    v_carry_meters text[];
    v_carry_changed boolean[];
    v_line_ids uuid[];
    v_line_meters text[];
    v_line_units text[];
    v_line_etags text[];
    v_line_quantities bigint[];
    v_line_numbers bigint[];
    v_line_rates text[];
    v_line_costs text[];
    v_numbers bigint[];
    v_windows jsonb;
    v_window_places integer[];
    v_window_takes bigint[];
    v_window_held bigint[];
    v_id uuid;
    v_a bigint;
    v_b bigint;
    v_most bigint;
    v_capacity bigint;
    v_fits bigint;
    v_late boolean;
    v_quarantined boolean;
    v_status text;
    v_reasons text[];
    v_available bigint;
    v_void bigint;
    v_payer uuid;
    v_applied bigint;
    v_funded bigint;
    v_pays boolean;
    v_evidence jsonb;
    v_subject text;
    v_of text;
    v_governed boolean;
    v_sent_keys text[];
    v_old_keys text[];
    v_keys text[] := '{}';
    -- Counters read so far, and what is added to them; releases are below 0.
    c_ids uuid[] := '{}';
    c_used bigint[] := '{}';
    c_reserved bigint[] := '{}';
    c_add_used bigint[] := '{}';
    c_add_reserved bigint[] := '{}';
    -- Budgets named so far, as they stand after the items settled so far; what these add
    -- to what is consumed, and give up of what is held.
    u_ids uuid[] := '{}';
    u_limits bigint[] := '{}';
    u_consumed bigint[] := '{}';
    u_reserved bigint[] := '{}';
    u_add_consumed bigint[] := '{}';
    u_ended bigint[] := '{}';
    v_budget integer;
    v_budget_seen jsonb;
    v_budget_takes bigint;
    -- Remainders of that user, as they stand after the items settled so far.
    r_of text;
    r_user uuid;
    r_realm text;
    r_keys text[] := '{}';
    r_values bigint[] := '{}';
    r_per bigint[] := '{}';
    r_meters text[] := '{}';
    r_changed boolean[] := '{}';
    -- What is to be stored.
    l_ids uuid[] := '{}';
    l_ratings uuid[] := '{}';
    v_ratings gate_ratings[] := '{}';
    v_records gate_rated_records[] := '{}';
    v_rating_keys gate_rating_keys[] := '{}';
BEGIN
    IF p_version <> (SELECT version FROM credential_versions WHERE id = 1) THEN
        RETURN '[{"o": "credentials"}]';
    END IF;
    IF v_many THEN
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
            lease text, quantity bigint, key text, hash text, id uuid, operation text,
            labels jsonb, trace text, entry uuid, uses jsonb)
    LOOP
        v_subject := concat_ws(
            E'\x01', item.realm, item.principal, item."user", item.feature, item.bound);
        IF v_subject IS DISTINCT FROM v_of THEN
            v_of := v_subject;
            SELECT p.account_id, p.user_id, p.plan_assignment_id, r.id AS rules,
                r.feature_family_code, r.meter_codes, r.meter_units, r.meter_prices_xusd,
                r.meter_quantities_minor, r.meter_costs_xusd,
                r.meter_cost_quantities_minor, r.meter_modes, r.meter_rate_identities,
                r.meter_cost_identities
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
        IF NOT (rule.account_id = ANY (v_locked)) OR v_locked IS NULL THEN
            IF v_many THEN
                v_answers := array_append(v_answers, '{"o": "stale"}'::jsonb);
                CONTINUE;
            END IF;
            PERFORM 1 FROM gate_states s WHERE s.account_id = rule.account_id
            FOR NO KEY UPDATE;  -- lock
            v_locked := ARRAY[rule.account_id];
        END IF;

        IF item.operation || item.key || rule.user_id = ANY (v_keys) THEN
            -- Of an item settled just now, and not stored yet.
            PERFORM gate_book_remainders(
                r_realm, r_user, r_keys, r_values, r_per, r_meters, r_changed);
            PERFORM gate_book_budgets(u_ids, u_ended, u_add_consumed, p_at);
            PERFORM gate_book(
                c_ids, c_used, c_reserved, c_add_used, c_add_reserved, l_ids, l_ratings,
                v_ratings, v_records, v_rating_keys, p_at);
            u_add_consumed := array_fill(0::bigint, ARRAY[cardinality(u_ids)]);
            u_ended := u_add_consumed;
            v_keys := '{}'; l_ids := '{}'; l_ratings := '{}'; v_ratings := '{}';
            v_records := '{}'; v_rating_keys := '{}'; v_old_keys := NULL;
            c_add_used := array_fill(0::bigint, ARRAY[cardinality(c_ids)]);
            c_add_reserved := c_add_used;
            r_of := NULL; r_changed := '{}';
        END IF;
        IF v_many AND v_old_keys IS NULL THEN
            -- One statement for the keys of all items, and one look-up for each.
            SELECT coalesce(array_agg(item.operation || s.key), '{}') INTO v_old_keys
            FROM unnest(v_sent_keys) AS s(key)
            WHERE (
                SELECT k.rating_id FROM gate_rating_keys k
                WHERE k.realm_id = item.realm AND k.user_id = rule.user_id
                    AND k.operation = item.operation AND k.idempotency_key = s.key
                LIMIT 1) IS NOT NULL;
        END IF;
        IF NOT v_many OR item.operation || item.key = ANY (v_old_keys) THEN
            SELECT k.rating_id, k.rated_at, k.request_hash INTO kept
            FROM gate_rating_keys k
            WHERE k.realm_id = item.realm AND k.user_id = rule.user_id
                AND k.operation = item.operation AND k.idempotency_key = item.key;
            IF FOUND THEN
                v_answers := array_append(v_answers, CASE
                    WHEN kept.request_hash = decode(item.hash, 'hex') THEN
                        jsonb_build_object('o', 'replayed', 'rating', kept.rating_id,
                            'rated_at', kept.rated_at)
                    ELSE '{"o": "key_reused"}'::jsonb END);
                CONTINUE;
            END IF;
        END IF;

        SELECT l.id, l.state, l.feature_code, l.feature_family_code, l.billing_mode,
            l.plan_assignment_id, l.expires_at, l.reserved_minor, l.reserved_xusd,
            l.zero_cost, l.labels, l.counter_ids, l.quota_counter_ids, l.quota_limits,
            l.quota_held, l.budget_id, l.held_lots, l.held_amounts
        INTO held
        FROM gate_leases l
        WHERE l.realm_id = item.realm AND l.user_id = rule.user_id
            AND l.lease = item.lease;
        IF NOT FOUND THEN
            v_answers := array_append(v_answers, '{"o": "lease_unknown"}'::jsonb);
            CONTINUE;
        END IF;
        IF held.feature_code <> item.feature THEN
            v_answers := array_append(v_answers, jsonb_build_object(
                'o', 'other_feature', 'feature', held.feature_code));
            CONTINUE;
        END IF;
        -- Its counters, into memory.
        FOREACH v_id IN ARRAY held.counter_ids || held.quota_counter_ids LOOP
            CONTINUE WHEN v_id = ANY (c_ids);
            SELECT c.used_minor, c.reserved_minor INTO v_a, v_b
            FROM gate_counters c WHERE c.id = v_id;
            IF FOUND THEN
                c_ids := c_ids || v_id;
                c_used := c_used || v_a;
                c_reserved := c_reserved || v_b;
                c_add_used := c_add_used || 0::bigint;
                c_add_reserved := c_add_reserved || 0::bigint;
            END IF;
        END LOOP;
        v_budget := NULL;
        IF held.budget_id IS NOT NULL THEN
            v_budget := array_position(u_ids, held.budget_id);
            IF v_budget IS NULL THEN
                SELECT o_limit, o_consumed, o_reserved INTO v_most, v_a, v_b
                FROM grants_lock_budget(held.budget_id);
                u_ids := u_ids || held.budget_id;
                u_limits := u_limits || v_most;
                u_consumed := u_consumed || v_a;
                u_reserved := u_reserved || v_b;
                u_add_consumed := u_add_consumed || 0::bigint;
                u_ended := u_ended || 0::bigint;
                v_budget := cardinality(u_ids);
            END IF;
        END IF;

        v_state := CASE WHEN held.id = ANY (l_ids) THEN 'closed' ELSE held.state END;
        IF v_state = 'active' AND p_at > held.expires_at + p_grace THEN
            UPDATE gate_leases SET state = 'expired', ended_at = p_at, updated_at = p_at
            WHERE id = held.id;
            FOREACH v_id IN ARRAY held.counter_ids LOOP
                v_place := array_position(c_ids, v_id);
                CONTINUE WHEN v_place IS NULL;
                c_reserved[v_place] := c_reserved[v_place] - held.reserved_minor;
                c_add_reserved[v_place] := c_add_reserved[v_place] - held.reserved_minor;
            END LOOP;
            PERFORM grants_release(held.held_lots, held.held_amounts, p_at);
            IF v_budget IS NOT NULL THEN
                u_reserved[v_budget] := u_reserved[v_budget] - held.reserved_xusd;
                u_ended[v_budget] := u_ended[v_budget] + held.reserved_xusd;
            END IF;
            v_state := 'expired';
        END IF;

        -- What it costs, line by line. A line's numbers are amount, cost, and of each
        -- side the remainder carried in and on.
        v_overflow := NULL; v_quantity := 0; v_revenue := 0; v_cost := 0;
        v_unpriced := '{}'; v_foreign := '{}';
        v_line_ids := '{}'; v_line_meters := '{}'; v_line_units := '{}';
        v_line_etags := '{}'; v_line_quantities := '{}'; v_line_numbers := '{}';
        v_line_rates := '{}'; v_line_costs := '{}';
        IF rule.user_id || rule.rules::text IS DISTINCT FROM r_of THEN
            PERFORM gate_book_remainders(
                r_realm, r_user, r_keys, r_values, r_per, r_meters, r_changed);
            r_of := rule.user_id || rule.rules::text;
            r_user := rule.user_id; r_realm := item.realm;
            SELECT coalesce(array_agg(b.rate_identity), '{}'),
                coalesce(array_agg(b.remainder_numer), '{}'),
                coalesce(array_agg(b.denom), '{}'),
                coalesce(array_agg(b.meter_code), '{}'),
                coalesce(array_agg(false), '{}')
            INTO r_keys, r_values, r_per, r_meters, r_changed
            FROM gate_residual_buckets b
            WHERE b.realm_id = item.realm AND b.user_id = rule.user_id
                AND b.meter_code = ANY (rule.meter_codes)
                AND b.rate_identity = ANY (
                    rule.meter_rate_identities || rule.meter_cost_identities);
        END IF;
        v_carry_keys := r_keys; v_carry_values := r_values; v_carry_per := r_per;
        v_carry_meters := r_meters; v_carry_changed := r_changed;
        FOR v_use IN
            SELECT * FROM jsonb_to_recordset(item.uses)
                AS u(id uuid, meter text, quantity bigint, unit text, etag text)
        LOOP
            v_quantity := v_quantity + v_use.quantity;
            v_line_ids := v_line_ids || v_use.id;
            v_line_meters := v_line_meters || v_use.meter;
            v_line_etags := v_line_etags || v_use.etag;
            v_line_quantities := v_line_quantities || v_use.quantity;
            v_at := array_position(rule.meter_codes, v_use.meter);
            v_numbers := '{0,0,0,0,0,0}';
            IF v_at IS NULL OR rule.meter_rate_identities[v_at] IS NULL THEN
                IF v_at IS NULL THEN
                    IF NOT (v_use.meter = ANY (v_foreign)) THEN
                        v_foreign := v_foreign || v_use.meter;
                    END IF;
                ELSIF NOT (v_use.meter = ANY (v_unpriced)) THEN
                    v_unpriced := v_unpriced || v_use.meter;
                END IF;
                v_line_units := v_line_units || coalesce(
                    rule.meter_units[v_at], v_use.unit, 'unit');
                v_line_rates := v_line_rates || NULL::text;
                v_line_costs := v_line_costs || NULL::text;
                v_line_numbers := v_line_numbers || v_numbers;
                CONTINUE;
            END IF;
            v_line_units := v_line_units || rule.meter_units[v_at];
            v_line_rates := v_line_rates || rule.meter_rate_identities[v_at];
            v_line_costs := v_line_costs || rule.meter_cost_identities[v_at];
            v_mode := rule.meter_modes[v_at];
            FOR v_side IN 0 .. 1 LOOP
                IF v_side = 0 THEN
                    v_price := rule.meter_prices_xusd[v_at];
                    v_per := rule.meter_quantities_minor[v_at];
                    v_identity := rule.meter_rate_identities[v_at];
                ELSE
                    v_price := rule.meter_costs_xusd[v_at];
                    v_per := rule.meter_cost_quantities_minor[v_at];
                    v_identity := rule.meter_cost_identities[v_at];
                END IF;
                v_place := array_position(v_carry_keys, v_identity);
                v_carried := coalesce(v_carry_values[v_place], 0);
                IF v_mode IS NULL THEN
                    v_number := v_use.quantity::numeric * v_price + v_carried;
                    v_amount := div(v_number, v_per);
                    v_next := v_number - v_amount * v_per;
                ELSIF v_mode = 'prepaid' THEN
                    -- Blocks to buy, rounded up, and what then remains unused.
                    v_number := greatest(0, div(
                        v_use.quantity::numeric - v_carried + v_per - 1, v_per));
                    v_next := v_carried + v_number * v_per - v_use.quantity;
                    v_amount := v_number * v_price;
                ELSE
                    v_number := v_carried::numeric + v_use.quantity;
                    v_next := v_number - div(v_number, v_per) * v_per;
                    v_amount := div(v_number, v_per) * v_price;
                END IF;
                IF v_amount > c_all THEN
                    v_overflow := coalesce(v_overflow, 'amount_xusd');
                    v_amount := 0;
                END IF;
                v_numbers[1 + v_side] := v_amount;
                v_numbers[3 + 2 * v_side] := v_carried;
                v_numbers[4 + 2 * v_side] := v_next;
                IF v_next <> v_carried THEN
                    IF v_place IS NULL THEN
                        v_carry_keys := v_carry_keys || v_identity;
                        v_carry_values := v_carry_values || v_next;
                        v_carry_per := v_carry_per || v_per;
                        v_carry_meters := v_carry_meters || v_use.meter;
                        v_carry_changed := v_carry_changed || true;
                    ELSE
                        v_carry_values[v_place] := v_next;
                        v_carry_changed[v_place] := true;
                    END IF;
                END IF;
            END LOOP;
            v_revenue := v_revenue + v_numbers[1];
            v_cost := v_cost + v_numbers[2];
            v_line_numbers := v_line_numbers || v_numbers;
        END LOOP;
        v_overflow := CASE
            WHEN v_overflow IS NOT NULL THEN v_overflow
            WHEN v_quantity > c_all THEN 'quantity_minor'
            WHEN v_revenue > c_all THEN 'amount_xusd'
            WHEN v_cost > c_all THEN 'cost_xusd' END;
        IF v_overflow IS NOT NULL THEN
            v_answers := array_append(v_answers, jsonb_build_object(
                'o', 'overflow', 'field', v_overflow));
            CONTINUE;
        END IF;
        IF p_strict AND cardinality(v_foreign) > 0 THEN
            v_answers := array_append(v_answers, jsonb_build_object(
                'o', 'meter_not_allowed', 'meters', v_foreign));
            CONTINUE;
        END IF;

        -- What is applied of it.
        v_windows := '[]'; v_window_places := '{}'; v_window_takes := '{}';
        v_window_held := '{}';
        v_fits := item.quantity;
        FOR i IN 1 .. cardinality(held.quota_counter_ids) LOOP
            v_place := array_position(c_ids, held.quota_counter_ids[i]);
            CONTINUE WHEN v_place IS NULL;
            v_most := held.quota_limits[i];
            v_b := CASE WHEN held.quota_held[i] THEN held.reserved_minor ELSE 0 END;
            v_capacity := least(c_all, v_b::numeric + greatest(
                0, coalesce(v_most, c_all) - c_used[v_place] - c_reserved[v_place]));
            v_fits := least(v_fits, v_capacity);
            v_window_places := v_window_places || v_place;
            v_window_takes := v_window_takes || least(item.quantity, v_capacity);
            v_window_held := v_window_held || v_b;
            v_windows := v_windows || jsonb_build_array(jsonb_build_array(
                c_ids[v_place], v_most, v_b, c_used[v_place], c_reserved[v_place]));
        END LOOP;

        v_late := p_at > held.expires_at;
        v_quarantined := false;
        v_reasons := '{}';
        IF v_state <> 'active' THEN
            v_quarantined := true;
            v_reasons := v_reasons || 'lease_closed_at_commit'::text;
        END IF;
        IF v_late THEN
            IF p_at - held.expires_at > p_grace THEN
                v_quarantined := true;
                v_reasons := v_reasons || 'late_commit_exceeded'::text;
            ELSE
                v_reasons := v_reasons || 'late_commit'::text;
            END IF;
        END IF;
        IF cardinality(v_window_places) = 0 THEN
            v_quarantined := true;
            v_reasons := v_reasons || 'policy_window_not_found'::text;
        END IF;
        IF cardinality(v_foreign) > 0 THEN
            v_quarantined := true;
            v_reasons := v_reasons || 'meter_not_allowed_for_feature'::text;
        END IF;
        IF cardinality(v_unpriced) > 0 THEN
            v_quarantined := v_quarantined OR NOT held.zero_cost;
            v_reasons := v_reasons || 'pricing_not_configured'::text;
        END IF;

        v_available := 0;
        v_void := 0;
        v_pays := v_state = 'active' AND (held.reserved_xusd > 0 OR v_revenue > 0);
        IF v_pays THEN
            IF v_many AND rule.user_id IS DISTINCT FROM v_payer THEN
                PERFORM grants_lock(item.realm, rule.user_id);
                v_payer := rule.user_id;
            END IF;
            v_available := grants_gross(item.realm, rule.user_id, p_at);
            IF held.reserved_xusd > 0 THEN
                -- Of lots that were revoked or suspended nothing is paid.
                v_void := held.reserved_xusd
                    - grants_backed(held.held_lots, held.held_amounts);
            END IF;
        END IF;
        IF v_quarantined THEN
            v_status := 'quarantined';
            v_fits := 0;
            v_applied := 0;
            v_window_takes := array_fill(
                0::bigint, ARRAY[cardinality(v_window_places)]);
        ELSE
            v_applied := v_revenue;
            IF held.billing_mode = 'prepaid' THEN
                v_applied := least(
                    div(v_revenue * v_fits, item.quantity),
                    held.reserved_xusd::numeric - v_void + v_available);
                IF v_budget IS NOT NULL THEN
                    v_applied := least(v_applied, held.reserved_xusd::numeric + greatest(
                        0, coalesce(u_limits[v_budget], c_all) - u_consumed[v_budget]
                            - u_reserved[v_budget]));
                END IF;
            END IF;
            v_status := 'applied';
            IF v_fits < item.quantity OR v_applied < v_revenue THEN
                v_status := 'applied_clipped';
                v_reasons := v_reasons || 'overshoot'::text;
            END IF;
        END IF;
        -- point: decided

        IF v_budget IS NOT NULL THEN
            v_budget_seen := jsonb_build_object(
                'budget_id', held.budget_id, 'limit_xusd', u_limits[v_budget],
                'consumed_xusd', u_consumed[v_budget],
                'reserved_xusd', u_reserved[v_budget]);
            v_budget_takes := least(
                v_applied, held.reserved_xusd::numeric + c_all - u_consumed[v_budget]
                    - u_reserved[v_budget]);
            IF v_budget_takes > 0 THEN
                u_consumed[v_budget] := u_consumed[v_budget] + v_budget_takes;
                u_add_consumed[v_budget] := u_add_consumed[v_budget] + v_budget_takes;
                v_reasons := v_reasons || CASE
                    WHEN u_consumed[v_budget] > u_limits[v_budget]
                    THEN 'budget_limit_exceeded' ELSE 'budget_consumed' END;
            END IF;
            IF v_state = 'active' THEN
                u_reserved[v_budget] := u_reserved[v_budget] - held.reserved_xusd;
                u_ended[v_budget] := u_ended[v_budget] + held.reserved_xusd;
            END IF;
        END IF;

        v_funded := 0;
        IF v_pays THEN
            -- Postpaid, lots pay what they have; the rest is owed.
            v_funded := least(
                v_applied, held.reserved_xusd::numeric - v_void + v_available);
            PERFORM grants_settle(
                item.realm, rule.account_id, rule.user_id, held.held_lots,
                held.held_amounts, v_funded, v_applied - v_funded, item.entry,
                'gate_rating:' || item.id, p_at);
        END IF;
        IF v_funded < v_applied THEN
            v_reasons := v_reasons || 'cash_funding_applied'::text;
        END IF;
        IF v_state = 'active' THEN
            FOR i IN 1 .. cardinality(v_window_places) LOOP
                v_place := v_window_places[i];
                c_used[v_place] := c_used[v_place] + v_window_takes[i];
                c_reserved[v_place] := c_reserved[v_place] - v_window_held[i];
                c_add_used[v_place] := c_add_used[v_place] + v_window_takes[i];
                c_add_reserved[v_place] := c_add_reserved[v_place] - v_window_held[i];
            END LOOP;
            l_ids := l_ids || held.id;
            l_ratings := l_ratings || item.id;
        END IF;
        IF NOT v_quarantined THEN
            r_keys := v_carry_keys; r_values := v_carry_values; r_per := v_carry_per;
            r_meters := v_carry_meters; r_changed := v_carry_changed;
        END IF;

        v_evidence := jsonb_build_object(
            'state', v_state, 'expires_at', held.expires_at,
            'grace_seconds', floor(extract(epoch FROM p_grace)), 'windows', v_windows,
            'held_xusd', held.reserved_xusd, 'available_xusd', v_available,
            'unpriced', v_unpriced, 'not_allowed', v_foreign,
            'zero_cost', held.zero_cost);
        IF v_void > 0 THEN
            v_evidence := v_evidence || jsonb_build_object('void_xusd', v_void);
        END IF;
        IF v_budget IS NOT NULL THEN
            v_evidence := v_evidence || jsonb_build_object('budget', v_budget_seen);
        END IF;
        -- One expression per row, in the table's order (see gate_authorize).
        v_ratings := v_ratings || ROW(
            item.id, 'gate', 'debit', held.feature_code, held.feature_family_code,
            held.billing_mode, item.quantity, v_revenue, v_cost, v_status, v_reasons,
            v_late, v_fits, v_applied, CASE WHEN v_quarantined THEN 0 ELSE v_cost END,
            v_funded, rule.rules, held.labels || item.labels, v_evidence, p_at,
            item.operation, item.key, item.trace, rule.account_id, held.id,
            held.plan_assignment_id, item.realm, NULL, rule.user_id,
            '{}'::jsonb, held.budget_id)::gate_ratings;
        FOR i IN 1 .. cardinality(v_line_ids) LOOP
            v_records := v_records || ROW(
                v_line_ids[i], i, v_line_meters[i], v_line_units[i],
                CASE WHEN v_line_rates[i] IS NULL THEN 'missing_price' ELSE 'priced' END,
                v_line_quantities[i], v_line_numbers[6 * i - 5],
                v_line_numbers[6 * i - 4], v_line_rates[i], v_line_costs[i],
                v_line_numbers[6 * i - 3], v_line_numbers[6 * i - 2],
                v_line_numbers[6 * i - 1], v_line_numbers[6 * i], v_line_etags[i], p_at,
                item.realm, item.id)::gate_rated_records;
        END LOOP;
        v_keys := v_keys || (item.operation || item.key || rule.user_id);
        v_rating_keys := v_rating_keys || ROW(
            item.id, item.operation, item.key, decode(item.hash, 'hex'), p_at,
            CASE WHEN NOT v_quarantined THEN held.id END, item.realm,
            rule.user_id)::gate_rating_keys;
        v_answers := array_append(v_answers, jsonb_build_object(
            'o', 'committed', 'rules', rule.rules, 'account', rule.account_id,
            'user', rule.user_id, 'lease', held.id,
            'feature', held.feature_code, 'mode', held.billing_mode,
            'evidence', v_evidence, 'status', v_status, 'reasons', v_reasons,
            'quantity', v_fits, 'amount', v_applied,
            'cost', CASE WHEN v_quarantined THEN 0 ELSE v_cost END,
            'funded', v_funded, 'numbers', v_line_numbers));
    END LOOP;
    PERFORM gate_book_remainders(
        r_realm, r_user, r_keys, r_values, r_per, r_meters, r_changed);
    IF cardinality(u_ids) > 0 THEN
        PERFORM gate_book_budgets(u_ids, u_ended, u_add_consumed, p_at);
    END IF;
    PERFORM gate_book(
        c_ids, c_used, c_reserved, c_add_used, c_add_reserved, l_ids, l_ratings,
        v_ratings, v_records, v_rating_keys, p_at);
    RETURN to_jsonb(v_answers);
END $$;
