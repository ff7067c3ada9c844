"""What the tables of this app refuse, whoever writes."""

from django.db import migrations

from config.tenancy.operations import (
    append_only,
    audited,
    immutable,
    references,
    same_realm,
)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_initial"),
        ("catalog", "0001_initial"),
        ("tenancy", "0003_rules"),
    ]
    operations = [
        audited("billing_accounts"),
        audited("billing_details"),
        audited("billing_users"),
        audited("billing_plans"),
        audited("billing_plan_entitlements"),
        audited("billing_plan_assignments"),
        append_only("billing_plan_assignment_statuses"),
        append_only("platform_tokens"),
        immutable("billing_accounts", "realm_id, billing_principal_id"),
        immutable("billing_details", "realm_id, account_id"),
        immutable("billing_users", "realm_id, account_id, business_user_id"),
        immutable("billing_plans", "realm_id, plan_code"),
        immutable(
            "billing_plan_assignments",
            "realm_id, account_id, scope, user_id, plan_id, source_kind, source_ref",
        ),
        same_realm("billing_details", "account_id", "billing_accounts"),
        same_realm("billing_users", "account_id", "billing_accounts"),
        same_realm("billing_plan_entitlements", "plan_id", "billing_plans"),
        same_realm("billing_plan_entitlements", "feature_id", "features"),
        same_realm(
            "billing_plan_entitlements", "feature_family_id", "feature_families"
        ),
        same_realm("billing_plan_assignments", "account_id", "billing_accounts"),
        same_realm("billing_plan_assignments", "plan_id", "billing_plans"),
        references(
            "billing_plan_assignments",
            "realm_id, account_id, user_id",
            "billing_users",
            "realm_id, account_id, id",
            name="plan_assignment_user_of_its_account",
        ),
        same_realm(
            "billing_plan_assignment_statuses",
            "assignment_id",
            "billing_plan_assignments",
        ),
        references(
            "platform_tokens",
            "realm_id, account_id, user_id",
            "billing_users",
            "realm_id, account_id, id",
            name="platform_token_user_of_its_account",
        ),
    ]
