"""Who ended a lease by decision, and why."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import config.kernel.ids
from config.tenancy.operations import append_only, references

# Cancels of before were explained in their events only, which named no actor.
KEPT = """
INSERT INTO gate_lease_ends (
    id, realm_id, account_id, user_id, lease_id, reference, feature_code, kind,
    actor_kind, actor_id, operator, reason, ticket_id, trace_id, effective_at,
    occurred_at)
SELECT e.id, l.realm_id, l.account_id, l.user_id, l.id, l.lease, l.feature_code,
    'released', 'system', 'migration', e.payload->>'operator', e.payload->>'reason', e.payload->>'ticket_id',
    e.trace_id, e.occurred_at, e.occurred_at
FROM domain_events e
JOIN gate_leases l ON l.realm_id = e.realm_id AND l.id = e.subject_id::uuid
WHERE e.kind = 'lease.canceled';
"""


def of_one(model):
    """Return a reference that the composite key below, or none, checks."""
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to=model,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_whole"),
        ("gating", "0011_seat_billing"),
        ("tenancy", "0006_credential_version"),
    ]
    operations = [
        migrations.CreateModel(
            name="LeaseEnd",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=config.kernel.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "reference",
                    models.TextField(help_text="What callers knew the lease by."),
                ),
                ("feature_code", models.TextField()),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("released", "Released"),
                            ("committed", "Committed for the caller"),
                        ]
                    ),
                ),
                ("rating_id", models.UUIDField(null=True)),
                ("actor_kind", models.TextField()),
                ("actor_id", models.TextField()),
                ("operator", models.TextField()),
                ("reason", models.TextField()),
                ("ticket_id", models.TextField()),
                ("trace_id", models.TextField()),
                ("effective_at", models.DateTimeField()),
                ("occurred_at", models.DateTimeField()),
                ("account", of_one("billing.billingaccount")),
                (
                    "lease",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="ends",
                        to="gating.lease",
                    ),
                ),
                ("realm", of_one("tenancy.realm")),
                ("user", of_one("billing.billinguser")),
            ],
            options={
                "verbose_name": "end of a hold",
                "verbose_name_plural": "ends of holds",
                "db_table": "gate_lease_ends",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("realm", "lease"),
                        name="gate_lease_end_once_per_lease",
                        violation_error_message="This hold was ended already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["released", "committed"])),
                        name="gate_lease_end_kind_is_known",
                        violation_error_message="Must be one of released, committed.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reference__regex", "\\S")),
                        name="gate_lease_end_names_its_lease",
                        violation_error_message="Say which lease ended.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "committed"), ("rating_id__isnull", False)),
                            models.Q(
                                models.Q(("kind", "committed"), _negated=True),
                                ("rating_id__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="gate_lease_end_rated_iff_committed",
                        violation_error_message=(
                            "A commit has its rating; a release has none."
                        ),
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("actor_id__regex", "\\S"),
                            ("actor_kind__regex", "\\S"),
                            ("operator__regex", "\\S"),
                            ("reason__regex", "\\S"),
                            ("ticket_id__regex", "\\S"),
                            ("trace_id__regex", "\\S"),
                        ),
                        name="gate_lease_end_is_explained",
                        violation_error_message=(
                            "The end of a hold needs actor, operator, reason, ticket "
                            "and trace."
                        ),
                    ),
                ],
            },
        ),
        migrations.RunSQL(KEPT, migrations.RunSQL.noop),
        references(
            "gate_lease_ends",
            "realm_id, account_id, user_id",
            "billing_users",
            "realm_id, account_id, id",
            name="gate_lease_end_of_a_user_of_its_account",
        ),
        append_only("gate_lease_ends"),
    ]
