-- Commits one lease, where all of what was used plainly applies: nearly always. Whatever
-- is not as plain as that it leaves alone and answers NULL; gate_commit then settles it.
-- Both do what gating/settle.py and gating/pricing specify.
--
-- Plain is the use of one priced meter, not by whole blocks, of a lease that is active,
-- in time, and of this feature, where every quota takes the quantity and one lot, the
-- first in the order of spending, pays the amount.
--
-- Returns the numbers that the answer is made of, as gate_commit does.
--
-- Order of locks: the account, counters, the lot, the lease.
CREATE OR REPLACE FUNCTION gate_close(
    p_realm text, p_principal text, p_business_user text, p_bound boolean,
    p_feature text, p_rules uuid, p_meter text, p_unit text, p_price bigint,
    p_per bigint, p_cost bigint, p_cost_per bigint, p_rate text, p_cost_rate text,
    p_lease text, p_quantity bigint, p_used bigint, p_key text, p_hash text, p_id uuid,
    p_operation text, p_labels jsonb, p_trace text, p_entry uuid, p_use uuid,
    p_etag text, p_at timestamptz, p_grace interval, p_version bigint
) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_account uuid;
    v_user uuid;
    c_all CONSTANT bigint := 9223372036854775807;
    held record;
    v_revenue numeric;
    v_spent numeric;
    v_next numeric;
    v_cost_next numeric;
    v_available bigint := 0;
    v_lot uuid;
    v_free bigint;
    v_moved bigint;
    v_evidence jsonb;
