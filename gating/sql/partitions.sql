-- One partition of each append-only table per month. Rows of a month that has none
-- stand in the default partition, so nothing is ever refused for want of one.

-- Makes the partitions of p_months months from that of p_first on; returns how many.
-- A month whose rows stand in the default partition already is left there.
CREATE OR REPLACE FUNCTION gate_make_partitions(p_first date, p_months integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_table text;
    v_name text;
    v_month date;
    v_taken boolean;
    v_made integer := 0;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['gate_ratings', 'gate_rated_records'] LOOP
        FOR n IN 0 .. p_months - 1 LOOP
            v_month := (date_trunc('month', p_first) + make_interval(months => n))::date;
            v_name := v_table || to_char(v_month, '_YYYYMM');
            CONTINUE WHEN to_regclass(v_name) IS NOT NULL;
            EXECUTE format(
                'SELECT EXISTS (SELECT 1 FROM %I WHERE rated_at >= %L AND rated_at < %L)',
                v_table || '_default', v_month || ' 00:00+00',
                (v_month + interval '1 month')::date || ' 00:00+00') INTO v_taken;
            CONTINUE WHEN v_taken;
            EXECUTE format(
                'CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                v_name, v_table, v_month || ' 00:00+00',
                (v_month + interval '1 month')::date || ' 00:00+00');
            PERFORM gate_seal_partition(v_name);
            v_made := v_made + 1;
        END LOOP;
    END LOOP;
    RETURN v_made;
END $$;

-- A partition is written through its parent only, and never rewritten.
CREATE OR REPLACE FUNCTION gate_seal_partition(p_name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
         FOR EACH STATEMENT EXECUTE FUNCTION plangate_refuse_rewrite()', p_name);
    PERFORM plangate_revoke(p_name, 'INSERT, UPDATE, DELETE, TRUNCATE');
END $$;

-- Drops the partitions of months that end by p_before; returns their names. As the
-- caller: whoever serves requests may add room for ratings, and not take any away.
CREATE OR REPLACE FUNCTION gate_drop_partitions(p_before date)
RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_parent text;
    v_name text;
    v_dropped text[] := '{}';
BEGIN
    -- Lines before ratings, as they are named: a line needs its rating.
    FOR v_parent, v_name IN
        SELECT i.inhparent::regclass, c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('gate_ratings'::regclass, 'gate_rated_records'::regclass)
            AND c.relname ~ '_\d{6}$'
            AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= p_before
        ORDER BY c.relname
    LOOP
        -- While attached, the lines' reference to ratings depends on it.
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', v_parent, v_name);
        EXECUTE format('DROP TABLE %I', v_name);
        v_dropped := v_dropped || v_name;
    END LOOP;
    RETURN v_dropped;
END $$;
