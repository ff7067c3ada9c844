"""Postings are called movements where people read of them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("grants", "0015_cursors")]
    operations = [
        migrations.AlterModelOptions(
            name="posting", options={"verbose_name": "movement"}
        ),
    ]