BEGIN
    SELECT p.account_id, p.user_id INTO v_account, v_user
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

    SELECT l.id, l.feature_family_code, l.billing_mode, l.plan_assignment_id,
        l.expires_at, l.reserved_minor, l.reserved_xusd, l.zero_cost, l.labels,
        l.quota_counter_ids, l.quota_limits, l.quota_held, l.held_lots, k.windows, k.known, k.room,
        coalesce((
            SELECT b.remainder_numer FROM gate_residual_buckets b
            WHERE b.realm_id = p_realm AND b.user_id = v_user AND b.meter_code = p_meter
                AND b.rate_identity = p_rate), 0) AS carried,
        coalesce((
            SELECT b.remainder_numer FROM gate_residual_buckets b
            WHERE b.realm_id = p_realm AND b.user_id = v_user AND b.meter_code = p_meter
                AND b.rate_identity = p_cost_rate), 0) AS cost_carried
    INTO held
    FROM (
        -- In the order of the one index on references: a plan made of an empty table
        -- would look through all leases of the user, where this one is not plain.
        SELECT * FROM gate_leases
        WHERE realm_id = p_realm AND user_id = v_user AND lease >= p_lease
        ORDER BY lease LIMIT 1
    ) l
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_array(
                c.id, u.most, u.held, c.used_minor, c.reserved_minor) ORDER BY u.place)
                AS windows,
            count(*) AS known,
            -- What the lease holds, and what is left beside it.
            min(u.held::numeric + greatest(
                0, coalesce(u.most, c_all) - c.used_minor - c.reserved_minor)) AS room
        FROM (
            SELECT t.id, t.most, t.place,
                CASE WHEN t.holds THEN l.reserved_minor ELSE 0 END AS held
            FROM unnest(l.quota_counter_ids, l.quota_limits, l.quota_held)
                WITH ORDINALITY AS t(id, most, holds, place)
        ) u JOIN gate_counters c ON c.id = u.id
    ) k
    WHERE l.lease = p_lease AND l.ended_at IS NULL AND l.feature_code = p_feature
        AND p_at <= l.expires_at AND l.budget IS NULL
        AND NOT EXISTS (
            SELECT FROM gate_rating_keys r
            WHERE r.realm_id = p_realm AND r.user_id = v_user
                AND r.operation = p_operation AND r.idempotency_key = p_key);
    IF NOT FOUND OR held.known = 0 OR held.known < cardinality(held.quota_counter_ids)
        OR held.room < p_quantity
    THEN
        RETURN NULL;
    END IF;

    v_next := p_used::numeric * p_price + held.carried;
    v_revenue := div(v_next, p_per);
    v_next := v_next - v_revenue * p_per;
    v_cost_next := p_used::numeric * p_cost + held.cost_carried;
    v_spent := div(v_cost_next, p_cost_per);
    v_cost_next := v_cost_next - v_spent * p_cost_per;
    IF greatest(v_revenue, v_spent) > c_all THEN
        RETURN NULL;
    END IF;
    IF held.reserved_xusd > 0 OR v_revenue > 0 THEN
        SELECT o_gross, o_lot, o_free INTO v_available, v_lot, v_free
        FROM grants_purse(p_realm, v_user, held.held_lots, p_at);
        IF v_lot IS NULL OR cardinality(held.held_lots) > 1 OR v_lot <> held.held_lots[1]
            OR v_revenue > v_free::numeric + held.reserved_xusd
        THEN
            RETURN NULL;
        END IF;
    END IF;
    -- point: decided

    UPDATE gate_counters c
    SET used_minor = c.used_minor + p_quantity,
        reserved_minor = c.reserved_minor - u.held
    FROM (
        SELECT t.id, coalesce(t.most, c_all) AS most,
            CASE WHEN t.holds THEN held.reserved_minor ELSE 0 END AS held
        FROM unnest(held.quota_counter_ids, held.quota_limits, held.quota_held)
            AS t(id, most, holds)
    ) u
    WHERE c.id = u.id
        AND p_quantity <= u.held::numeric
            + greatest(0, u.most - c.used_minor - c.reserved_minor)
    ;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    IF v_moved < held.known THEN
        RAISE EXCEPTION 'a counter of user % moved', v_user
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF v_lot IS NOT NULL THEN
        PERFORM grants_take(
            p_realm, v_account, v_user, v_lot, held.reserved_xusd, v_revenue::bigint,
            p_entry, 'gate_rating:' || p_id, p_at);
    END IF;
    IF v_next <> held.carried OR v_cost_next <> held.cost_carried THEN
        PERFORM gate_book_remainders(
            p_realm, v_user, ARRAY[p_rate, p_cost_rate],
            ARRAY[v_next::bigint, v_cost_next::bigint], ARRAY[p_per, p_cost_per],
            ARRAY[p_meter, p_meter],
            ARRAY[v_next <> held.carried, v_cost_next <> held.cost_carried]);
    END IF;
    -- point: paid
    UPDATE gate_leases
    SET state = 'closed', ended_at = p_at, updated_at = p_at, rating_id = p_id,
        rated_at = p_at
    -- Not `state`: its partial index would look usable for this.
    WHERE id = held.id AND ended_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease % moved', held.id
            USING ERRCODE = 'serialization_failure';
    END IF;
    v_evidence := jsonb_build_object(
        'state', 'active', 'expires_at', held.expires_at,
        'grace_seconds', floor(extract(epoch FROM p_grace)), 'windows', held.windows,
        'held_xusd', held.reserved_xusd, 'available_xusd', v_available,
        'unpriced', '[]'::jsonb, 'not_allowed', '[]'::jsonb,
        'zero_cost', held.zero_cost);
    INSERT INTO gate_ratings (
        id, rating_kind, direction, feature_code, feature_family_code, billing_mode,
        canonical_quantity_minor, canonical_amount_xusd, canonical_cost_xusd,
        application_status, reason_codes, late_rating, applied_quantity_minor,
        applied_amount_xusd, applied_cost_xusd, funded_xusd, rule_set_id, labels,
        evidence, rated_at, operation, idempotency_key, trace_id, account_id, lease_id,
        plan_assignment_id, realm_id, user_id)
    VALUES (
        p_id, 'gate', 'debit', p_feature, held.feature_family_code, held.billing_mode,
        p_quantity, v_revenue, v_spent, 'applied', '{}', false, p_quantity, v_revenue,
        v_spent, v_revenue, p_rules, held.labels || p_labels, v_evidence, p_at,
        p_operation, p_key, p_trace, v_account, held.id, held.plan_assignment_id,
        p_realm, v_user);
    INSERT INTO gate_rated_records (
        id, line_number, meter_code, unit, rating_status, quantity_minor, amount_xusd,
        cost_xusd, rate_identity, cost_rate_identity, remainder_in, remainder_out,
        cost_remainder_in, cost_remainder_out, client_pricing_etag, rated_at, realm_id,
        rating_id)
    VALUES (
        p_use, 1, p_meter, p_unit, 'priced', p_used, v_revenue, v_spent, p_rate,
        p_cost_rate, held.carried, v_next, held.cost_carried, v_cost_next, p_etag, p_at,
        p_realm, p_id);
    INSERT INTO gate_rating_keys (
        rating_id, operation, idempotency_key, request_hash, rated_at, lease_id,
        realm_id, user_id)
    VALUES (
        p_id, p_operation, p_key, decode(p_hash, 'hex'), p_at, held.id, p_realm, v_user);
    -- point: stored
    RETURN jsonb_build_object(
        'lease', held.id, 'mode', held.billing_mode, 'evidence', v_evidence,
        'amount', v_revenue, 'cost', v_spent, 'numbers', jsonb_build_array(
            v_revenue, v_spent, held.carried, v_next, held.cost_carried, v_cost_next));
END $$;
