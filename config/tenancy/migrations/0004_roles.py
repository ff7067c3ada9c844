"""The staff roles. What each may do is in config/tenancy/roles.py."""

from django.db import migrations

ROLES = ("Support", "Finance", "Ops", "Approver", "Auditor")


def create_roles(apps, schema_editor):
    group = apps.get_model("auth", "Group")
    for name in ROLES:
        group.objects.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0003_rules"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [
        # Backwards keeps the groups: people may already hold them.
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]
