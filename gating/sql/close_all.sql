-- Commits several leases of one user and feature, where all of each plainly applies, as
-- gate_close does one. Where an item is not plain it answers NULL and changes nothing;
-- gate_commit then settles them all, one after the other, to the same end.
--
-- Plain is also that all hold on the same counters and the same lot, and use the same
-- meter. What an item
-- finds then follows from what the first one finds and from the sums of those before it.
--
-- p_items has, in order: [{lease, quantity, used, key, hash, id, operation, labels, trace,
-- entry, use, etag}]; neither a lease nor a key comes twice.
--
-- Returns, for each item, the numbers that the answer is made of, as gate_close does.
--
-- Order of locks: the account, counters, the lot, the leases.
CREATE OR REPLACE FUNCTION gate_close_all(
    p_realm text, p_principal text, p_business_user text, p_bound boolean,
    p_feature text, p_rules uuid, p_meter text, p_unit text, p_price bigint,
    p_per bigint, p_cost bigint, p_cost_per bigint, p_rate text, p_cost_rate text,
    p_items jsonb, p_at timestamptz, p_grace interval, p_version bigint
) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    c_all CONSTANT bigint := 9223372036854775807;
    v_account uuid;
    v_user uuid;
    leases record;
    rated record;
    counters record;
    v_carried bigint;
    v_cost_carried bigint;
    v_available bigint := 0;
    v_lot uuid;
    v_free bigint := 0;
    v_falls_short boolean;
    v_moved bigint;
    v_evidence jsonb[];
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

    SELECT count(*) AS found, array_agg(l.id ORDER BY i.n) AS ids,
        array_agg(l.billing_mode ORDER BY i.n) AS modes,
        array_agg(l.reserved_minor ORDER BY i.n) AS held,
        array_agg(l.reserved_xusd ORDER BY i.n) AS held_xusd,
        array_agg(i.quantity ORDER BY i.n) AS quantities,
        array_agg(i.used ORDER BY i.n) AS uses, array_agg(i.id ORDER BY i.n) AS ratings,
        sum(i.quantity)::bigint AS quantity, sum(l.reserved_minor)::bigint AS minor,
        sum(l.reserved_xusd)::bigint AS xusd,
        min(l.held_lots) FILTER (WHERE l.reserved_xusd > 0) AS lots,
        min(l.held_lots) FILTER (WHERE l.reserved_xusd > 0)
            <> max(l.held_lots) FILTER (WHERE l.reserved_xusd > 0) AS on_several,
        min(l.quota_counter_ids) AS counters,
        min(l.quota_limits) AS limits, min(l.quota_held) AS holds,
        min(l.quota_counter_ids) = max(l.quota_counter_ids)
            AND min(l.quota_limits) = max(l.quota_limits)
            AND min(l.quota_held) = max(l.quota_held) AS alike
    INTO leases
    FROM ROWS FROM (jsonb_to_recordset(p_items) AS (
        lease text, quantity bigint, used bigint, key text, id uuid, operation text))
        WITH ORDINALITY AS i(lease, quantity, used, key, id, operation, n)
    -- In the order of the one index on references: a plan made of an empty table would
    -- look through all leases of the user, where one is not plain.
    CROSS JOIN LATERAL (
        SELECT * FROM gate_leases
        WHERE realm_id = p_realm AND user_id = v_user AND lease >= i.lease
        ORDER BY lease LIMIT 1
    ) l
    WHERE l.lease = i.lease AND l.ended_at IS NULL AND l.feature_code = p_feature
        AND p_at <= l.expires_at AND l.budget IS NULL
        -- One look-up per item: a join would read all keys of the user.
        AND (
            SELECT r.rating_id FROM gate_rating_keys r
            WHERE r.realm_id = p_realm AND r.user_id = v_user
                AND r.operation = i.operation AND r.idempotency_key = i.key
            LIMIT 1) IS NULL;
    IF leases.found < jsonb_array_length(p_items) OR leases.alike IS NOT TRUE THEN
        RETURN NULL;
    END IF;

    SELECT coalesce(max(b.remainder_numer) FILTER (WHERE b.rate_identity = p_rate), 0),
        coalesce(max(b.remainder_numer) FILTER (WHERE b.rate_identity = p_cost_rate), 0)
    INTO v_carried, v_cost_carried
    FROM gate_residual_buckets b
    WHERE b.realm_id = p_realm AND b.user_id = v_user AND b.meter_code = p_meter
        AND b.rate_identity IN (p_rate, p_cost_rate);
    SELECT array_agg(t.revenue ORDER BY t.n) AS revenues,
        array_agg(t.spent ORDER BY t.n) AS costs,
        array_agg(t.before % p_per ORDER BY t.n) AS first,
        array_agg(t.after % p_per ORDER BY t.n) AS next,
        array_agg(t.cost_before % p_cost_per ORDER BY t.n) AS cost_first,
        array_agg(t.cost_after % p_cost_per ORDER BY t.n) AS cost_next,
        max(t.after % p_per) FILTER (WHERE t.n = leases.found) AS last,
        max(t.cost_after % p_cost_per) FILTER (WHERE t.n = leases.found) AS cost_last,
        sum(t.revenue) AS revenue, greatest(sum(t.revenue), sum(t.spent)) AS most
    INTO rated
    FROM (
        SELECT r.*, div(r.after, p_per) - div(r.before, p_per) AS revenue,
            div(r.cost_after, p_cost_per) - div(r.cost_before, p_cost_per) AS spent
        FROM (
            SELECT s.n, (s.total - s.used) * p_price + v_carried AS before,
                s.total * p_price + v_carried AS after,
                (s.total - s.used) * p_cost + v_cost_carried AS cost_before,
                s.total * p_cost + v_cost_carried AS cost_after
            FROM (
                SELECT t.n, t.used, sum(t.used) OVER (ORDER BY t.n) AS total
                FROM unnest(leases.uses) WITH ORDINALITY AS t(used, n)
            ) s
        ) r
    ) t;
    IF rated.most > c_all THEN
        RETURN NULL;
    END IF;
    IF leases.xusd > 0 OR rated.revenue > 0 THEN
        IF leases.on_several OR cardinality(leases.lots) > 1 THEN
            RETURN NULL;
        END IF;
        SELECT o_gross, o_lot, o_free INTO v_available, v_lot, v_free
        FROM grants_purse(p_realm, v_user, coalesce(leases.lots, '{}'), p_at);
        IF v_lot IS NULL OR v_lot <> leases.lots[1] THEN
            RETURN NULL;
        END IF;
    END IF;
    SELECT count(*) AS known, array_agg(c.used_minor ORDER BY t.place) AS used,
        array_agg(c.reserved_minor ORDER BY t.place) AS reserved
    INTO counters
    FROM unnest(leases.counters) WITH ORDINALITY AS t(id, place)
    JOIN gate_counters c ON c.id = t.id;
    IF counters.known = 0 OR counters.known < cardinality(leases.counters) THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(t.evidence ORDER BY t.n), bool_or(t.falls_short)
    INTO v_evidence, v_falls_short
    FROM (
        SELECT i.n,
            bool_or(i.quantity > w.held
                + greatest(0, coalesce(w.most, c_all) - w.used - w.reserved))
            -- The first lot has what all of them have less v_available, and v_free more.
            OR i.revenue > i.available - v_available + v_free + i.xusd AS falls_short,
            jsonb_build_object(
                'state', 'active', 'expires_at', l.expires_at,
                'grace_seconds', floor(extract(epoch FROM p_grace)),
                'windows', jsonb_agg(jsonb_build_array(
                    w.id, w.most, w.held, w.used, w.reserved) ORDER BY w.place),
                'held_xusd', i.xusd, 'available_xusd',
                CASE WHEN i.xusd > 0 OR i.revenue > 0 THEN i.available ELSE 0 END,
                'unpriced', '[]'::jsonb, 'not_allowed', '[]'::jsonb,
                'zero_cost', l.zero_cost) AS evidence
        FROM (
            SELECT u.*, sum(u.quantity) OVER so_far - u.quantity AS used_before,
                sum(u.held) OVER so_far - u.held AS held_before,
                v_available + sum(u.xusd - u.revenue) OVER so_far - u.xusd + u.revenue
                    AS available
            FROM unnest(
                leases.ids, leases.quantities, leases.held, leases.held_xusd,
                rated.revenues) WITH ORDINALITY AS u(id, quantity, held, xusd, revenue, n)
            WINDOW so_far AS (ORDER BY u.n)
        ) i
        -- One look-up each: a plan made of an empty table would join all leases.
        CROSS JOIN LATERAL (SELECT * FROM gate_leases WHERE id = i.id LIMIT 1) l
        CROSS JOIN LATERAL (
            SELECT t.id, t.most, t.place, CASE WHEN t.holds THEN i.held ELSE 0 END AS held,
                t.used + i.used_before AS used,
                t.reserved - CASE WHEN t.holds THEN i.held_before ELSE 0 END AS reserved
            FROM unnest(
                leases.counters, leases.limits, leases.holds, counters.used,
                counters.reserved) WITH ORDINALITY
                AS t(id, most, holds, used, reserved, place)
        ) w
        GROUP BY i.n, i.quantity, i.xusd, i.revenue, i.available, l.expires_at, l.zero_cost
    ) t;
    IF v_falls_short THEN
        RETURN NULL;
    END IF;
    -- point: decided

    UPDATE gate_counters c
    SET used_minor = c.used_minor + leases.quantity,
        reserved_minor = c.reserved_minor - CASE WHEN t.holds THEN leases.minor ELSE 0 END
    FROM unnest(leases.counters, leases.holds, counters.used, counters.reserved)
        AS t(id, holds, used, reserved)
    WHERE c.id = t.id
        AND (c.used_minor, c.reserved_minor) = (t.used, t.reserved)
    ;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    IF v_moved < counters.known THEN
        RAISE EXCEPTION 'a counter of user % moved', v_user
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF v_lot IS NOT NULL THEN
        PERFORM grants_take_all(
            p_realm, v_account, v_user, v_lot, leases.xusd,
            array_agg(t.entry ORDER BY t.n), array_agg(t.revenue::bigint ORDER BY t.n),
            array_agg('gate_rating:' || t.id ORDER BY t.n), p_at)
        FROM ROWS FROM (
            jsonb_to_recordset(p_items) AS (entry uuid, id uuid), unnest(rated.revenues))
            WITH ORDINALITY AS t(entry, id, revenue, n);
    END IF;
    PERFORM gate_book_remainders(
        p_realm, v_user, ARRAY[p_rate, p_cost_rate],
        ARRAY[rated.last::bigint, rated.cost_last::bigint], ARRAY[p_per, p_cost_per],
        ARRAY[p_meter, p_meter],
        ARRAY[rated.last <> v_carried, rated.cost_last <> v_cost_carried]);
    -- point: paid
    UPDATE gate_leases l
    SET state = 'closed', ended_at = p_at, updated_at = p_at, rated_at = p_at,
        rating_id = leases.ratings[array_position(leases.ids, l.id)]
    -- Not `state`: its partial index would look usable for this.
    WHERE l.id = ANY (leases.ids) AND l.ended_at IS NULL;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    IF v_moved < leases.found THEN
        RAISE EXCEPTION 'a lease of user % moved', v_user
            USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO gate_ratings (
        id, rating_kind, direction, feature_code, feature_family_code, billing_mode,
        canonical_quantity_minor, canonical_amount_xusd, canonical_cost_xusd,
        application_status, reason_codes, late_rating, applied_quantity_minor,
        applied_amount_xusd, applied_cost_xusd, funded_xusd, rule_set_id, labels,
        evidence, rated_at, operation, idempotency_key, trace_id, account_id, lease_id,
        plan_assignment_id, realm_id, user_id)
    SELECT i.id, 'gate', 'debit', p_feature, l.feature_family_code, l.billing_mode,
        i.quantity, i.revenue, i.spent, 'applied', '{}', false, i.quantity, i.revenue,
        i.spent, i.revenue, p_rules, l.labels || i.labels, i.evidence, p_at, i.operation,
        i.key, i.trace, v_account, l.id, l.plan_assignment_id, p_realm, v_user
    FROM ROWS FROM (
        jsonb_to_recordset(p_items) AS (
            id uuid, quantity bigint, labels jsonb, operation text, key text, trace text),
        unnest(leases.ids, rated.revenues, rated.costs, v_evidence))
        AS i(id, quantity, labels, operation, key, trace, lease, revenue, spent, evidence)
    CROSS JOIN LATERAL (SELECT * FROM gate_leases WHERE id = i.lease LIMIT 1) l;
    INSERT INTO gate_rated_records (
        id, line_number, meter_code, unit, rating_status, quantity_minor, amount_xusd,
        cost_xusd, rate_identity, cost_rate_identity, remainder_in, remainder_out,
        cost_remainder_in, cost_remainder_out, client_pricing_etag, rated_at, realm_id,
        rating_id)
    SELECT i.use, 1, p_meter, p_unit, 'priced', i.used, i.revenue, i.spent, p_rate,
        p_cost_rate, i.first, i.next, i.cost_first, i.cost_next, i.etag, p_at, p_realm, i.id
    FROM ROWS FROM (
        jsonb_to_recordset(p_items) AS (id uuid, use uuid, used bigint, etag text),
        unnest(
            rated.revenues, rated.costs, rated.first, rated.next, rated.cost_first,
            rated.cost_next))
        AS i(id, use, used, etag, revenue, spent, first, next, cost_first, cost_next);
    INSERT INTO gate_rating_keys (
        rating_id, operation, idempotency_key, request_hash, rated_at, lease_id,
        realm_id, user_id)
    SELECT i.id, i.operation, i.key, decode(i.hash, 'hex'), p_at, i.lease, p_realm, v_user
    FROM ROWS FROM (
        jsonb_to_recordset(p_items) AS (id uuid, operation text, key text, hash text),
        unnest(leases.ids)) AS i(id, operation, key, hash, lease);
    -- point: stored
    RETURN (
        SELECT jsonb_agg(jsonb_build_object(
            'lease', t.id, 'mode', t.mode, 'evidence', t.evidence, 'amount', t.revenue,
            'cost', t.spent, 'numbers', jsonb_build_array(
                t.revenue, t.spent, t.first, t.next, t.cost_first, t.cost_next))
            ORDER BY t.n)
        FROM unnest(
            leases.ids, leases.modes, v_evidence, rated.revenues, rated.costs, rated.first,
            rated.next, rated.cost_first, rated.cost_next) WITH ORDINALITY
            AS t(id, mode, evidence, revenue, spent, first, next, cost_first, cost_next, n)
    );
END $$;
