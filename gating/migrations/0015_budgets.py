"""Budgets on leases and ratings, and the functions that hold and consume them."""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

from config.tenancy.operations import references, sound

functions = import_module("gating.migrations.0005_functions")
columns, rules = import_module("gating.migrations.0006_soundness").LEASES

LEASES = (
    f"{columns}, budget text, budget_id uuid, budget_seen jsonb",
    rules
    | {
        "gate_lease_budget_is_named_and_seen": (
            "(budget_id IS NULL) = (budget_seen IS NULL)"
            " AND (budget_id IS NULL OR budget IS NOT NULL)"
        ),
        "gate_lease_budget_seen_is_object": "jsonb_typeof(budget_seen) = 'object'",
    },
)


def sql(name):
    return migrations.RunSQL(functions.sql(name))


class Migration(migrations.Migration):
    dependencies = [("gating", "0014_ingest"), ("grants", "0004_budgets")]
    operations = [
        migrations.AddField("lease", "budget_id", models.UUIDField(null=True)),
        migrations.AddField("lease", "budget_seen", models.JSONField(null=True)),
        migrations.AddField(
            "rating",
            "budget",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                help_text="The budget that consumed what was applied.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="ratings",
                to="grants.budget",
            ),
        ),
        migrations.AddIndex(
            "rating",
            models.Index(
                condition=models.Q(("budget__isnull", False)),
                fields=["realm", "budget", "rated_at"],
                name="gate_ratings_by_budget",
            ),
        ),
        references(
            "gate_leases",
            "realm_id, account_id, user_id, budget_id",
            "budgets",
            "realm_id, account_id, user_id, id",
            name="gate_lease_of_a_budget_of_its_user",
        ),
        references(
            "gate_ratings",
            "realm_id, account_id, user_id, budget_id",
            "budgets",
            "realm_id, account_id, user_id, id",
            name="gate_rating_of_a_budget_of_its_user",
        ),
        migrations.RunSQL(
            """
            ALTER TABLE gate_leases DROP CONSTRAINT gate_leases_are_sound;
            DROP FUNCTION gate_leases_is_sound;
            """
        ),
        sound("gate_leases", *LEASES),
        sql("expire.sql"),
        sql("authorize.sql"),
        migrations.RunSQL(functions.preflight(functions.sql("authorize.sql"))),
        sql("book.sql"),
        sql("commit.sql"),
        sql("close.sql"),
    ]
