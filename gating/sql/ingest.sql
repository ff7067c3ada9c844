-- Reads, under the account's lock, what usage without a lease is settled on
-- (gating/ingestion.py): one round trip, in the transaction that then books it.
--
-- p_item: {realm, principal, user, bound, feature, operation, key, hash, occurred,
-- budget}, and where the rules of a past instant were resolved for it: {rules,
-- assignment, catalog, account_version}, the last two being the counts of changes they
-- were resolved at.
--
-- p_version is that of the credentials the caller was known by, NULL where they were
-- read for this call; where it has moved on, `credentials` is the only answer.
--
-- Returns `o`: `replayed`, with the rating to read; `key_reused`; `stale`, where the
-- user or the rules of `occurred` are not known (`current`: those of p_at are); else
-- `open`, with the rules, what lots have, what was carried under each rate, and the budget
-- that is named, NULL where there is none.
--
-- Order of locks: the account's row, then the budget; booking takes from lots.
CREATE OR REPLACE FUNCTION gate_ingest_read(
    p_item jsonb, p_at timestamptz, p_version bigint
) RETURNS jsonb
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    item record;
    kept record;
    rule record;
    v_account uuid;
    v_user uuid;
    v_current boolean;
    v_rules uuid;
    v_assignment uuid;
    v_carried jsonb;
    v_available bigint;
    v_budget jsonb;
BEGIN
    IF p_version <> (SELECT version FROM credential_versions WHERE id = 1) THEN
        RETURN '{"o": "credentials"}';
    END IF;
    SELECT * INTO item FROM jsonb_to_record(p_item) AS i(
        realm text, principal text, "user" text, bound boolean, feature text,
        operation text, key text, hash text, occurred timestamptz, budget text,
        rules uuid, assignment uuid, catalog bigint, account_version bigint);
    SELECT u.account_id, u.id INTO v_account, v_user
    FROM billing_accounts a
    JOIN billing_users u ON u.realm_id = a.realm_id AND u.account_id = a.id
    WHERE a.realm_id = item.realm AND a.billing_principal_id = item.principal
        AND u.business_user_id = item."user"
        AND (item.bound OR u.status = 'active');
    IF FOUND THEN
        PERFORM 1 FROM gate_states s
        WHERE s.account_id = v_account
        FOR NO KEY UPDATE;  -- lock
    END IF;
    IF NOT FOUND THEN
        RETURN '{"o": "stale", "current": false}';
    END IF;

    SELECT k.rating_id, k.rated_at, k.request_hash INTO kept FROM gate_rating_keys k
    WHERE k.realm_id = item.realm AND k.user_id = v_user
        AND k.operation = item.operation AND k.idempotency_key = item.key;
    IF FOUND AND kept.request_hash = decode(item.hash, 'hex') THEN
        RETURN jsonb_build_object(
            'o', 'replayed', 'rating', kept.rating_id, 'rated_at', kept.rated_at);
    ELSIF FOUND THEN
        RETURN '{"o": "key_reused"}';
    END IF;

    SELECT p.rule_set_id, p.plan_assignment_id, p.valid_from, p.valid_until INTO rule
    FROM gate_projections p
    JOIN gate_catalog_versions c
        ON c.realm_id = p.realm_id AND c.version = p.catalog_version
    JOIN gate_account_versions a
        ON a.account_id = p.account_id AND a.version = p.account_version
    WHERE p.realm_id = item.realm AND p.principal_id = item.principal
        AND p.business_user_id = item."user" AND p.feature_code = item.feature;
    v_current := FOUND AND rule.valid_from <= p_at AND p_at < rule.valid_until;
    IF FOUND AND rule.valid_from <= item.occurred AND item.occurred < rule.valid_until
    THEN
        v_rules := rule.rule_set_id;
        v_assignment := rule.plan_assignment_id;
    ELSE
        SELECT item.rules, item.assignment INTO v_rules, v_assignment
        FROM gate_catalog_versions c, gate_account_versions a
        WHERE c.realm_id = item.realm AND c.version = item.catalog
            AND a.account_id = v_account AND a.version = item.account_version;
    END IF;
    IF v_rules IS NULL THEN
        RETURN jsonb_build_object('o', 'stale', 'current', v_current);
    END IF;

    -- Nobody changes them until this transaction ends: that takes the account's lock.
    SELECT coalesce(jsonb_object_agg(b.rate_identity, b.remainder_numer), '{}')
    INTO v_carried
    FROM gate_rule_sets r
    JOIN gate_residual_buckets b ON b.realm_id = r.realm_id AND b.user_id = v_user
        AND b.meter_code = ANY (r.meter_codes)
        AND b.rate_identity = ANY (r.meter_rate_identities || r.meter_cost_identities)
    WHERE r.id = v_rules;
    v_available := grants_gross(item.realm, v_user, p_at);
    IF item.budget IS NOT NULL THEN
        v_budget := grants_budget(item.realm, v_user, item.budget);
        IF v_budget IS NOT NULL THEN
            PERFORM grants_lock_budget((v_budget->>'budget_id')::uuid);
            v_budget := grants_budget(item.realm, v_user, item.budget);
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'o', 'open', 'account', v_account, 'user', v_user, 'rules', v_rules,
        'assignment', v_assignment, 'carried', v_carried,
        'available', v_available, 'budget', v_budget);
END $$;

-- Books what was settled on that: the money paid or owed, p_budget on the rating's budget, the
-- remainders carried on, the rating with its lines and its key. In the transaction that
-- read it.
CREATE OR REPLACE FUNCTION gate_ingest_book(
    p_rating jsonb, p_lines jsonb, p_remainders jsonb, p_budget bigint, p_hash text,
    p_entry uuid, p_at timestamptz
) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    rating gate_ratings := jsonb_populate_record(NULL::gate_ratings, p_rating);
BEGIN
    IF rating.applied_amount_xusd > 0 THEN
        PERFORM grants_settle(
            rating.realm_id, rating.account_id, rating.user_id, '{}', '{}',
            rating.funded_xusd, rating.applied_amount_xusd - rating.funded_xusd, p_entry,
            'gate_rating:' || rating.id, p_at);
    END IF;
    IF p_budget > 0 THEN
        PERFORM gate_book_budgets(
            ARRAY[rating.budget_id], ARRAY[0::bigint], ARRAY[p_budget], p_at);
    END IF;
    PERFORM gate_book_remainders(
        rating.realm_id, rating.user_id, array_agg(r.rate_identity), array_agg(r.numer),
        array_agg(r.denom), array_agg(r.meter_code), array_agg(true))
    FROM jsonb_to_recordset(p_remainders)
        AS r(rate_identity text, meter_code text, denom bigint, numer bigint);
    PERFORM gate_book(
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', ARRAY[rating],
        ARRAY(SELECT l FROM jsonb_populate_recordset(NULL::gate_rated_records, p_lines) l),
        ARRAY[ROW(
            rating.id, rating.operation, rating.idempotency_key, decode(p_hash, 'hex'),
            rating.rated_at, NULL, rating.realm_id, rating.user_id)::gate_rating_keys],
        p_at);
END $$;
