-- Commits one lease of each of several users, each of an account of its own, who used the
-- same meter of one feature under one set of rules, where all of it plainly applies: what
-- gate_close does for each, in the statements of one. For callers that met by chance
-- (gating/services/coalescing.py): an item that is not plain, or whose account is in use
-- just now, is left out, and is to be committed by itself. Nobody waits for another's
-- account here; should somebody else have a lot, hardly: then it raises, and all are to
-- be committed by themselves.
--
-- The parameters are those of gate_close; p_items has what is the item's own:
-- [{principal, user, lease, quantity, used, key, hash, id, operation, labels, trace,
-- entry, use, etag}].
--
-- Returns what gate_close answers for each item committed, with its `place` in p_items;
-- NULL for none.
--
-- Order of locks: the accounts, free ones only, counters, lots, leases.
CREATE OR REPLACE FUNCTION gate_close_many(
    p_realm text, p_bound boolean, p_feature text, p_rules uuid, p_meter text,
    p_unit text, p_price bigint, p_per bigint, p_cost bigint, p_cost_per bigint,
    p_rate text, p_cost_rate text, p_items jsonb, p_at timestamptz, p_grace interval,
    p_version bigint, p_alone boolean
) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '50ms' AS $$
DECLARE
    c_all CONSTANT bigint := 9223372036854775807;
    v_places bigint[];
    v_accounts uuid[];
    v_users uuid[];
    v_answers jsonb;
    v_windows bigint;
    v_counted bigint;
    v_leases bigint;
    v_closed bigint;
    v_paid bigint;
    v_kept bigint;
