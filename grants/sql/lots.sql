-- The gate's way to a user's money. Amounts are integers of 10^-6 USD. Everything the
-- gate's functions know about funding is in these; lots are behind them.
--
-- A lot pays new uses while it is ready or active, its window holds, something is left,
-- and it is no overage. Lots pay in the order of their ends, then of priority, then of
-- their ids; whoever takes from several takes, and locks, them in that order.
--
-- Every change of a lot is guarded by its own row, whoever else changes it: where a
-- guard refuses, the whole transaction is to be tried again.

-- What is left on the lots that pay new uses.
CREATE OR REPLACE FUNCTION grants_gross(
    p_realm text, p_user uuid, p_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT least(9223372036854775807, coalesce(
            sum(amount_xusd - consumed_xusd - reserved_xusd), 0))
        FROM grant_lots
        WHERE realm_id = p_realm AND user_id = p_user AND status IN ('ready', 'active')
            AND kind <> 'fallback' AND window_start <= p_at
            AND (window_end IS NULL OR p_at < window_end));
END $$;

-- The same less what is owed, 0 or more: what authorize admits by. p_freed is what comes
-- free of holds, as if they had been given up.
CREATE OR REPLACE FUNCTION grants_available(
    p_realm text, p_user uuid, p_at timestamptz, p_freed bigint DEFAULT 0
) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT least(9223372036854775807, greatest(0, coalesce(
            sum(amount_xusd + paid_xusd - consumed_xusd - reserved_xusd), 0) + p_freed - (
                -- What settlement has not put on its lot yet.
                SELECT coalesce(sum(a.amount_xusd), 0) FROM grant_allocations a
                WHERE a.realm_id = p_realm AND a.user_id = p_user
                    AND a.lot_id IS NULL)))
        FROM grant_lots
        WHERE realm_id = p_realm AND user_id = p_user AND status IN ('ready', 'active')
            AND (kind = 'fallback'
                OR window_start <= p_at AND (window_end IS NULL OR p_at < window_end)));
END $$;

-- What the lots that pay new uses have left, which of them comes first of those that
-- have something left or are held on, and what is left there.
CREATE OR REPLACE FUNCTION grants_purse(
    p_realm text, p_user uuid, p_held uuid[], p_at timestamptz,
    OUT o_gross bigint, OUT o_lot uuid, OUT o_free bigint
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_lots bigint;
BEGIN
    SELECT count(*), least(9223372036854775807, coalesce(sum(l.free), 0)),
        (array_agg(l.id))[1]
    INTO v_lots, o_gross, o_lot
    FROM (
        SELECT id, amount_xusd - consumed_xusd - reserved_xusd AS free FROM grant_lots
        WHERE realm_id = p_realm AND user_id = p_user AND status IN ('ready', 'active')
            AND kind <> 'fallback' AND window_start <= p_at
            AND (window_end IS NULL OR p_at < window_end)
    ) l
    WHERE l.free > 0 OR l.id = ANY (p_held);
    o_free := o_gross;
    IF v_lots > 1 THEN
        SELECT l.id, l.free INTO o_lot, o_free
        FROM (
            SELECT id, amount_xusd - consumed_xusd - reserved_xusd AS free, window_end,
                priority
            FROM grant_lots
            WHERE realm_id = p_realm AND user_id = p_user
                AND status IN ('ready', 'active') AND kind <> 'fallback'
                AND window_start <= p_at AND (window_end IS NULL OR p_at < window_end)
        ) l
        WHERE l.free > 0 OR l.id = ANY (p_held)
        ORDER BY l.window_end, l.priority DESC, l.id LIMIT 1;
    END IF;
END $$;

-- What of a hold may still be spent: a lot that was revoked or suspended pays nothing.
CREATE OR REPLACE FUNCTION grants_backed(p_lots uuid[], p_held bigint[]) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(sum(h.held), 0) FROM unnest(p_lots, p_held) AS h(id, held)
        JOIN grant_lots l ON l.id = h.id
        WHERE l.status IN ('ready', 'active', 'pending_close'));
END $$;

-- What new uses could be paid from, were a hold given up.
CREATE OR REPLACE FUNCTION grants_freed(
    p_lots uuid[], p_held bigint[], p_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(sum(h.held), 0) FROM unnest(p_lots, p_held) AS h(id, held)
        JOIN grant_lots l ON l.id = h.id
        WHERE l.status IN ('ready', 'active') AND l.window_start <= p_at
            AND (l.window_end IS NULL OR p_at < l.window_end));
