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

-- Ends a hold, and spends amounts, each under its source: all of them, or it raises.
CREATE OR REPLACE FUNCTION grants_settle(
    p_realm text, p_account uuid, p_user uuid, p_held bigint, p_entries uuid[],
    p_amounts bigint[], p_sources text[], p_at timestamptz
) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_spent bigint := (SELECT coalesce(sum(a), 0) FROM unnest(p_amounts) AS a);
BEGIN
    UPDATE credit_balances
    SET reserved_xusd = reserved_xusd - p_held,
        spent_xusd = spent_xusd + v_spent,
        updated_at = p_at
    WHERE user_id = p_user AND reserved_xusd >= p_held
        AND granted_xusd - spent_xusd - reserved_xusd >= v_spent - p_held;  -- guard
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the balance of user % moved', p_user
            USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO credit_entries (
        id, realm_id, account_id, user_id, kind, amount_xusd, source_ref, actor_kind,
        actor_id, operator, reason, ticket_id, trace_id, effective_at, occurred_at)
    SELECT t.id, p_realm, p_account, p_user, 'spend', -t.amount, t.source, '', '', '',
        '', '', '', p_at, p_at
    FROM unnest(p_entries, p_amounts, p_sources) AS t(id, amount, source);
END $$;