BEGIN
    SELECT array_agg(t.n), array_agg(t.account_id), array_agg(t.user_id)
    INTO v_places, v_accounts, v_users
    FROM (
        SELECT DISTINCT ON (p.account_id) i.n, p.*
        FROM ROWS FROM (jsonb_to_recordset(p_items) AS (principal text, "user" text))
            WITH ORDINALITY AS i(principal, business_user, n)
        CROSS JOIN LATERAL (
            -- A look-up per item: a join planned when nothing was there would read all.
            SELECT p.account_id, p.user_id
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
    -- point: decided

    WITH asked AS MATERIALIZED (
        SELECT u.account_id, u.user_id, i.*
        FROM unnest(v_places, v_accounts, v_users) AS u(n, account_id, user_id)
        JOIN ROWS FROM (jsonb_to_recordset(p_items) AS (
            lease text, quantity bigint, used bigint, key text, hash text, id uuid,
            operation text, labels jsonb, trace text, entry uuid, use uuid, etag text
        )) WITH ORDINALITY AS i(
            lease, quantity, used, key, hash, id, operation, labels, trace, entry, use,
            etag, n) ON i.n = u.n
    ), rated AS MATERIALIZED (
        SELECT a.*, l.id AS lease_id, l.feature_family_code, l.billing_mode,
            l.plan_assignment_id, l.expires_at, l.reserved_minor, l.reserved_xusd,
            l.zero_cost, l.labels AS lease_labels, l.quota_counter_ids, l.quota_limits,
            l.quota_held, l.held_lots, k.windows, k.known, r.carried, r.cost_carried,
            m.revenue, m.spent, m.after - m.revenue * p_per AS next,
            m.cost_after - m.spent * p_cost_per AS cost_next
        FROM asked a
        CROSS JOIN LATERAL (
            -- In the order of the one index on references, as in gate_close.
            SELECT * FROM gate_leases
            WHERE realm_id = p_realm AND user_id = a.user_id AND lease >= a.lease
            ORDER BY lease LIMIT 1
        ) l
        CROSS JOIN LATERAL (
            SELECT jsonb_agg(jsonb_build_array(
                    c.id, u.most, u.held, c.used_minor, c.reserved_minor)
                    ORDER BY u.place) AS windows,
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
        CROSS JOIN LATERAL (
            SELECT coalesce((
                    SELECT b.remainder_numer FROM gate_residual_buckets b
                    WHERE b.realm_id = p_realm AND b.user_id = a.user_id
                        AND b.meter_code = p_meter AND b.rate_identity = p_rate), 0)
                    AS carried,
                coalesce((
                    SELECT b.remainder_numer FROM gate_residual_buckets b
                    WHERE b.realm_id = p_realm AND b.user_id = a.user_id
                        AND b.meter_code = p_meter AND b.rate_identity = p_cost_rate), 0)
                    AS cost_carried
            OFFSET 0  -- each looked up once
        ) r
        CROSS JOIN LATERAL (
            SELECT s.*, div(s.after, p_per) AS revenue,
                div(s.cost_after, p_cost_per) AS spent
            FROM (
                SELECT a.used::numeric * p_price + r.carried AS after,
                    a.used::numeric * p_cost + r.cost_carried AS cost_after
            ) s
            OFFSET 0
        ) m
        WHERE l.lease = a.lease AND l.ended_at IS NULL AND l.feature_code = p_feature
            AND p_at <= l.expires_at AND l.budget IS NULL
            AND k.known > 0 AND k.known = cardinality(l.quota_counter_ids)
            AND k.room >= a.quantity AND greatest(m.revenue, m.spent) <= c_all
            -- A look-up for each: as EXISTS it might be planned as a join.
            AND (
                SELECT r.rating_id FROM gate_rating_keys r
                WHERE r.realm_id = p_realm AND r.user_id = a.user_id
                    AND r.operation = a.operation AND r.idempotency_key = a.key
                LIMIT 1) IS NULL
    ), plain AS MATERIALIZED (
        SELECT p.* FROM (
            SELECT r.*, purse.o_lot AS lot, coalesce(purse.o_gross, 0) AS available,
                r.reserved_xusd = 0 AND r.revenue = 0
                OR cardinality(r.held_lots) <= 1
                    AND purse.o_lot = coalesce(r.held_lots[1], purse.o_lot)
                    AND r.revenue <= purse.o_free::numeric + r.reserved_xusd AS pays
            FROM rated r
            LEFT JOIN LATERAL grants_purse(p_realm, r.user_id, r.held_lots, p_at) purse
                ON r.reserved_xusd > 0 OR r.revenue > 0
        ) p
        WHERE p.pays
    ), counted AS (
        UPDATE gate_counters c
        SET used_minor = c.used_minor + u.quantity,
            reserved_minor = c.reserved_minor - u.held
        FROM (
            SELECT p.quantity, t.id, coalesce(t.most, c_all) AS most,
                CASE WHEN t.holds THEN p.reserved_minor ELSE 0 END AS held
            FROM plain p,
                unnest(p.quota_counter_ids, p.quota_limits, p.quota_held)
                AS t(id, most, holds)
        ) u
        WHERE c.id = u.id
            AND u.quantity <= u.held::numeric
                + greatest(0, u.most - c.used_minor - c.reserved_minor)
        RETURNING 1
    ), taken AS MATERIALIZED (
        SELECT grants_take(
            p_realm, p.account_id, p.user_id, p.lot, p.reserved_xusd, p.revenue::bigint,
            p.entry, 'gate_rating:' || p.id, p_at)
        FROM plain p WHERE p.lot IS NOT NULL
    ), carried AS MATERIALIZED (
        SELECT gate_book_remainders(
            p_realm, p.user_id, ARRAY[p_rate, p_cost_rate],
            ARRAY[p.next::bigint, p.cost_next::bigint], ARRAY[p_per, p_cost_per],
            ARRAY[p_meter, p_meter],
            ARRAY[p.next <> p.carried, p.cost_next <> p.cost_carried])
        FROM plain p WHERE p.next <> p.carried OR p.cost_next <> p.cost_carried
    ), closed AS (
        UPDATE gate_leases l
        SET state = 'closed', ended_at = p_at, updated_at = p_at, rating_id = p.id,
            rated_at = p_at
        FROM plain p
        -- Not `state`: its partial index would look usable for this.
        WHERE l.id = p.lease_id AND l.ended_at IS NULL
        RETURNING 1
    ), told AS MATERIALIZED (
        SELECT p.*, jsonb_build_object(
            'state', 'active', 'expires_at', p.expires_at,
            'grace_seconds', floor(extract(epoch FROM p_grace)), 'windows', p.windows,
            'held_xusd', p.reserved_xusd, 'available_xusd', p.available,
            'unpriced', '[]'::jsonb, 'not_allowed', '[]'::jsonb,
            'zero_cost', p.zero_cost) AS evidence
        FROM plain p
    ), ratings AS (
        INSERT INTO gate_ratings (
            id, rating_kind, direction, feature_code, feature_family_code, billing_mode,
            canonical_quantity_minor, canonical_amount_xusd, canonical_cost_xusd,
            application_status, reason_codes, late_rating, applied_quantity_minor,
            applied_amount_xusd, applied_cost_xusd, funded_xusd, rule_set_id, labels,
            evidence, rated_at, operation, idempotency_key, trace_id, account_id, lease_id,
            plan_assignment_id, realm_id, user_id)
        SELECT t.id, 'gate', 'debit', p_feature, t.feature_family_code, t.billing_mode,
            t.quantity, t.revenue, t.spent, 'applied', '{}', false, t.quantity, t.revenue,
            t.spent, t.revenue, p_rules, t.lease_labels || t.labels, t.evidence, p_at,
            t.operation, t.key, t.trace, t.account_id, t.lease_id, t.plan_assignment_id,
            p_realm, t.user_id
        FROM told t
    ), records AS (
        INSERT INTO gate_rated_records (
            id, line_number, meter_code, unit, rating_status, quantity_minor, amount_xusd,
            cost_xusd, rate_identity, cost_rate_identity, remainder_in, remainder_out,
            cost_remainder_in, cost_remainder_out, client_pricing_etag, rated_at, realm_id,
            rating_id)
        SELECT t.use, 1, p_meter, p_unit, 'priced', t.used, t.revenue, t.spent, p_rate,
            p_cost_rate, t.carried, t.next, t.cost_carried, t.cost_next, t.etag, p_at,
            p_realm, t.id
        FROM told t
    ), keys AS (
        INSERT INTO gate_rating_keys (
            rating_id, operation, idempotency_key, request_hash, rated_at, lease_id,
            realm_id, user_id)
        SELECT t.id, t.operation, t.key, decode(t.hash, 'hex'), p_at, t.lease_id, p_realm,
            t.user_id
        FROM told t
    )
    SELECT jsonb_agg(jsonb_build_object(
            'place', t.n - 1, 'lease', t.lease_id, 'mode', t.billing_mode,
            'evidence', t.evidence, 'amount', t.revenue, 'cost', t.spent,
            'numbers', jsonb_build_array(
                t.revenue, t.spent, t.carried, t.next, t.cost_carried, t.cost_next))),
        sum(t.known), count(*),
        -- They are done as they are counted, and so in the order of locks.
        (SELECT count(*) FROM counted), (SELECT count(*) FROM taken),
        (SELECT count(*) FROM carried), (SELECT count(*) FROM closed)
    INTO v_answers, v_windows, v_leases, v_counted, v_paid, v_kept, v_closed
    FROM told t;
    IF v_counted < v_windows OR v_closed < v_leases THEN
        RAISE EXCEPTION 'a counter or a lease moved' USING ERRCODE = 'serialization_failure';
    END IF;
    IF v_answers IS NULL AND p_alone THEN
        -- Nothing was written that could be lost: the disk need not be waited for.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    -- point: stored
    RETURN v_answers;
END $$;
