-- Writes what items of gate_authorize were decided to take: additions to counters, and
-- the leases. p_used and p_reserved are what the counters come to with the additions;
-- one that does not stand where that leads from was moved by somebody else.
CREATE OR REPLACE FUNCTION gate_store(
    p_leases gate_leases[], p_counters uuid[], p_used bigint[], p_reserved bigint[],
    p_add_used bigint[], p_add_reserved bigint[]
) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
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
    -- point: held
    INSERT INTO gate_leases SELECT * FROM unnest(p_leases);
    -- point: stored
END $$;
