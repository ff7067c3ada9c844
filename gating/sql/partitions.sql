-- One partition of each append-only table per month. Rows of a month that has none
-- stand in the default partition, so nothing is ever refused for want of one.

-- Makes the partitions of p_months months from that of p_first on; returns how many.
-- A month whose rows stand in the default partition already is left to
-- gate_move_to_month.
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

-- Moves rows of p_month out of the default partition, the oldest first, into one of
-- their own: those of at most p_most ratings (more only of one instant). Returns how many
-- ratings; 0 where none of that month stands there. A month that takes several calls has
-- several partitions, one after the other: each holds a part of the month, so that no
-- call copies what an earlier one has, and readers miss nothing in between. Callers wait
-- meanwhile, since nobody may write to the month.
CREATE OR REPLACE FUNCTION gate_move_to_month(p_month date, p_most integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_first timestamptz := date_trunc('month', p_month)::date || ' 00:00+00';
    v_last timestamptz := (date_trunc('month', p_month) + interval '1 month')::date
        || ' 00:00+00';
    v_suffix text := to_char(p_month, '_YYYYMM');
    v_parts integer;
    v_from timestamptz;
    v_to timestamptz;
    v_moved integer;
BEGIN
    -- In the order in which a commit takes them.
    LOCK TABLE ONLY gate_ratings IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE ONLY gate_rated_records IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE gate_ratings_default IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE gate_rated_records_default IN ACCESS EXCLUSIVE MODE;
    SELECT count(*), coalesce(max((regexp_match(
        pg_get_expr(c.relpartbound, c.oid), $re$TO \('([^']+)'\)$re$))[1]::timestamptz),
        v_first)
    INTO v_parts, v_from
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'gate_ratings'::regclass
        AND c.relname ~ ('^gate_ratings' || v_suffix || '(_\d+)?$');
    PERFORM 1 FROM gate_ratings_default WHERE rated_at >= v_from AND rated_at < v_last;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT rated_at INTO v_to FROM gate_ratings_default
    WHERE rated_at >= v_from AND rated_at < v_last
    ORDER BY rated_at OFFSET p_most LIMIT 1;
    IF v_to = (SELECT min(rated_at) FROM gate_ratings_default WHERE rated_at >= v_from)
    THEN
        SELECT min(rated_at) INTO v_to FROM gate_ratings_default
        WHERE rated_at > v_to AND rated_at < v_last;
    END IF;
    v_to := coalesce(v_to, v_last);
    IF v_parts > 0 THEN
        v_suffix := v_suffix || '_' || v_parts + 1;
    END IF;
    -- Lines first out, and last in: a line needs its rating.
    PERFORM gate_take_from_default('gate_rated_records', v_suffix, v_from, v_to);
    v_moved := gate_take_from_default('gate_ratings', v_suffix, v_from, v_to);
    EXECUTE format(
        'ALTER TABLE gate_ratings ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L);
         ALTER TABLE gate_rated_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        'gate_ratings' || v_suffix, v_from, v_to,
        'gate_rated_records' || v_suffix, v_from, v_to);
    PERFORM gate_seal_partition('gate_ratings' || v_suffix);
    PERFORM gate_seal_partition('gate_rated_records' || v_suffix);
    RETURN v_moved;
END $$;

-- Takes rows of [p_from, p_to) from a default partition into a new table, not attached
-- yet. The partition's seal is lifted meanwhile, under a lock that lets nobody else in.
CREATE OR REPLACE FUNCTION gate_take_from_default(
    p_table text, p_suffix text, p_from timestamptz, p_to timestamptz
) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_moved integer;
BEGIN
    EXECUTE format(
        'CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
         ALTER TABLE %I DISABLE TRIGGER append_only',
        p_table || p_suffix, p_table, p_table || '_default');
    EXECUTE format(
        'WITH taken AS (
            DELETE FROM %I WHERE rated_at >= %L AND rated_at < %L RETURNING *)
         INSERT INTO %I SELECT * FROM taken',
        p_table || '_default', p_from, p_to, p_table || p_suffix);
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    EXECUTE format(
        'ALTER TABLE %I ENABLE TRIGGER append_only', p_table || '_default');
    RETURN v_moved;
END $$;

-- Drops the partitions of months that end by p_before; returns their names. As the
-- caller: whoever serves requests may take away old months only, by the next function.
CREATE OR REPLACE FUNCTION gate_drop_partitions(p_before date)
RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_parent text;
    v_name text;
    v_dropped text[] := '{}';
BEGIN
    -- In the order in which a commit takes them, so that neither waits for the other.
    LOCK TABLE ONLY gate_ratings IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE ONLY gate_rated_records IN ACCESS EXCLUSIVE MODE;
    -- Lines before ratings, as they are named: a line needs its rating.
    FOR v_parent, v_name IN
        SELECT i.inhparent::regclass, c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('gate_ratings'::regclass, 'gate_rated_records'::regclass)
            -- Not by AND: a plan may ask the month of any other table's name first.
            AND CASE WHEN c.relname ~ '^gate_\w+_\d{4}(0[1-9]|1[0-2])(_\d+)?$'
                THEN to_date(substring(c.relname FROM '_(\d{6})(?:_\d+)?$'), 'YYYYMM')
                    + interval '1 month' <= p_before
                ELSE false END
        ORDER BY c.relname
    LOOP
        -- While attached, the lines' reference to ratings depends on it.
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', v_parent, v_name);
        EXECUTE format('DROP TABLE %I', v_name);
        v_dropped := v_dropped || v_name;
    END LOOP;
    RETURN v_dropped;
END $$;

-- The same for whoever serves requests: of months that ended a year ago, and no others,
-- whatever is asked or set.
CREATE OR REPLACE FUNCTION gate_drop_old_partitions(p_before date)
RETURNS text[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF p_before > date_trunc('month', now() AT TIME ZONE 'UTC') - interval '12 months'
    THEN
        RAISE EXCEPTION 'ratings are kept for 12 months at least'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN gate_drop_partitions(p_before);
END $$;
