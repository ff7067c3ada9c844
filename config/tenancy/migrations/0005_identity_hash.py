"""Stored answers are found by a hash: their texts may be longer than an index holds."""

import hashlib
import json

from django.db import migrations, models


def give_hashes(apps, schema_editor):
    answers = apps.get_model("tenancy", "StoredAnswer")
    for answer in answers.objects.iterator():
        scope = [
            answer.caller, answer.binding, answer.method, answer.path, answer.key
        ]
        answer.identity_hash = hashlib.sha256(json.dumps(scope).encode()).digest()
        answer.save(update_fields=["identity_hash"])


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0004_roles")]
    operations = [
        migrations.AddField(
            "storedanswer",
            "identity_hash",
            models.BinaryField(default=b""),
            preserve_default=False,
        ),
        migrations.RunPython(give_hashes, migrations.RunPython.noop),
        migrations.RemoveConstraint("storedanswer", "stored_answer_once_per_request"),
        migrations.AddConstraint(
            "storedanswer",
            models.UniqueConstraint(
                fields=["realm", "identity_hash"],
                name="stored_answer_once_per_request",
            ),
        ),
    ]
