-- The gate's way to a user's budgets, as that to the user's money (lots.sql).

-- A user's budget by its reference, as one document; NULL where there is none. What is
-- absent is unlimited or open.
CREATE OR REPLACE FUNCTION grants_budget(
    p_realm text, p_user uuid, p_reference text
) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_strip_nulls(jsonb_build_object(
            'budget_id', id, 'limit_xusd', limit_xusd, 'consumed_xusd', consumed_xusd,
            'reserved_xusd', reserved_xusd, 'window_start', window_start,
            'window_end', window_end, 'closed_at', closed_at,
            'feature_codes', feature_codes))
        FROM budgets
        WHERE realm_id = p_realm AND user_id = p_user AND reference = p_reference);
END $$;

-- A budget's limit, and what was consumed and is reserved of it; nobody else may change
-- it until the transaction ends.
CREATE OR REPLACE FUNCTION grants_lock_budget(
    p_budget uuid, OUT o_limit bigint, OUT o_consumed bigint, OUT o_reserved bigint
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT limit_xusd, consumed_xusd, reserved_xusd
    INTO STRICT o_limit, o_consumed, o_reserved
    FROM budgets WHERE id = p_budget FOR NO KEY UPDATE;
END $$;

-- Holds an amount for a use to come; false, and nothing changes, where it lacks.
CREATE OR REPLACE FUNCTION grants_hold_budget(
    p_budget uuid, p_amount bigint, p_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    c_all CONSTANT bigint := 9223372036854775807;
BEGIN
    UPDATE budgets SET reserved_xusd = reserved_xusd + p_amount, updated_at = p_at
    WHERE id = p_budget
        AND coalesce(limit_xusd, c_all) - consumed_xusd - reserved_xusd >= p_amount;  -- guard
    RETURN FOUND;
END $$;

-- Ends a hold, and consumes an amount, be it beyond the limit.
CREATE OR REPLACE FUNCTION grants_settle_budget(
    p_budget uuid, p_held bigint, p_consumed bigint, p_at timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budgets
    SET reserved_xusd = reserved_xusd - p_held,
        consumed_xusd = consumed_xusd + p_consumed,
        updated_at = p_at
    WHERE id = p_budget
        AND reserved_xusd >= p_held;  -- guard
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the budget % moved', p_budget
            USING ERRCODE = 'serialization_failure';
    END IF;
END $$;
