-- Counting changes: a projection is stale once either count has moved on. By trigger,
-- so that no way of writing is forgotten.

CREATE FUNCTION gate_catalog_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO gate_catalog_versions AS v (realm_id, version)
    SELECT DISTINCT realm_id, 2 FROM changed ORDER BY realm_id
    ON CONFLICT (realm_id) DO UPDATE SET version = v.version + 1;
    RETURN NULL;
END $$;

-- The argument is the column, or expression, of the changed rows' account.
CREATE FUNCTION gate_account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO gate_account_versions AS v (account_id, realm_id, version)
         SELECT DISTINCT %s, c.realm_id, 2 FROM changed c ORDER BY 1
         ON CONFLICT (account_id) DO UPDATE SET version = v.version + 1', TG_ARGV[0]);
    RETURN NULL;
END $$;
