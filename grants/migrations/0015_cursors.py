"""An assignment has its issuance cursor from the start, so that the sweep reads one index."""

from django.db import migrations

MISSING = """
INSERT INTO grant_issuance_cursors (assignment_id, realm_id, account_id, user_id, next_at)
SELECT a.id, a.realm_id, a.account_id, a.user_id, a.window_start FROM grant_assignments a
ON CONFLICT DO NOTHING;
"""
BEGINS = """
CREATE FUNCTION plangate_begin_issuance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO grant_issuance_cursors (assignment_id, realm_id, account_id, user_id, next_at)
    VALUES (NEW.id, NEW.realm_id, NEW.account_id, NEW.user_id, NEW.window_start);
    RETURN NULL;
END $$;
CREATE TRIGGER grant_assignments_begin_issuance AFTER INSERT ON grant_assignments
    FOR EACH ROW EXECUTE FUNCTION plangate_begin_issuance();
"""
UNDO = """
DROP TRIGGER grant_assignments_begin_issuance ON grant_assignments;
DROP FUNCTION plangate_begin_issuance();
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0014_lots_to_close")]
    operations = [
        migrations.RunSQL(BEGINS, UNDO),
        migrations.RunSQL(MISSING, migrations.RunSQL.noop),
    ]
