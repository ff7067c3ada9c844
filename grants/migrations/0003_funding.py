"""Nothing any more: the functions that were made here are those of 0007."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("grants", "0002_rules")]
    operations = []
