-- Writes what items of gate_commit were settled to take: counters, the ends of leases,
-- ratings. Of the counters p_used and p_reserved are what they come to; one that does
-- not stand where that leads from was moved by somebody else.
CREATE OR REPLACE FUNCTION gate_book(
    p_counters uuid[], p_used bigint[], p_reserved bigint[], p_add_used bigint[],
    p_add_reserved bigint[], p_leases uuid[], p_lease_ratings uuid[],
    p_ratings gate_ratings[], p_records gate_rated_records[], p_keys gate_rating_keys[],
    p_at timestamptz
) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    FOR i IN 1 .. cardinality(p_counters) LOOP
        CONTINUE WHEN p_add_used[i] = 0 AND p_add_reserved[i] = 0;
        UPDATE gate_counters
        SET used_minor = used_minor + p_add_used[i],
            reserved_minor = reserved_minor + p_add_reserved[i]
        WHERE id = p_counters[i]
            AND used_minor = p_used[i] - p_add_used[i]  -- guard
            AND reserved_minor = p_reserved[i] - p_add_reserved[i]  -- guard
        ;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the counter % moved', p_counters[i]
                USING ERRCODE = 'serialization_failure';
        END IF;
    END LOOP;
    -- point: paid
    -- One by one: a join planned while there were no leases would read all of them.
    FOR i IN 1 .. cardinality(p_leases) LOOP
        UPDATE gate_leases
        SET state = 'closed', ended_at = p_at, updated_at = p_at,
            rating_id = p_lease_ratings[i], rated_at = p_at
        -- Not `state`: its partial index would look usable for this.
        WHERE id = p_leases[i] AND ended_at IS NULL;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lease % moved', p_leases[i]
                USING ERRCODE = 'serialization_failure';
        END IF;
    END LOOP;
    INSERT INTO gate_ratings SELECT * FROM unnest(p_ratings);
    INSERT INTO gate_rated_records SELECT * FROM unnest(p_records);
    INSERT INTO gate_rating_keys SELECT * FROM unnest(p_keys);
    -- point: stored
END $$;

-- Stores the remainders that a user's items changed.
CREATE OR REPLACE FUNCTION gate_book_remainders(
    p_realm text, p_user uuid, p_keys text[], p_values bigint[], p_per bigint[],
    p_meters text[], p_changed boolean[]
) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF true = ANY (p_changed) THEN
        INSERT INTO gate_residual_buckets (
            id, realm_id, user_id, meter_code, rate_identity, denom, remainder_numer)
        SELECT md5(p_user || '|' || t.meter || '|' || t.identity)::uuid, p_realm, p_user,
            t.meter, t.identity, t.per, t.carried
        FROM unnest(p_keys, p_values, p_per, p_meters, p_changed)
            AS t(identity, carried, per, meter, changed)
        WHERE t.changed
        ON CONFLICT (realm_id, user_id, meter_code, rate_identity)
        DO UPDATE SET remainder_numer = excluded.remainder_numer;
    END IF;
END $$;

-- Ends what items held on budgets, and consumes what they came to.
CREATE OR REPLACE FUNCTION gate_book_budgets(
    p_budgets uuid[], p_held bigint[], p_consumed bigint[], p_at timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. cardinality(p_budgets) LOOP
        CONTINUE WHEN p_held[i] = 0 AND p_consumed[i] = 0;
        PERFORM grants_settle_budget(p_budgets[i], p_held[i], p_consumed[i], p_at);
    END LOOP;
END $$;
