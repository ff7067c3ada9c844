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
-- Order of locks: account, counters, balance, lease.
CREATE OR REPLACE FUNCTION gate_commit(
    p_items jsonb, p_at timestamptz, p_grace interval, p_strict boolean,
    p_version bigint
) RETURNS jsonb
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
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
    v_window_ids uuid[];
    v_window_takes bigint[];
    v_window_held bigint[];
    v_window_limits bigint[];
    v_window record;
    v_capacity bigint;
    v_fits bigint;
    v_late boolean;
    v_quarantined boolean;
    v_status text;
    v_reasons text[];
    v_available bigint;
    v_applied bigint;
    v_funded bigint;
    v_pays boolean;
    v_count integer;
    v_evidence jsonb;
BEGIN
    IF p_version <> (SELECT version FROM credential_versions WHERE id = 1) THEN
        RETURN '[{"o": "credentials"}]';
    END IF;
    IF v_many THEN
        SELECT array_agg(account_id) INTO v_locked FROM (
            SELECT s.account_id FROM gate_states s
            WHERE s.account_id IN (
                SELECT p.account_id
                FROM jsonb_to_recordset(p_items)
                    AS i(realm text, principal text, "user" text, feature text)
                JOIN gate_projections p ON p.realm_id = i.realm
                    AND p.principal_id = i.principal
                    AND p.business_user_id = i."user"
                    AND p.feature_code = i.feature)
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
        IF NOT FOUND THEN
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

        SELECT l.id, l.state, l.feature_code, l.feature_family_code, l.billing_mode,
            l.plan_assignment_id, l.expires_at, l.reserved_minor, l.reserved_xusd,
            l.zero_cost, l.labels, l.counter_ids, l.quota_counter_ids, l.quota_limits,
            l.quota_held
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
        v_state := held.state;
        IF v_state = 'active' AND p_at > held.expires_at + p_grace THEN
            UPDATE gate_leases SET state = 'expired', ended_at = p_at, updated_at = p_at
            WHERE id = held.id;
            UPDATE gate_counters SET reserved_minor = reserved_minor - held.reserved_minor
            WHERE id = ANY (held.counter_ids);
            IF held.reserved_xusd > 0 THEN
                PERFORM grants_settle(item.realm, rule.account_id, rule.user_id,
                    held.reserved_xusd, 0, '', NULL, p_at);
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
        SELECT coalesce(array_agg(b.rate_identity), '{}'),
            coalesce(array_agg(b.remainder_numer), '{}'),
            coalesce(array_agg(b.denom), '{}'), coalesce(array_agg(b.meter_code), '{}'),
            coalesce(array_agg(false), '{}')
        INTO v_carry_keys, v_carry_values, v_carry_per, v_carry_meters, v_carry_changed
        FROM gate_residual_buckets b
        WHERE b.realm_id = item.realm AND b.user_id = rule.user_id
            AND b.meter_code = ANY (rule.meter_codes)
            AND (b.rate_identity = ANY (rule.meter_rate_identities)
                OR b.rate_identity = ANY (rule.meter_cost_identities));
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
        v_windows := '[]'; v_window_ids := '{}'; v_window_takes := '{}';
        v_window_held := '{}'; v_window_limits := '{}';
        v_fits := item.quantity;
        FOR v_window IN
            SELECT c.id, t.most, c.used_minor, c.reserved_minor,
                CASE WHEN t.held THEN held.reserved_minor ELSE 0 END AS held_minor
            FROM unnest(held.quota_counter_ids, held.quota_limits, held.quota_held)
                AS t(id, most, held)
            JOIN gate_counters c ON c.id = t.id
            ORDER BY c.id
        LOOP
            v_capacity := least(c_all, v_window.held_minor::numeric + greatest(
                0, coalesce(v_window.most, c_all) - v_window.used_minor
                - v_window.reserved_minor));
            v_fits := least(v_fits, v_capacity);
            v_window_ids := v_window_ids || v_window.id;
            v_window_takes := v_window_takes || least(item.quantity, v_capacity);
            v_window_held := v_window_held || v_window.held_minor;
            v_window_limits := v_window_limits || coalesce(v_window.most, c_all);
            v_windows := v_windows || jsonb_build_array(jsonb_build_array(
                v_window.id, v_window.most, v_window.held_minor, v_window.used_minor,
                v_window.reserved_minor));
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
        IF cardinality(v_window_ids) = 0 THEN
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
        v_pays := v_state = 'active' AND (held.reserved_xusd > 0 OR v_revenue > 0);
        IF v_pays THEN
            v_available := grants_lock(rule.user_id);
        END IF;
        IF v_quarantined THEN
            v_status := 'quarantined';
            v_fits := 0;
            v_applied := 0;
            v_window_takes := array_fill(0::bigint, ARRAY[cardinality(v_window_ids)]);
        ELSE
            v_applied := v_revenue;
            IF held.billing_mode = 'prepaid' THEN
                v_applied := least(
                    div(v_revenue * v_fits, item.quantity),
                    held.reserved_xusd::numeric + greatest(0, v_available));
            END IF;
            v_status := 'applied';
            IF v_fits < item.quantity OR v_applied < v_revenue THEN
                v_status := 'applied_clipped';
                v_reasons := v_reasons || 'overshoot'::text;
            END IF;
        END IF;
        -- point: decided

        IF v_state = 'active' AND cardinality(v_window_ids) > 0 THEN
            UPDATE gate_counters c
            SET used_minor = c.used_minor + t.take,
                reserved_minor = c.reserved_minor - t.held
            FROM unnest(v_window_ids, v_window_takes, v_window_held, v_window_limits)
                AS t(id, take, held, most)
            WHERE c.id = t.id AND c.reserved_minor >= t.held
                AND (t.take <= t.held
                    OR t.take - t.held <= t.most - c.used_minor - c.reserved_minor)  -- guard
            ;
            GET DIAGNOSTICS v_count = ROW_COUNT;
            IF v_count <> cardinality(v_window_ids) THEN
                RAISE EXCEPTION 'the gate of account % moved', rule.account_id
                    USING ERRCODE = 'serialization_failure';
            END IF;
        END IF;
        v_funded := 0;
        IF v_pays THEN
            -- A postpaid balance pays what it has; the rest is owed.
            v_funded := grants_settle(
                item.realm, rule.account_id, rule.user_id, held.reserved_xusd,
                v_applied, 'gate_rating:' || item.id, item.entry, p_at);
        END IF;
        IF v_funded < v_applied THEN
            v_reasons := v_reasons || 'cash_funding_applied'::text;
        END IF;
        -- point: paid
        IF v_state = 'active' THEN
            UPDATE gate_leases SET state = 'closed', ended_at = p_at, updated_at = p_at,
                rating_id = item.id, rated_at = p_at
            -- Not `state`: its partial index would look usable for this.
            WHERE id = held.id AND ended_at IS NULL;
        END IF;

        v_evidence := jsonb_build_object(
            'state', v_state, 'expires_at', held.expires_at,
            'grace_seconds', floor(extract(epoch FROM p_grace)), 'windows', v_windows,
            'held_xusd', held.reserved_xusd, 'available_xusd', v_available,
            'unpriced', v_unpriced, 'not_allowed', v_foreign,
            'zero_cost', held.zero_cost);
        INSERT INTO gate_ratings (
            id, realm_id, account_id, user_id, rating_kind, lease_id, direction,
            feature_code, feature_family_code, billing_mode, plan_assignment_id,
            canonical_quantity_minor, canonical_amount_xusd, canonical_cost_xusd,
            application_status, reason_codes, late_rating, applied_quantity_minor,
            applied_amount_xusd, applied_cost_xusd, funded_xusd, rule_set_id, labels,
            evidence, rated_at, operation, idempotency_key, trace_id)
        VALUES (
            item.id, item.realm, rule.account_id, rule.user_id, 'gate', held.id, 'debit',
            held.feature_code, held.feature_family_code, held.billing_mode,
            held.plan_assignment_id, item.quantity, v_revenue, v_cost, v_status,
            v_reasons, v_late, v_fits, v_applied,
            CASE WHEN v_quarantined THEN 0 ELSE v_cost END, v_funded, rule.rules,
            held.labels || item.labels, v_evidence, p_at, item.operation, item.key,
            item.trace);
        INSERT INTO gate_rated_records (
            id, realm_id, rating_id, line_number, meter_code, unit, rating_status,
            quantity_minor, amount_xusd, cost_xusd, rate_identity, cost_rate_identity,
            remainder_in, remainder_out, cost_remainder_in, cost_remainder_out,
            client_pricing_etag, rated_at)
        SELECT t.id, item.realm, item.id, t.n, t.meter, t.unit,
            CASE WHEN t.rate IS NULL THEN 'missing_price' ELSE 'priced' END, t.quantity,
            v_line_numbers[6 * t.n - 5], v_line_numbers[6 * t.n - 4], t.rate, t.cost,
            v_line_numbers[6 * t.n - 3], v_line_numbers[6 * t.n - 2],
            v_line_numbers[6 * t.n - 1], v_line_numbers[6 * t.n], t.etag, p_at
        FROM unnest(v_line_ids, v_line_meters, v_line_units, v_line_quantities,
                v_line_rates, v_line_costs, v_line_etags)
            WITH ORDINALITY AS t(id, meter, unit, quantity, rate, cost, etag, n);
        IF NOT v_quarantined AND true = ANY (v_carry_changed) THEN
            INSERT INTO gate_residual_buckets AS b (
                id, realm_id, user_id, meter_code, rate_identity, denom, remainder_numer)
            SELECT md5(rule.user_id || '|' || t.meter || '|' || t.identity)::uuid,
                item.realm, rule.user_id, t.meter, t.identity, t.per, t.carried
            FROM unnest(v_carry_keys, v_carry_values, v_carry_per, v_carry_meters,
                    v_carry_changed) AS t(identity, carried, per, meter, changed)
            WHERE t.changed
            ON CONFLICT (realm_id, user_id, meter_code, rate_identity)
            DO UPDATE SET remainder_numer = excluded.remainder_numer;
        END IF;
        INSERT INTO gate_rating_keys (
            rating_id, realm_id, user_id, operation, idempotency_key, request_hash,
            rated_at, lease_id)
        VALUES (
            item.id, item.realm, rule.user_id, item.operation, item.key,
            decode(item.hash, 'hex'), p_at,
            CASE WHEN NOT v_quarantined THEN held.id END);
        -- point: stored
        v_answers := array_append(v_answers, jsonb_build_object(
            'o', 'committed', 'rules', rule.rules, 'lease', held.id,
            'feature', held.feature_code, 'mode', held.billing_mode,
            'evidence', v_evidence, 'status', v_status, 'reasons', v_reasons,
            'quantity', v_fits, 'amount', v_applied,
            'cost', CASE WHEN v_quarantined THEN 0 ELSE v_cost END,
            'funded', v_funded, 'numbers', v_line_numbers));
    END LOOP;
    RETURN to_jsonb(v_answers);
END $$;