END $$;

-- Holds an amount for a spend to come: on which lots, and how much on each. It raises,
-- and nothing is held, where it lacks.
CREATE OR REPLACE FUNCTION grants_hold(
    p_realm text, p_user uuid, p_amount bigint, p_at timestamptz,
    OUT o_lots uuid[], OUT o_amounts bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_left bigint := p_amount;
    v_take bigint;
    lot record;
BEGIN
    o_lots := '{}';
    o_amounts := '{}';
    FOR lot IN
        SELECT id, amount_xusd - consumed_xusd - reserved_xusd AS free FROM grant_lots
        WHERE realm_id = p_realm AND user_id = p_user AND status IN ('ready', 'active')
            AND kind <> 'fallback' AND window_start <= p_at
            AND (window_end IS NULL OR p_at < window_end)
        ORDER BY window_end, priority DESC, id
    LOOP
        EXIT WHEN v_left = 0;
        v_take := least(v_left, lot.free);
        CONTINUE WHEN v_take = 0;
        UPDATE grant_lots
        SET reserved_xusd = reserved_xusd + v_take, updated_at = p_at
        WHERE id = lot.id AND status IN ('ready', 'active')
            AND amount_xusd - consumed_xusd - reserved_xusd >= v_take;  -- guard
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lot % moved', lot.id
                USING ERRCODE = 'serialization_failure';
        END IF;
        o_lots := o_lots || lot.id;
        o_amounts := o_amounts || v_take;
        v_left := v_left - v_take;
    END LOOP;
    IF v_left > 0 THEN
        RAISE EXCEPTION 'the lots of user % moved', p_user
            USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

-- Keeps everybody else from the lots that pay a user's new uses, until the transaction
-- ends. For whoever takes from them several times: all are locked in order before.
CREATE OR REPLACE FUNCTION grants_lock(p_realm text, p_user uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM grant_lots
    WHERE realm_id = p_realm AND user_id = p_user AND status IN ('ready', 'active')
        AND kind <> 'fallback'
    ORDER BY window_end, priority DESC, id
    FOR NO KEY UPDATE;
END $$;

-- The part of a hold that begins after p_before of it: which lots, and how much on each.
CREATE OR REPLACE FUNCTION grants_part(
    p_lots uuid[], p_held bigint[], p_before bigint, p_amount bigint,
    OUT o_lots uuid[], OUT o_amounts bigint[]
) LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg(t.id ORDER BY t.n), '{}'),
        coalesce(array_agg(t.part ORDER BY t.n), '{}')
    FROM (
        SELECT h.id, h.n, least(h.upto, p_before + p_amount)
            - greatest(h.upto - h.held, p_before) AS part
        FROM (
            SELECT u.*, (sum(u.held) OVER (ORDER BY u.n))::bigint AS upto
            FROM unnest(p_lots, p_held) WITH ORDINALITY AS u(id, held, n)
        ) h
    ) t
    WHERE t.part > 0
$$;

-- Gives holds up.
CREATE OR REPLACE FUNCTION grants_release(
    p_lots uuid[], p_held bigint[], p_at timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    lot record;
BEGIN
    FOR lot IN
        SELECT l.id, h.held
        FROM (
            SELECT u.id, sum(u.held)::bigint AS held
            FROM unnest(p_lots, p_held) AS u(id, held) GROUP BY u.id
        ) h JOIN grant_lots l ON l.id = h.id
        ORDER BY l.window_end, l.priority DESC, l.id
    LOOP
        UPDATE grant_lots
        SET reserved_xusd = reserved_xusd - lot.held, updated_at = p_at
        WHERE id = lot.id
            AND reserved_xusd >= lot.held;  -- guard
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lot % moved', lot.id
                USING ERRCODE = 'serialization_failure';
        END IF;
    END LOOP;
END $$;

-- Gives a hold up, and takes p_spend from what it held and from the lots that pay new
-- uses: all of it, or it raises. p_owed is what no lot pays. Leaves an allocation for
-- each lot that paid, and for what is owed: the first has the id p_allocation.
CREATE OR REPLACE FUNCTION grants_settle(
    p_realm text, p_account uuid, p_user uuid, p_lots uuid[], p_held bigint[],
    p_spend bigint, p_owed bigint, p_allocation uuid, p_source text, p_at timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_left bigint := p_spend;
    v_take bigint;
    v_id uuid := p_allocation;
    lot record;
BEGIN
    IF p_spend = 0 AND p_owed = 0 THEN
        PERFORM grants_release(p_lots, p_held, p_at);
        RETURN;
    END IF;
    FOR lot IN
        SELECT * FROM (
            SELECT l.id, l.window_end, l.priority, h.held,
                CASE WHEN l.status IN ('ready', 'active', 'pending_close')
                    THEN h.held ELSE 0 END
                + CASE WHEN l.status IN ('ready', 'active') AND l.window_start <= p_at
                        AND (l.window_end IS NULL OR p_at < l.window_end)
                    THEN l.amount_xusd - l.consumed_xusd - l.reserved_xusd
                    ELSE 0 END AS most
            FROM unnest(p_lots, p_held) AS h(id, held) JOIN grant_lots l ON l.id = h.id
            UNION ALL
            SELECT id, window_end, priority, 0,
                amount_xusd - consumed_xusd - reserved_xusd
            FROM grant_lots
            WHERE realm_id = p_realm AND user_id = p_user
                AND status IN ('ready', 'active') AND kind <> 'fallback'
                AND window_start <= p_at AND (window_end IS NULL OR p_at < window_end)
                AND id <> ALL (p_lots)
        ) l
        ORDER BY l.window_end, l.priority DESC, l.id
    LOOP
        v_take := least(v_left, lot.most);
        CONTINUE WHEN v_take = 0 AND lot.held = 0;
        PERFORM grants_take(
            p_realm, p_account, p_user, lot.id, lot.held, v_take, v_id, p_source, p_at);
        IF v_take > 0 THEN
            v_left := v_left - v_take;
            v_id := md5(p_allocation || '|' || lot.id)::uuid;
        END IF;
    END LOOP;
    IF v_left > 0 THEN
        RAISE EXCEPTION 'the lots of user % moved', p_user
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF p_owed > 0 THEN
        INSERT INTO grant_allocations (
            id, realm_id, account_id, user_id, amount_xusd, source_ref, occurred_at)
        VALUES (v_id, p_realm, p_account, p_user, p_owed, p_source, p_at);
    END IF;
END $$;

-- Gives up what is held on one lot, and takes an amount from it.
CREATE OR REPLACE FUNCTION grants_take(
    p_realm text, p_account uuid, p_user uuid, p_lot uuid, p_held bigint,
    p_spend bigint, p_allocation uuid, p_source text, p_at timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE grant_lots
    SET reserved_xusd = reserved_xusd - p_held,
        consumed_xusd = consumed_xusd + p_spend,
        updated_at = p_at
    WHERE id = p_lot AND reserved_xusd >= p_held
        AND (p_spend = 0 OR status IN ('ready', 'active', 'pending_close'))
        AND (p_spend <= p_held
            OR amount_xusd - consumed_xusd - reserved_xusd >= p_spend - p_held);  -- guard
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lot % moved', p_lot
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF p_spend > 0 THEN
        INSERT INTO grant_allocations (
            id, realm_id, account_id, user_id, lot_id, amount_xusd, source_ref,
            occurred_at)
        VALUES (
            p_allocation, p_realm, p_account, p_user, p_lot, p_spend, p_source, p_at);
    END IF;
END $$;

-- The same of several uses that follow each other on one lot.
CREATE OR REPLACE FUNCTION grants_take_all(
    p_realm text, p_account uuid, p_user uuid, p_lot uuid, p_held bigint,
    p_allocations uuid[], p_amounts bigint[], p_sources text[], p_at timestamptz
) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_spent bigint := (SELECT coalesce(sum(a), 0) FROM unnest(p_amounts) AS a);
BEGIN
    UPDATE grant_lots
    SET reserved_xusd = reserved_xusd - p_held,
        consumed_xusd = consumed_xusd + v_spent,
        updated_at = p_at
    WHERE id = p_lot AND reserved_xusd >= p_held AND status IN ('ready', 'active')
        AND amount_xusd - consumed_xusd - reserved_xusd >= v_spent - p_held;  -- guard
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lot % moved', p_lot
            USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO grant_allocations (
        id, realm_id, account_id, user_id, lot_id, amount_xusd, source_ref, occurred_at)
    SELECT t.id, p_realm, p_account, p_user, p_lot, t.amount, t.source, p_at
    FROM unnest(p_allocations, p_amounts, p_sources) AS t(id, amount, source)
    WHERE t.amount > 0;
END $$;
