-- The gate's way to a user's money. Amounts are integers of 10^-6 USD. Everything the
-- gate's functions know about funding is in these four; what keeps the money is behind.

CREATE OR REPLACE FUNCTION grants_available(p_user uuid) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_available bigint;
BEGIN
    SELECT granted_xusd - spent_xusd - reserved_xusd INTO v_available
    FROM credit_balances WHERE user_id = p_user;
    RETURN coalesce(v_available, 0);
END $$;

-- The same, and nobody else may change it until the transaction ends.
CREATE OR REPLACE FUNCTION grants_lock(p_user uuid) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_available bigint;
BEGIN
    SELECT granted_xusd - spent_xusd - reserved_xusd INTO v_available
    FROM credit_balances WHERE user_id = p_user FOR NO KEY UPDATE;
    RETURN coalesce(v_available, 0);
END $$;

-- Holds an amount for a spend to come; false, and nothing changes, where it lacks.
CREATE OR REPLACE FUNCTION grants_hold(
    p_user uuid, p_amount bigint, p_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE credit_balances
    SET reserved_xusd = reserved_xusd + p_amount, updated_at = p_at
    WHERE user_id = p_user
        AND granted_xusd - spent_xusd - reserved_xusd >= p_amount;  -- guard
    RETURN FOUND;
END $$;

-- Ends a hold and spends, or as much of it as is then available; returns the spend.
CREATE OR REPLACE FUNCTION grants_settle(
    p_realm text, p_account uuid, p_user uuid, p_held bigint, p_spend bigint,
    p_source text, p_entry uuid, p_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_spend bigint := least(p_spend, grants_lock(p_user) + p_held);
BEGIN
    IF p_held = 0 AND v_spend = 0 THEN
        RETURN 0;
    END IF;
    UPDATE credit_balances
    SET reserved_xusd = reserved_xusd - p_held,
        spent_xusd = spent_xusd + v_spend,
        updated_at = p_at
    WHERE user_id = p_user AND reserved_xusd >= p_held;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not hold % xusd', p_user, p_held
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF v_spend > 0 THEN
        INSERT INTO credit_entries (
            id, realm_id, account_id, user_id, kind, amount_xusd, source_ref,
            actor_kind, actor_id, operator, reason, ticket_id, trace_id,
            effective_at, occurred_at)
        VALUES (
            p_entry, p_realm, p_account, p_user, 'spend', -v_spend, p_source,
            '', '', '', '', '', '', p_at, p_at);
    END IF;
    RETURN v_spend;
END $$;
