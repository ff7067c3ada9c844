"""Contracts, their terms, and what their tables refuse, whoever writes."""

import config.kernel.ids
import django.db.models.deletion
import django.db.models.functions.datetime
import simple_history.models
from django.db import migrations, models

from config.tenancy.operations import (
    append_only,
    audited,
    immutable,
    kept,
    same_realm,
)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_whole"),
        ("tenancy", "0006_credential_version"),
    ]

    operations = [
        migrations.CreateModel(
            name="BillingContract",
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
                ("window_start", models.DateTimeField()),
                (
                    "window_end",
                    models.DateTimeField(
                        blank=True,
                        help_text="Empty means open: it never ends.",
                        null=True,
                    ),
                ),
                (
                    "status",
                    models.TextField(
                        choices=[("active", "Active"), ("disabled", "Disabled")],
                        default="active",
                    ),
                ),
                ("name", models.TextField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="contracts",
                        to="billing.billingaccount",
                    ),
                ),
                (
                    "realm",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.realm",
                    ),
                ),
            ],
            options={
                "verbose_name": "contract",
                "db_table": "billing_contracts",
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="ContractTerm",
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
                    "kind",
                    models.TextField(
                        choices=[
                            ("pricing", "Price of a meter"),
                            ("e2r_param", "Parameter of an event rating policy"),
                        ]
                    ),
                ),
                ("term_key", models.TextField()),
                ("effective_at", models.DateTimeField()),
                ("value_json", models.JSONField()),
                ("actor_kind", models.TextField()),
                ("actor_id", models.TextField()),
                ("operator", models.TextField()),
                ("reason", models.TextField()),
                ("ticket_id", models.TextField()),
                ("trace_id", models.TextField()),
                ("recorded_at", models.DateTimeField()),
                (
                    "contract",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="terms",
                        to="billing.billingcontract",
                    ),
                ),
                (
                    "realm",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.realm",
                    ),
                ),
            ],
            options={
                "verbose_name": "contract term",
                "db_table": "contract_terms",
            },
        ),
        migrations.CreateModel(
            name="HistoricalBillingContract",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_index=True, default=config.kernel.ids.new_id, editable=False
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
                ("actor_kind", models.TextField()),
                ("actor_id", models.TextField()),
                ("operator", models.TextField()),
                ("reason", models.TextField()),
                ("ticket_id", models.TextField()),
                ("effective_at", models.DateTimeField()),
                ("trace_id", models.TextField()),
                ("idempotency_key", models.TextField(null=True)),
                ("window_start", models.DateTimeField()),
                (
                    "window_end",
                    models.DateTimeField(
                        blank=True,
                        help_text="Empty means open: it never ends.",
                        null=True,
                    ),
                ),
                (
                    "status",
                    models.TextField(
                        choices=[("active", "Active"), ("disabled", "Disabled")],
                        default="active",
                    ),
                ),
                ("name", models.TextField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                (
                    "history_id",
                    models.BigAutoField(
                        editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("history_date", models.DateTimeField()),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")],
                        max_length=1,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.billingaccount",
                    ),
                ),
                (
                    "realm",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenancy.realm",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical contract",
                "verbose_name_plural": "historical contracts",
                "db_table": "billing_contracts_history",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.AddConstraint(
            model_name="billingcontract",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("window_end__isnull", True),
                    ("window_end__gt", models.F("window_start")),
                    _connector="OR",
                ),
                name="billingcontract_window_not_empty",
                violation_error_message="A window must end after it starts.",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingcontract",
            constraint=models.UniqueConstraint(
                fields=("realm", "id"), name="billing_contract_in_one_realm"
            ),
        ),
        migrations.AddConstraint(
            model_name="billingcontract",
            constraint=models.UniqueConstraint(
                fields=("realm", "account", "window_start"),
                name="billing_contract_once_per_start",
                violation_error_message="The account has a contract that starts at this instant.",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingcontract",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "disabled"])),
                name="billing_contract_status_is_known",
                violation_error_message="Must be one of active, disabled.",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingcontract",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("name__isnull", True), ("name__regex", "\\S"), _connector="OR"
                ),
                name="billing_contract_name_is_given_or_absent",
                violation_error_message="A name is not blank.",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingcontract",
            constraint=models.CheckConstraint(
                condition=models.Q(("metadata__contains", {})),
                name="billing_contract_metadata_is_object",
                violation_error_message="Must be a JSON object.",
            ),
        ),
        migrations.AddConstraint(
            model_name="contractterm",
            constraint=models.UniqueConstraint(
                fields=("realm", "contract", "kind", "term_key", "effective_at"),
                name="contract_term_once_per_identity",
                violation_error_message="The contract has a version of this term from that instant.",
            ),
        ),
        migrations.AddConstraint(
            model_name="contractterm",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["pricing", "e2r_param"])),
                name="contract_term_kind_is_known",
                violation_error_message="Must be one of pricing, e2r_param.",
            ),
        ),
        migrations.AddConstraint(
            model_name="contractterm",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "term_key__regex",
                        "\\A[a-z0-9](?:[a-z0-9._/@:-]{0,126}[a-z0-9])?\\Z",
                    )
                ),
                name="contract_term_key_is_code",
                violation_error_message="A code is 1 to 128 lower-case letters, digits or . _ / @ : - and begins and ends with a letter or digit.",
            ),
        ),
        migrations.AddConstraint(
            model_name="contractterm",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "pricing"), _negated=True),
                    ("value_json__contains", {}),
                    _connector="OR",
                ),
                name="contract_term_of_pricing_is_object",
                violation_error_message="A pricing term is a JSON object.",
            ),
        ),
        migrations.AddConstraint(
            model_name="contractterm",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("actor_id__regex", "\\S"),
                    ("actor_kind__regex", "\\S"),
                    ("operator__regex", "\\S"),
                    ("reason__regex", "\\S"),
                    ("ticket_id__regex", "\\S"),
                    ("trace_id__regex", "\\S"),
                ),
                name="contract_term_is_explained",
                violation_error_message="A term needs actor, operator, reason, ticket and trace.",
            ),
        ),
        migrations.AddConstraint(
            model_name="historicalbillingcontract",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("operator__regex", "\\S"),
                    ("reason__regex", "\\S"),
                    ("ticket_id__regex", "\\S"),
                ),
                name="billing_contracts_history_is_explained",
            ),
        ),
        audited("billing_contracts"),
        immutable("billing_contracts", "realm_id, account_id, window_start"),
        kept("billing_contracts"),
        append_only("contract_terms"),
        same_realm("billing_contracts", "account_id", "billing_accounts"),
        same_realm("contract_terms", "contract_id", "billing_contracts"),
    ]
