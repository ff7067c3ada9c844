"""What the tables of this app refuse, whoever writes."""

from django.db import migrations

from config.tenancy.operations import append_only, audited


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0002_models")]
    operations = [
        audited("realms", key="realm_id"),
        audited("service_keys", key="key_id", ignored="updated_at,last_used_at"),
        append_only("domain_events"),
    ]
