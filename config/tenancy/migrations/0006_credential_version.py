"""Counts the changes of realms and service keys, so that they may be remembered."""

from django.db import migrations, models

SQL = """
INSERT INTO credential_versions (id, version) VALUES (1, 1);

CREATE FUNCTION plangate_credentials_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE credential_versions SET version = version + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER realms_credentials_changed
    AFTER INSERT OR UPDATE OR DELETE ON realms
    FOR EACH STATEMENT EXECUTE FUNCTION plangate_credentials_changed();
CREATE TRIGGER service_keys_credentials_added
    AFTER INSERT OR DELETE ON service_keys
    FOR EACH STATEMENT EXECUTE FUNCTION plangate_credentials_changed();
-- Not of `last_used_at`, which is written once a minute.
CREATE TRIGGER service_keys_credentials_changed
    AFTER UPDATE OF status, allowed_realms, allowed_accounts, scopes, kdf_alg, kdf_salt,
        kdf_version, env_tag, expires_at ON service_keys
    FOR EACH STATEMENT EXECUTE FUNCTION plangate_credentials_changed();
"""
UNDO = """
DROP TRIGGER realms_credentials_changed ON realms;
DROP TRIGGER service_keys_credentials_added ON service_keys;
DROP TRIGGER service_keys_credentials_changed ON service_keys;
DROP FUNCTION plangate_credentials_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0005_identity_hash")]
    operations = [
        migrations.CreateModel(
            name="CredentialVersion",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(
                        default=1, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("version", models.BigIntegerField(default=1)),
            ],
            options={"db_table": "credential_versions"},
        ),
        migrations.AddConstraint(
            model_name="credentialversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("id", 1)),
                name="credential_version_is_one_row",
                violation_error_message="There is one version.",
            ),
        ),
        migrations.RunSQL(SQL, UNDO),
    ]
