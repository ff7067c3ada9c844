"""Keys that stay inside their realm and account, rows that only grow, and history."""

from django.db import migrations

from config.tenancy.operations import append_only, audited, references, same_realm

# An update of what is counted finds room on its page, and so touches no index.
ROOM = "".join(
    f"ALTER TABLE {table} SET (fillfactor = {percent});"
    for table, percent in (
        ("gate_counters", 60),
        ("gate_leases", 80),
        ("gate_residual_buckets", 70),
    )
)
FULL = "".join(
    f"ALTER TABLE {table} RESET (fillfactor);"
    for table in ("gate_counters", "gate_leases", "gate_residual_buckets")
)


def of_account(table, name):
    return references(
        table, "realm_id, account_id", "billing_accounts", "realm_id, id", name=name
    )


def of_user(table, name):
    return references(
        table,
        "realm_id, account_id, user_id",
        "billing_users",
        "realm_id, account_id, id",
        name=name,
    )


class Migration(migrations.Migration):
    dependencies = [("gating", "0001_initial")]
    operations = [
        same_realm("gate_policies", "bundle_id", "gate_policy_bundles"),
        of_account("gate_states", "gate_state_of_an_account_of_its_realm"),
        of_account("gate_counters", "gate_counter_of_an_account_of_its_realm"),
        of_user("gate_seats", "gate_seat_of_a_user_of_its_account"),
        of_user("gate_leases", "gate_lease_of_a_user_of_its_account"),
        of_user("gate_ratings", "gate_rating_of_a_user_of_its_account"),
        of_user("gate_denials", "gate_denial_of_a_user_of_its_account"),
        references(
            "gate_residual_buckets",
            "realm_id, user_id",
            "billing_users",
            "realm_id, id",
            name="gate_residual_bucket_of_a_user_of_its_realm",
        ),
        same_realm(
            "gate_leases", "plan_assignment_id", "billing_plan_assignments"
        ),
        same_realm(
            "gate_ratings", "plan_assignment_id", "billing_plan_assignments"
        ),
        references(
            "gate_ratings",
            "realm_id, account_id, user_id, lease_id",
            "gate_leases",
            "realm_id, account_id, user_id, id",
            name="gate_rating_of_a_lease_of_its_user",
        ),
        same_realm("gate_ratings", "reversal_of_id", "gate_ratings"),
        same_realm("gate_rated_records", "rating_id", "gate_ratings"),
        append_only("gate_ratings"),
        append_only("gate_rated_records"),
        audited("gate_policy_bundles"),
        audited("gate_policies"),
        migrations.RunSQL(ROOM, FULL),
    ]
