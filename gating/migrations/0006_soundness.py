"""What every row of the gate's busiest tables obeys, as one named check per table."""

from django.db import migrations

from config.tenancy.operations import sound

MOST = 9_223_372_036_854_775_807

COUNTERS = (
    "kind text, subject_scope text, subject_id uuid, account_id uuid, "
    "window_start timestamptz, window_end timestamptz, key text, used_minor bigint, "
    "reserved_minor bigint",
    {
        "gate_counter_kind_is_known": "kind IN ('quota', 'rate')",
        "gate_counter_scope_is_known": "subject_scope IN ('user', 'account')",
        "gate_counter_account_counts_for_itself": (
            "subject_scope <> 'account' OR subject_id = account_id"
        ),
        "gate_counter_window_not_empty": "window_end > window_start",
        "gate_counter_key_is_given": r"key ~ '\S'",
        "gate_counter_amounts_are_not_negative": (
            "used_minor >= 0 AND reserved_minor >= 0"
        ),
        # A difference, because a sum of two large amounts would overflow.
        "gate_counter_fits_64_bits": f"used_minor <= {MOST} - reserved_minor",
    },
)
LEASES = (
    "state text, billing_mode text, ended_at timestamptz, authorized_at timestamptz, "
    "expires_at timestamptz, window_start timestamptz, window_end timestamptz, "
    "reserved_minor bigint, reserved_xusd bigint, estimate_minor bigint, "
    "cap_minor bigint, counter_ids uuid[], lease text, idempotency_key text, "
    "rating_id uuid, rated_at timestamptz, quota_counter_ids uuid[], "
    "quota_limits bigint[], quota_held boolean[], labels jsonb",
    {
        "gate_lease_state_is_known": (
            "state IN ('active', 'closed', 'expired', 'canceled')"
        ),
        "gate_lease_billing_mode_is_known": (
            "billing_mode IN ('prepaid', 'postpaid', 'hybrid')"
        ),
        "gate_lease_ended_iff_not_active": "(state = 'active') = (ended_at IS NULL)",
        "gate_lease_expires_after_authorized": "expires_at > authorized_at",
        "gate_lease_window_not_empty": "window_end > window_start",
        "gate_lease_amounts_are_not_negative": (
            "reserved_minor >= 0 AND reserved_xusd >= 0"
            " AND coalesce(estimate_minor, 0) >= 0 AND coalesce(cap_minor, 0) >= 0"
        ),
        "gate_lease_holds_a_quantity_on_counters_only": (
            "reserved_minor = 0 OR cardinality(counter_ids) > 0"
        ),
        "gate_lease_is_named": r"lease ~ '\S'",
        "gate_lease_key_is_given": r"idempotency_key ~ '\S'",
        "gate_lease_closed_iff_rated": (
            "(state = 'closed') = (rating_id IS NOT NULL)"
            " AND (rating_id IS NULL) = (rated_at IS NULL)"
        ),
        "gate_lease_quotas_have_limits_and_holds": (
            "cardinality(quota_limits) = cardinality(quota_counter_ids)"
            " AND cardinality(quota_held) = cardinality(quota_counter_ids)"
        ),
        "gate_lease_labels_are_object": "jsonb_typeof(labels) = 'object'",
    },
)
RATINGS = (
    "rating_kind text, direction text, application_status text, billing_mode text, "
    "reversal_of_id uuid, lease_id uuid, canonical_quantity_minor bigint, "
    "canonical_amount_xusd bigint, canonical_cost_xusd bigint, "
    "applied_quantity_minor bigint, applied_amount_xusd bigint, "
    "applied_cost_xusd bigint, funded_xusd bigint, reason_codes text[], labels jsonb, "
    "evidence jsonb",
    {
        "gate_rating_kind_is_known": "rating_kind IN ('gate', 'ingest')",
        "gate_rating_direction_is_known": "direction IN ('debit', 'credit')",
        "gate_rating_status_is_known": (
            "application_status IN ('applied', 'applied_clipped', 'quarantined')"
        ),
        "gate_rating_billing_mode_is_known": (
            "billing_mode IN ('prepaid', 'postpaid', 'hybrid')"
        ),
        "gate_rating_credit_iff_reversal": (
            "(direction = 'credit') = (reversal_of_id IS NOT NULL)"
        ),
        "gate_rating_lease_iff_commit": (
            "(rating_kind = 'gate') = (lease_id IS NOT NULL)"
        ),
        "gate_rating_applies_no_more_than_canonical": (
            "applied_quantity_minor BETWEEN 0 AND canonical_quantity_minor"
            " AND applied_amount_xusd BETWEEN 0 AND canonical_amount_xusd"
            " AND applied_cost_xusd BETWEEN 0 AND canonical_cost_xusd"
        ),
        "gate_rating_funds_no_more_than_applied": (
            "funded_xusd BETWEEN 0 AND applied_amount_xusd"
        ),
        "gate_rating_prepaid_is_paid_in_full": (
            "billing_mode <> 'prepaid' OR direction <> 'debit'"
            " OR funded_xusd = applied_amount_xusd"
        ),
        "gate_rating_quarantined_applies_nothing": (
            "application_status <> 'quarantined' OR (applied_quantity_minor = 0"
            " AND applied_amount_xusd = 0 AND applied_cost_xusd = 0)"
        ),
        "gate_rating_not_applied_in_full_for_a_reason": (
            "application_status = 'applied' OR cardinality(reason_codes) > 0"
        ),
        "gate_rating_labels_are_object": "jsonb_typeof(labels) = 'object'",
        "gate_rating_evidence_is_object": "jsonb_typeof(evidence) = 'object'",
    },
)
RECORDS = (
    "rating_status text, quantity_minor bigint, amount_xusd bigint, cost_xusd bigint, "
    "rate_identity text, cost_rate_identity text, remainder_in bigint, "
    "remainder_out bigint, cost_remainder_in bigint, cost_remainder_out bigint",
    {
        "gate_rated_record_status_is_known": (
            "rating_status IN ('priced', 'missing_price')"
        ),
        "gate_rated_record_amounts_are_not_negative": (
            "least(quantity_minor, amount_xusd, cost_xusd, remainder_in, remainder_out,"
            " cost_remainder_in, cost_remainder_out) >= 0"
        ),
        "gate_rated_record_has_rates_iff_priced": (
            "CASE WHEN rating_status = 'priced'"
            " THEN rate_identity IS NOT NULL AND cost_rate_identity IS NOT NULL"
            " ELSE rate_identity IS NULL AND cost_rate_identity IS NULL"
            " AND amount_xusd = 0 AND cost_xusd = 0 END"
        ),
    },
)


class Migration(migrations.Migration):
    dependencies = [("gating", "0005_functions")]
    operations = [
        sound("gate_counters", *COUNTERS),
        sound("gate_leases", *LEASES),
        sound("gate_ratings", *RATINGS),
        sound("gate_rated_records", *RECORDS),
    ]
