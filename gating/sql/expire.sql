-- Expires an account's active leases that ran out before p_before, at most p_most of
-- them, the longest overdue first, and gives back what they hold. Under the account's
-- lock. Returns how many.
CREATE OR REPLACE FUNCTION gate_expire(
    p_realm text, p_account uuid, p_before timestamptz, p_at timestamptz, p_most integer
) RETURNS integer
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_leases uuid[];
    v_held record;
    v_lots uuid[];
    v_lots_held bigint[];
BEGIN
    SELECT array_agg(l.id) INTO v_leases FROM (
        SELECT id FROM gate_leases
        WHERE realm_id = p_realm AND account_id = p_account
            AND state = 'active' AND expires_at < p_before
        ORDER BY expires_at, id LIMIT p_most
    ) l;
    IF v_leases IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE gate_leases SET state = 'expired', ended_at = p_at, updated_at = p_at
    WHERE id = ANY (v_leases) AND ended_at IS NULL;
    UPDATE gate_counters c SET reserved_minor = c.reserved_minor - held.total
    FROM (
        SELECT counter_id, sum(l.reserved_minor)::bigint AS total
        FROM gate_leases l, unnest(l.counter_ids) AS counter_id
        WHERE l.id = ANY (v_leases) AND l.reserved_minor > 0
        GROUP BY counter_id
    ) held
    WHERE c.id = held.counter_id;
    SELECT array_agg(h.lot), array_agg(h.held) INTO v_lots, v_lots_held
    FROM gate_leases l, unnest(l.held_lots, l.held_amounts) AS h(lot, held)
    WHERE l.id = ANY (v_leases);
    PERFORM grants_release(v_lots, v_lots_held, p_at);
    FOR v_held IN
        SELECT budget_id, sum(reserved_xusd)::bigint AS total FROM gate_leases
        WHERE id = ANY (v_leases) AND budget_id IS NOT NULL AND reserved_xusd > 0
        GROUP BY budget_id ORDER BY budget_id
    LOOP
        PERFORM grants_settle_budget(v_held.budget_id, v_held.total, 0, p_at);
    END LOOP;
    RETURN cardinality(v_leases);
END $$;
