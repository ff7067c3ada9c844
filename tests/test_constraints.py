"""The schema tells the truth by itself: each of its rules has a case that it refuses.

The rules are read from PostgreSQL's own catalog. One that has no case here, or a case
whose rule is gone, fails the run. Every bad row is a copy of a valid one, written with
raw SQL: Python is not asked.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import IntegrityError, transaction

from config.kernel.ids import new_id
from config.tenancy.history import auditing
from tests.catalog.test_constraints import CHECKS as CATALOG_CHECKS
from tests.conftest import make_realm
from tests.tools.context import AT, BY
from tests.tools.tables import (
    FRESH,
    ONE_ROW,
    audited_tables,
    columns,
    insert_copy,
    judge_at_once,
    models,
    own_tables,
    posting_of,
    primary_key,
    row_of,
    rows,
    rule_of,
    run,
    sound_rules,
    spare_user,
    whole_rules,
    written_rules,
)
from tests.tools.world import build_world, neighbor

INT64_MAX = 2**63 - 1
PAST = "2001-01-01T00:00:00Z"
USER_SCOPE = "billing_plan_assignments WHERE scope = 'user'"
ACCOUNT_SCOPE = "billing_plan_assignments WHERE scope = 'account'"
MANUAL = "grant_assignments WHERE source_kind = 'ops.manual'"
UNUSED = "grant_lots WHERE consumed_xusd = 0 AND reserved_xusd = 0"
CLOSED_LOT = {"closed_at": PAST, "closure_kind": "forfeit", "closed_remaining_xusd": lambda row: row["amount_xusd"]}  # fmt: skip
OVERAGE_LOT = {"kind": "fallback", "amount_xusd": 0, "assignment_id": None}
CARRIED = {"carried_from_id": lambda row: row["id"]}
REVERSAL = {"reason": "reversal", "reverses_id": lambda row: row["id"]}
FALLBACK = {"feature_family_code": "auto.registry", "is_fallback": True}


def start(row):
    return row["window_start"]


def objects(table, name, *names):
    """Cases of the rules that a JSON column holds an object."""
    return [
        (f"{name}_{column}_{verb}_object", table, {column: bad})
        for column, verb in names
        for bad in ([], "x", 1)
    ]


# (constraint, the valid row's source, how the copy differs from it).
CHECKS = [
    *((name, model._meta.db_table, changes) for model, changes, name in CATALOG_CHECKS),
    *(
        (f"{table}_history_is_explained", f"{table}_history", {column: bad})
        for table in (
            "billing_accounts", "billing_contracts", "billing_details", "billing_users", "billing_plans", "billing_plan_entitlements", "billing_plan_assignments",
            "feature_families", "features", "feature_meters", "meters", "meter_prices",
            "gate_policies", "gate_policy_bundles", "realms", "service_keys", "budgets",
            "grant_programs", "grant_campaigns", "grant_assignments", "grant_lots",
        )
        for column in ("operator", "reason", "ticket_id")
        for bad in ("", " \t\n")
    ),
    ("job_run_names_its_job", "job_runs", {"job": " "}),
    ("job_run_counts_are_not_negative", "job_runs", {"done": -1}),
    ("job_run_counts_are_not_negative", "job_runs", {"failed": -1}),
    # Realms and access
    ("realm_id_is_plain", "realms", {"realm_id": ""}),
    ("realm_id_is_plain", "realms", {"realm_id": "-a"}),
    ("realm_id_is_plain", "realms", {"realm_id": "a."}),
    ("realm_id_is_plain", "realms", {"realm_id": "a b"}),
    ("realm_id_is_plain", "realms", {"realm_id": "a\n"}),
    ("realm_id_is_plain", "realms", {"realm_id": "a" * 129}),
    ("realm_status_is_known", "realms", {"status": "asleep"}),
    ("realm_name_is_given", "realms", {"name": " "}),
    ("service_key_id_is_plain", "service_keys", {"key_id": "4f0c"}),
    ("service_key_id_is_plain", "service_keys", {"key_id": "pk-a\n"}),
    ("service_key_id_is_plain", "service_keys", {"key_id": "pk-" + "a" * 125}),
    ("service_key_status_is_known", "service_keys", {"status": "lost"}),
    ("service_key_derivation_is_known", "service_keys", {"kdf_alg": "MD5"}),
    ("service_key_scopes_are_known", "service_keys", {"scopes": ["runtime", "root"]}),
    ("service_key_salt_is_16_to_32_bytes", "service_keys", {"kdf_salt": "\\x" + "00" * 15}),
    ("service_key_salt_is_16_to_32_bytes", "service_keys", {"kdf_salt": "\\x" + "00" * 33}),
    ("service_keys_kdf_version_check", "service_keys", {"kdf_version": -1}),
    ("service_keys_history_kdf_version_check", "service_keys_history", {"kdf_version": -1}),
    ("credential_version_is_one_row", "credential_versions", {"id": 2}),
    ("domain_event_kind_is_dotted", "domain_events", {"kind": "created"}),
    ("domain_event_kind_is_dotted", "domain_events", {"kind": "Realm.created"}),
    ("stored_answer_is_a_success", "stored_answers", {"status": 199}),
    ("stored_answer_is_a_success", "stored_answers", {"status": 300}),
    # Catalog, beside its own table of cases
    ("meterprice_window_not_empty", "meter_prices", {"window_end": start}),
    ("meterprice_window_not_empty", "meter_prices", {"window_end": PAST}),
    # Billing
    ("billing_account_principal_is_given", "billing_accounts", {"billing_principal_id": "\t"}),
    ("billing_account_seat_limit_has_a_source", "billing_accounts", {"seat_limit_source": None}),
    ("billing_account_seat_limit_has_a_source", "billing_accounts", {"seat_limit_updated_at": None}),
    ("billing_account_seat_limit_source_is_known", "billing_accounts", {"seat_limit_source": "guess"}),
    ("billing_accounts_seat_limit_check", "billing_accounts", {"seat_limit": -1}),
    ("billing_accounts_history_seat_limit_check", "billing_accounts_history", {"seat_limit": -1}),
    ("billing_details_texts_are_given_or_absent", "billing_details", {"billing_email": "nobody"}),
    ("billing_details_texts_are_given_or_absent", "billing_details", {"legal_name": " "}),
    ("billing_details_entity_type_is_known", "billing_details", {"entity_type": "ghost"}),
    ("billing_details_source_is_known", "billing_details", {"last_updated_by": "nobody"}),
    ("billing_details_address_is_complete", "billing_details", {"default_address": {"line1": "x"}}),
    ("billing_details_address_is_complete", "billing_details", {"default_address": ["line1", "city", "country_code"]}),
    *(
        ("billing_details_tax_ids_have_type_and_value", "billing_details", {"tax_ids": [bad]})
        for bad in (1, "x", None, [], {}, {"type": "vat"}, {"type": "vat", "value": None}, {"type": 1, "value": "x"})
    ),
    ("billing_details_tax_ids_are_a_list", "billing_details", {"tax_ids": {}}),
    *objects("billing_details", "billing_details", ("metadata", "is")),
    *objects("billing_accounts", "billing_account", ("metadata", "is")),
    *objects("billing_users", "billing_user", ("metadata", "is")),
    *objects("billing_plans", "billing_plan", ("metadata", "is")),
    *objects("billing_plan_assignments", "plan_assignment", ("metadata", "is")),
    ("plan_assignment_status_not_in_future", "billing_plan_assignment_statuses", {"sequence": 2, "effective_at": "2200-01-01T00:00:00Z"}),
    ("billing_user_id_is_1_to_512_characters", "billing_users", {"business_user_id": ""}),
    ("billing_user_id_is_1_to_512_characters", "billing_users", {"business_user_id": " "}),
    ("billing_user_id_is_1_to_512_characters", "billing_users", {"business_user_id": "u" * 513}),
    ("billing_user_status_is_known", "billing_users", {"status": "away"}),
    ("billing_plan_code_is_plain", "billing_plans", {"plan_code": "a b"}),
    ("billing_plan_code_is_plain", "billing_plans", {"plan_code": "a\n"}),
    ("billing_plan_code_is_plain", "billing_plans", {"plan_code": "a" * 129}),
    ("billing_plan_name_is_given", "billing_plans", {"name": ""}),
    ("billing_plan_kind_is_known", "billing_plans", {"kind": "gift"}),
    ("plan_entitlement_effect_is_known", "billing_plan_entitlements", {"effect": "maybe"}),
    ("plan_entitlement_has_one_target_at_most", "billing_plan_entitlements WHERE feature_id IS NOT NULL", {"feature_family_id": str(new_id())}),
    ("planassignment_window_not_empty", ACCOUNT_SCOPE, {"window_end": start}),
    ("planassignment_window_not_empty", ACCOUNT_SCOPE, {"window_end": PAST}),
    ("plan_assignment_user_iff_user_scope", ACCOUNT_SCOPE, {"scope": "user"}),
    ("plan_assignment_user_iff_user_scope", USER_SCOPE, {"scope": "account"}),
    ("plan_assignment_user_iff_user_scope", ACCOUNT_SCOPE, {"scope": "team"}),
    ("plan_assignment_status_is_known", ACCOUNT_SCOPE, {"status": "late"}),
    ("plan_assignment_source_kind_is_known", ACCOUNT_SCOPE, {"source_kind": "rumor"}),
    ("plan_assignment_source_ref_is_given", ACCOUNT_SCOPE, {"source_ref": " "}),
    ("plan_assignment_status_given_is_known", "billing_plan_assignment_statuses", {"status": "late"}),
    ("billing_plan_assignment_statuses_sequence_check", "billing_plan_assignment_statuses", {"sequence": -1}),
    ("billingcontract_window_not_empty", "billing_contracts", {"window_end": start}),
    ("billingcontract_window_not_empty", "billing_contracts", {"window_end": PAST}),
    ("billing_contract_status_is_known", "billing_contracts", {"status": "expired"}),
    ("billing_contract_name_is_given_or_absent", "billing_contracts", {"name": " "}),
    *objects("billing_contracts", "billing_contract", ("metadata", "is")),
    ("contract_term_kind_is_known", "contract_terms", {"kind": "quota"}),
    ("contract_term_key_is_code", "contract_terms", {"term_key": "Chat"}),
    *(("contract_term_of_pricing_is_object", "contract_terms", {"value_json": bad}) for bad in ([], "x", 1)),
    *(
        ("contract_term_is_explained", "contract_terms", {column: " "})
        for column in ("actor_kind", "actor_id", "operator", "reason", "ticket_id", "trace_id")
    ),
    ("platform_token_expires_after_issue", "platform_tokens", {"expires_at": lambda row: row["issued_at"]}),
    # Grants
    *(("grant_plan_templates_are_a_list", "grant_plan_templates", {"templates": bad}) for bad in ({}, "x", 1)),
    *(("grant_enrollment_bindings_are_a_list", "grant_enrollments", {"bindings": bad}) for bad in ({}, "x", 1)),
    *(("grant_enrollment_fingerprint_is_given", "grant_enrollments", {"fingerprint": bad}) for bad in ("", " \t")),
    *(
        (f"grant_program_{name}_is_known", "grant_programs", {column: "rumor"})
        for name, column in (
            ("cadence", "cadence"), ("anchor", "issue_anchor"), ("kind", "grant_kind"), ("window", "window_kind"),
            ("outstanding_policy", "outstanding_application_policy"), ("mode", "issuance_mode"), ("accrual", "accrual_mode"),
            ("eligibility", "eligibility_kind"),
        )
    ),
    ("grant_program_code_is_a_code", "grant_programs", {"program_code": "Welcome"}),
    ("grant_program_code_is_a_code", "grant_programs", {"program_code": ""}),
    ("grant_program_amount_is_not_negative", "grant_programs", {"amount_xusd": -1}),
    ("grant_program_window_lasts", "grant_programs", {"window_default_seconds": 0}),
    ("grant_program_billing_periods_are_windows", "grant_programs", {"cadence": "billing_period", "window_kind": "forever"}),
    *objects("grant_programs", "grant_program", ("metadata", "is"), ("eligibility_payload", "is")),
    ("grantcampaign_window_not_empty", "grant_campaigns", {"window_end": start}),
    ("grantcampaign_window_not_empty", "grant_campaigns", {"window_end": PAST}),
    ("grant_campaign_has_a_name", "grant_campaigns", {"name": " "}),
    ("grant_campaign_status_is_known", "grant_campaigns", {"status": "late"}),
    ("grant_campaign_trigger_is_known", "grant_campaigns", {"assignment_trigger": "always"}),
    ("grant_campaign_event_has_a_trigger", "grant_campaigns", {"assignment_trigger": None}),
    ("grant_campaign_event_has_a_trigger", "grant_campaigns", {"event_type": None}),
    ("grant_campaign_event_is_1_to_128_characters", "grant_campaigns", {"event_type": ""}),
    ("grant_campaign_event_is_1_to_128_characters", "grant_campaigns", {"event_type": "a b"}),
    ("grant_campaign_event_is_1_to_128_characters", "grant_campaigns", {"event_type": "a" * 129}),
    ("grant_campaign_ended_when_told", "grant_campaigns", {"status": "ended"}),
    ("grant_campaign_ended_when_told", "grant_campaigns", {"ended_at": PAST}),
    *objects("grant_campaigns", "grant_campaign", ("metadata", "is"), ("payload_match", "is"), ("target_filter", "is")),
    ("grantassignment_window_not_empty", "grant_assignments", {"window_end": start}),
    ("grantassignment_window_not_empty", "grant_assignments", {"window_end": PAST}),
    ("grant_assignment_source_is_known", "grant_assignments", {"source_kind": "rumor"}),
    ("grant_assignment_status_is_known", "grant_assignments", {"status": "late"}),
    ("grant_assignment_outstanding_policy_is_known", "grant_assignments", {"outstanding_policy_override": "maybe"}),
    ("grant_assignment_source_ref_is_1_to_255_characters", "grant_assignments", {"source_ref": " "}),
    ("grant_assignment_source_ref_is_1_to_255_characters", "grant_assignments", {"source_ref": ""}),
    ("grant_assignment_source_ref_is_1_to_255_characters", "grant_assignments", {"source_ref": "s" * 256}),
    ("grant_assignment_of_a_plan_iff_by_plan", MANUAL, {"source_kind": "billing_plan_assignment"}),
    ("grant_assignment_of_a_plan_iff_by_plan", MANUAL, {"plan_assignment_id": str(new_id())}),
    ("grant_assignment_of_a_campaign_iff_by_campaign", MANUAL, {"source_kind": "ops.campaign"}),
    ("grant_assignment_of_a_campaign_iff_by_campaign", MANUAL, {"campaign_id": str(new_id())}),
    ("grant_assignment_amount_is_not_negative", "grant_assignments", {"amount_xusd": -1}),
    ("grant_assignment_quantity_is_1_or_more", "grant_assignments", {"quantity": 0}),
    *objects("grant_assignments", "grant_assignment", ("metadata", "is")),
    *(
        ("grant_lot_amounts_are_not_negative", UNUSED, {column: -1})
        for column in ("amount_xusd", "consumed_xusd", "settled_xusd", "reserved_xusd", "paid_xusd")
    ),
    ("grant_lot_is_never_overdrawn", UNUSED, {"reserved_xusd": lambda row: row["amount_xusd"] + 1}),
    ("grant_lot_is_never_overdrawn", UNUSED, {"consumed_xusd": INT64_MAX, "reserved_xusd": INT64_MAX}),
    ("grant_lot_revoked_is_never_spent", UNUSED, {**CLOSED_LOT, "status": "canceled", "consumed_xusd": 1}),
    ("grant_lot_settles_what_was_consumed", UNUSED, {"settled_xusd": 1}),
    ("grant_lot_of_overage_was_given_nothing", UNUSED, {"kind": "fallback"}),
    ("grant_lot_of_overage_was_given_nothing", UNUSED, {"kind": "fallback", "amount_xusd": 0}),
    ("grant_lot_of_overage_only_is_paid", UNUSED, {"paid_xusd": 1}),
    ("grant_lot_of_overage_only_is_paid", UNUSED, {"kind": "fallback", "amount_xusd": 0, "assignment_id": None, "paid_xusd": 1}),
    ("grant_lot_has_an_assignment_unless_overage", UNUSED, {"assignment_id": None}),
    ("grant_lot_closed_when_told", UNUSED, {"status": "closed"}),
    ("grant_lot_closed_when_told", UNUSED, {"closed_at": PAST}),
    ("grant_lot_closed_when_told", UNUSED, {"closure_kind": "forfeit"}),
    ("grant_lot_closed_holds_nothing", UNUSED, {**CLOSED_LOT, "status": "closed", "reserved_xusd": 1}),
    ("grant_lot_closed_holds_nothing", UNUSED, {**CLOSED_LOT, "status": "closed", "closed_remaining_xusd": 0}),
    ("grant_lot_window_not_empty", UNUSED, {"window_end": start}),
    ("grant_lot_period_not_empty", UNUSED, {"period_start": start, "period_end": start}),
    ("grant_lot_status_is_known", UNUSED, {"status": "late"}),
    ("grant_lot_kind_is_known", UNUSED, {"kind": "rumor"}),
    ("grant_lot_source_is_known", UNUSED, {"source_kind": "rumor"}),
    ("grant_lot_closure_is_known", UNUSED, {**CLOSED_LOT, "status": "closed", "closure_kind": "rumor"}),
    ("grant_lot_outstanding_policy_is_known", UNUSED, {"outstanding_policy": "maybe"}),
    ("grant_lot_source_ref_is_1_to_255_characters", UNUSED, {"source_ref": " "}),
    ("grant_lot_source_ref_is_1_to_255_characters", UNUSED, {"source_ref": "s" * 256}),
    ("grant_lot_issue_key_is_not_blank", UNUSED, {"issue_key": " "}),
    *objects("grant_lots", "grant_lot", ("metadata", "is")),
    ("grant_allocation_takes_an_amount", "grant_allocations", {"amount_xusd": 0}),
    ("grant_allocation_source_is_1_to_255_characters", "grant_allocations", {"source_ref": " "}),
    ("grant_allocation_source_is_1_to_255_characters", "grant_allocations", {"source_ref": "s" * 256}),
    ("grant_allocation_settled_has_its_lot", "grant_allocations", {"lot_id": None, "posting_id": str(new_id())}),
    # Ledger
    ("ledger_account_kind_is_known", "ledger_accounts", {"kind": "purse"}),
    ("ledger_account_count_is_not_negative", "ledger_accounts", {"kind": "refunded", "entry_count": -1}),
    ("ledger_account_sealed_what_it_has", "ledger_accounts", {**FRESH["ledger_accounts"], "sealed_count": -1}),
    ("ledger_account_sealed_what_it_has", "ledger_accounts", {**FRESH["ledger_accounts"], "sealed_count": 1}),
    ("posting_reason_is_known", "ledger_postings", {"reason": "whim"}),
    ("posting_source_is_1_to_255_characters", "ledger_postings", {"source_ref": " "}),
    ("posting_source_is_1_to_255_characters", "ledger_postings", {"source_ref": "s" * 256}),
    *(
        ("posting_is_explained", "ledger_postings", {column: " "})
        for column in ("actor_kind", "actor_id", "operator", "explanation", "ticket_id", "trace_id", "idempotency_key")
    ),
    ("posting_reversal_names_what_it_reverses", "ledger_postings", {"reason": "reversal"}),
    ("posting_reversal_names_what_it_reverses", "ledger_postings", {"reverses_id": str(new_id())}),
    ("ledger_entry_moves_an_amount", "ledger_entries", {"amount_xusd": 0}),
    ("ledger_entry_is_numbered_from_1", "ledger_entries", {"seq": 0}),
    *(
        ("ledger_seal_is_a_sha256", "ledger_seals", {**FRESH["ledger_seals"], "hash": "\\x" + "00" * size})
        for size in (0, 31, 33)
    ),
    ("budget_reference_is_1_to_255_characters", "budgets", {"reference": ""}),
    ("budget_reference_is_1_to_255_characters", "budgets", {"reference": " "}),
    ("budget_reference_is_1_to_255_characters", "budgets", {"reference": "b" * 256}),
    ("budget_scope_is_known", "budgets", {"scope_kind": "team"}),
    ("budget_features_fit_its_scope", "budgets", {"feature_codes": None}),
    ("budget_features_fit_its_scope", "budgets", {"feature_codes": []}),
    ("budget_features_fit_its_scope", "budgets", {"feature_codes": ["a", "b"]}),
    ("budget_features_fit_its_scope", "budgets", {"scope_kind": "global"}),
    ("budget_features_fit_its_scope", "budgets", {"scope_kind": "feature_set", "feature_codes": []}),
    ("budget_features_fit_its_scope", "budgets", {"scope_kind": "feature_set", "feature_codes": None}),
    *(
        ("budget_amounts_are_not_negative", "budgets", {"reserved_xusd": 0, column: -1})
        for column in ("limit_xusd", "consumed_xusd", "reserved_xusd")
    ),
    ("budget_reserves_within_its_limit", "budgets", {"reserved_xusd": lambda row: row["limit_xusd"] + 1}),
    ("budget_fits_64_bits", "budgets", {"consumed_xusd": INT64_MAX, "reserved_xusd": 1}),
    ("budget_window_not_empty", "budgets", {"window_end": start}),
    ("budget_window_not_empty", "budgets", {"window_end": PAST}),
    *objects("budgets", "budget", ("metadata", "is")),
    # Gate: policies
    ("gate_policy_bundle_key_is_plain", "gate_policy_bundles", {"bundle_key": "Pro"}),
    ("gate_policy_bundle_status_is_known", "gate_policy_bundles", {"status": "asleep"}),
    *objects("gate_policy_bundles", "gate_policy_bundle", ("metadata", "is")),
    ("gate_policies_window_sec_check", "gate_policies", {"window_sec": -1}),
    ("gate_policies_history_window_sec_check", "gate_policies_history", {"window_sec": -1}),
    ("gate_policy_window_is_positive_unless_seats", "gate_policies", {"window_sec": 0}),
    ("gate_policy_feature_is_code_or_wildcard", "gate_policies", {"feature_code": "chat*"}),
    ("gate_policy_name_is_given", "gate_policies", {"name": " "}),
    ("gate_policy_unit_is_given", "gate_policies", {"unit": ""}),
    ("gate_policy_kind_is_known", "gate_policies", {"kind": "tax"}),
    ("gate_policy_scope_is_known", "gate_policies", {"subject_scope": "team"}),
    ("gate_policy_status_is_known", "gate_policies", {"status": "draft"}),
    ("gate_policy_mode_is_known", "gate_policies", {"enforcement_mode": "hope"}),
    ("gate_policy_limit_fits_kind", "gate_policies", {"limit_count": 1}),
    ("gate_policy_limit_fits_kind", "gate_policies", {"kind": "rate"}),
    ("gate_policy_limit_fits_kind", "gate_policies", {"kind": "seats", "limit_minor": 1}),
    ("gate_policy_limit_is_not_negative", "gate_policies", {"limit_minor": -1}),
    ("gate_policy_limit_is_not_negative", "gate_policies WHERE kind = 'rate'", {"limit_count": -1}),
    ("gate_policy_seats_are_counted_in_seats", "gate_policies WHERE kind = 'seats'", {"unit": "chair"}),
    *objects("gate_policies", "gate_policy", ("metadata", "is")),
    # Gate: counting
    ("gate_counter_kind_is_known", "gate_counters", {"kind": "tax"}),
    ("gate_counter_scope_is_known", "gate_counters", {"subject_scope": "team"}),
    ("gate_counter_account_counts_for_itself", "gate_counters", {"subject_scope": "account"}),
    ("gate_counter_window_not_empty", "gate_counters", {"window_end": start}),
    ("gate_counter_key_is_given", "gate_counters", {"key": " "}),
    ("gate_counter_amounts_are_not_negative", "gate_counters", {"used_minor": -1}),
    ("gate_counter_amounts_are_not_negative", "gate_counters", {"reserved_minor": -1}),
    ("gate_counter_fits_64_bits", "gate_counters", {"used_minor": INT64_MAX, "reserved_minor": 1}),
    ("gate_seat_window_not_empty", "gate_seats", {"window_end": start}),
    ("gate_residual_bucket_has_a_rate", "gate_residual_buckets", {"rate_identity": ""}),
    ("gate_residual_bucket_holds_a_remainder", "gate_residual_buckets", {"denom": 0, "remainder_numer": 0}),
    ("gate_residual_bucket_holds_a_remainder", "gate_residual_buckets", {"remainder_numer": -1}),
    ("gate_residual_bucket_holds_a_remainder", "gate_residual_buckets", {"remainder_numer": lambda row: row["denom"]}),
    ("gate_denial_happened", "gate_denials", {"count": 0}),
    ("gate_denial_first_is_not_after_last", "gate_denials", {"last_at": PAST}),
    ("gate_denial_status_is_a_refusal", "gate_denials", {"status": 399}),
    ("gate_denial_status_is_a_refusal", "gate_denials", {"status": 600}),
    ("gate_denial_has_a_reason", "gate_denials", {"reason": " "}),
    *objects("gate_denials", "gate_denial", ("evidence", "is")),
    # Gate: leases
    ("gate_lease_state_is_known", "gate_leases", {"state": "lost"}),
    ("gate_lease_billing_mode_is_known", "gate_leases", {"billing_mode": "later"}),
    ("gate_lease_ended_iff_not_active", "gate_leases WHERE state = 'closed'", {"ended_at": None}),
    ("gate_lease_ended_iff_not_active", "gate_leases WHERE state = 'closed'", {"state": "active"}),
    ("gate_lease_expires_after_authorized", "gate_leases", {"expires_at": lambda row: row["authorized_at"]}),
    ("gate_lease_window_not_empty", "gate_leases", {"window_end": start}),
    *(
        ("gate_lease_amounts_are_not_negative", "gate_leases", {column: -1})
        for column in ("reserved_minor", "reserved_xusd", "estimate_minor", "cap_minor")
    ),
    ("gate_lease_holds_a_quantity_on_counters_only", "gate_leases WHERE reserved_minor > 0", {"counter_ids": []}),
    ("gate_lease_is_named", "gate_leases", {"lease": ""}),
    ("gate_lease_key_is_given", "gate_leases", {"idempotency_key": " "}),
    *objects("gate_leases", "gate_lease", ("labels", "are")),
    ("gate_lease_closed_iff_rated", "gate_leases WHERE state = 'closed'", {"rating_id": None, "rated_at": None}),
    ("gate_lease_closed_iff_rated", "gate_leases WHERE state = 'closed'", {"rated_at": None}),
    ("gate_lease_closed_iff_rated", "gate_leases WHERE state = 'closed'", {"rating_id": None}),
    ("gate_lease_closed_iff_rated", "gate_leases WHERE state = 'closed'", {"state": "expired"}),
    ("gate_lease_closed_iff_rated", "gate_leases WHERE state = 'active'", {"rating_id": str(new_id()), "rated_at": PAST}),
    ("gate_lease_quotas_have_limits_and_holds", "gate_leases", {"quota_limits": []}),
    ("gate_lease_quotas_have_limits_and_holds", "gate_leases", {"quota_held": [True, True]}),
    ("gate_lease_quotas_have_limits_and_holds", "gate_leases", {"quota_counter_ids": []}),
    ("gate_lease_holds_money_on_lots", "gate_leases WHERE reserved_xusd > 0", {"held_lots": [], "held_amounts": []}),
    ("gate_lease_holds_money_on_lots", "gate_leases WHERE reserved_xusd > 0", {"held_amounts": []}),
    ("gate_lease_holds_money_on_lots", "gate_leases WHERE reserved_xusd > 0", {"held_amounts": lambda row: [row["reserved_xusd"] - 1]}),
    ("gate_lease_holds_money_on_lots", "gate_leases WHERE reserved_xusd > 0", {"reserved_xusd": 0}),
    ("gate_lease_end_kind_is_known", "gate_lease_ends", {"kind": "lost"}),
    ("gate_lease_end_names_its_lease", "gate_lease_ends", {"reference": " "}),
    ("gate_lease_end_rated_iff_committed", "gate_lease_ends", {"kind": "committed"}),
    ("gate_lease_end_rated_iff_committed", "gate_lease_ends", {"rating_id": str(new_id())}),
    *(
        ("gate_lease_end_is_explained", "gate_lease_ends", {column: " "})
        for column in ("actor_kind", "actor_id", "operator", "reason", "ticket_id", "trace_id")
    ),
    ("gate_lease_budget_is_named_and_seen", "gate_leases", {"budget_seen": None}),
    ("gate_lease_budget_is_named_and_seen", "gate_leases", {"budget_id": None}),
    ("gate_lease_budget_is_named_and_seen", "gate_leases", {"budget": None}),
    *(("gate_lease_budget_seen_is_object", "gate_leases", {"budget_seen": bad}) for bad in ([], "x", 1)),
    # Gate: rules and projections
    ("gate_rule_set_entitlement_is_known", "gate_rule_sets", {"entitlement": "maybe"}),
    ("gate_rule_set_billing_mode_is_known", "gate_rule_sets", {"billing_mode": "later"}),
    ("gate_rule_set_price_has_its_quantity", "gate_rule_sets", {"price_xusd": None, "price_quantity_minor": 1}),
    ("gate_rule_set_price_has_its_quantity", "gate_rule_sets", {"price_xusd": 1, "price_quantity_minor": None}),
    ("gate_rule_set_price_has_its_quantity", "gate_rule_sets", {"price_xusd": 1, "price_quantity_minor": 0}),
    ("gate_rule_set_price_has_its_quantity", "gate_rule_sets", {"price_xusd": -1, "price_quantity_minor": 1}),
    *objects("gate_rule_sets", "gate_rule_set", ("document", "is")),
    ("gate_projection_holds_for_a_time", "gate_projections", {"valid_until": lambda row: row["valid_from"]}),
    ("gate_projection_holds_for_a_time", "gate_projections", {"valid_until": PAST}),
    # Gate: ratings
    ("gate_rating_direction_is_known", "gate_ratings", {"direction": "up"}),
    ("gate_rating_kind_is_known", "gate_ratings", {"rating_kind": "guess", "lease_id": None}),
    ("gate_rating_status_is_known", "gate_ratings", {"application_status": "lost", "reason_codes": ["x"]}),
    ("gate_rating_billing_mode_is_known", "gate_ratings", {"billing_mode": "later"}),
    ("gate_rating_credit_iff_reversal", "gate_ratings", {"direction": "credit"}),
    ("gate_rating_credit_iff_reversal", "gate_ratings", {"reversal_of_id": str(new_id())}),
    ("gate_rating_lease_iff_commit", "gate_ratings", {"lease_id": None}),
    ("gate_rating_lease_iff_commit", "gate_ratings", {"rating_kind": "ingest"}),
    ("gate_rating_lease_iff_commit", "gate_ratings", {"rating_kind": "seats"}),
    *(
        ("gate_rating_applies_no_more_than_canonical", "gate_ratings", {f"applied_{column}": bad})
        for column in ("quantity_minor", "amount_xusd", "cost_xusd")
        for bad in (-1, lambda row, column=column: row[f"canonical_{column}"] + 1)
    ),
    ("gate_rating_funds_no_more_than_applied", "gate_ratings", {"funded_xusd": -1}),
    ("gate_rating_funds_no_more_than_applied", "gate_ratings", {"funded_xusd": lambda row: row["applied_amount_xusd"] + 1}),
    ("gate_rating_prepaid_is_paid_in_full", "gate_ratings", {"funded_xusd": lambda row: row["applied_amount_xusd"] - 1}),
    ("gate_rating_quarantined_applies_nothing", "gate_ratings", {"application_status": "quarantined", "reason_codes": ["x"]}),
    ("gate_rating_not_applied_in_full_for_a_reason", "gate_ratings", {"application_status": "applied_clipped", "reason_codes": []}),
    ("gate_rating_key_is_given", "gate_rating_keys", {"idempotency_key": ""}),
    *objects("gate_ratings", "gate_rating", ("labels", "are"), ("evidence", "is"), ("metadata", "is")),
    *(
        ("gate_rated_record_amounts_are_not_negative", "gate_rated_records", {column: -1})
        for column in ("quantity_minor", "amount_xusd", "cost_xusd", "remainder_in", "remainder_out", "cost_remainder_in", "cost_remainder_out")
    ),
    ("gate_rated_record_has_rates_iff_priced", "gate_rated_records", {"rate_identity": None}),
    ("gate_rated_record_has_rates_iff_priced", "gate_rated_records", {"cost_rate_identity": None}),
    ("gate_rated_record_has_rates_iff_priced", "gate_rated_records", {"rating_status": "missing_price"}),
    ("gate_rated_record_status_is_known", "gate_rated_records", {"rating_status": "guessed"}),
    ("gate_rated_records_line_number_check", "gate_rated_records", {"line_number": -1}),
]  # fmt: skip

# A copy with nothing but a new id is a second row of the same identity, unless it says
# otherwise. The last column is an accepted row that must be there first.
UNIQUE = [
    ("billing_account_once_per_principal", "billing_accounts", {}),
    ("billing_details_once_per_account", "billing_details", {"account_id": lambda row: row["account_id"]}),
    ("billing_user_once_per_account", "billing_users", {}),
    ("billing_plan_code_once_per_realm", "billing_plans", {}),
    ("billing_plan_code_once_whatever_the_case", "billing_plans", {"plan_code": lambda row: row["plan_code"].upper()}),
    ("plan_entitlement_once_per_target", "billing_plan_entitlements", {}),
    ("plan_entitlement_once_per_target", "billing_plan_entitlements WHERE feature_id IS NOT NULL", {"feature_id": None}, {"feature_id": None}),
    ("plan_assignment_once_per_account_identity", ACCOUNT_SCOPE, {}),
    ("plan_assignment_once_per_user_identity", USER_SCOPE, {}),
    ("plan_assignment_status_in_sequence", "billing_plan_assignment_statuses", {}),
    ("billing_contract_once_per_start", "billing_contracts", {}),
    ("contract_term_once_per_identity", "contract_terms", {}),
    ("platform_token_once_per_key", "platform_tokens", {}),
    ("feature_family_code_once_per_realm", "feature_families", {}),
    ("feature_code_once_per_realm", "features", {}),
    ("feature_meter_linked_once", "feature_meters", {"is_primary": False}),
    ("feature_meter_one_primary_per_feature", "feature_meters", {"meter_id": lambda row: FRESH["feature_meters"]["meter_id"](row)}),
    ("meter_code_once_per_realm", "meters", {}),
    ("meter_price_one_in_force", "meter_prices", {}),
    ("meter_price_one_in_force", "meter_prices", {"window_start": PAST}),
    ("grant_program_code_once_per_realm", "grant_programs", {}),
    ("grant_campaign_name_once_per_realm", "grant_campaigns", {}),
    ("grant_campaign_name_once_per_realm", "grant_campaigns", {"name": lambda row: row["name"].upper()}),
    ("grant_assignment_once_per_identity", "grant_assignments", {}),
    ("grant_lot_once_per_issue_key", "grant_lots", {"alloc_seq": 99}),
    ("grant_lot_once_per_period", "grant_lots", {"issue_key": "other"}),
    ("grant_lot_of_overage_once_per_period", UNUSED, {**OVERAGE_LOT, "issue_key": "a"}, {**OVERAGE_LOT, "issue_key": "b"}),
    ("grant_allocation_once_per_source_and_lot", "grant_allocations", {}),
    ("ledger_account_once_per_user_and_kind", "ledger_accounts", {}),
    ("posting_once_per_idempotency_key", "ledger_postings", {}),
    ("ledger_entry_in_sequence", "ledger_entries", {}),
    ("ledger_seal_in_sequence", "ledger_seals", {"entry_id": FRESH["ledger_seals"]["entry_id"]}),
    ("ledger_postings_reverses_id_key", "ledger_postings", {**REVERSAL, "idempotency_key": "b"}, {**REVERSAL, "idempotency_key": "a"}),
    ("grant_lots_carried_from_id_key", UNUSED, {**CARRIED, "issue_key": "b", "alloc_seq": 98}, {**CARRIED, "issue_key": "a", "alloc_seq": 99}),
    ("budget_reference_once_per_user", "budgets", {}),
    ("gate_counter_once_per_window", "gate_counters", {}),
    ("gate_seat_once_per_user_and_window", "gate_seats WHERE window_end IS NULL", {}),
    ("gate_seat_billing_once_per_policy", "gate_seat_billings", {}),
    ("gate_lease_reference_once_per_user", "gate_leases", {"idempotency_key": "other"}),
    ("gate_lease_once_per_idempotency_key", "gate_leases", {"lease": "other"}),
    ("gate_lease_end_once_per_lease", "gate_lease_ends", {}),
    ("gate_rating_once_per_idempotency_key", "gate_rating_keys", {"rating_id": str(new_id()), "lease_id": None}),
    ("gate_rating_one_applied_per_lease", "gate_rating_keys", {"rating_id": str(new_id()), "idempotency_key": "other"}),
    ("gate_projection_once_per_user_and_feature", "gate_projections", {}),
    ("gate_rated_record_numbered_once", "gate_rated_records", {}),
    ("gate_residual_bucket_once_per_rate", "gate_residual_buckets", {}),
    ("gate_denial_once_per_minute", "gate_denials", {}),
    ("gate_policy_name_once_per_realm", "gate_policies", {"status": "assignable"}),
    ("gate_policy_one_default_per_shape", "gate_policies WHERE status = 'default'", {"name": "other"}),
    ("gate_policy_one_ceiling_per_shape", "gate_policies", {"name": "a", "status": "ceiling"}, {"name": "b", "status": "ceiling"}),
    ("gate_policy_bundle_key_once_per_realm", "gate_policy_bundles", {}),
    ("stored_answer_once_per_request", "stored_answers", {}),
]  # fmt: skip

# Rules that another, tighter one hides: (constraint, source, copy, rules to lift first,
# accepted row before it).
HIDDEN = [
    ("credential_versions_id_check", "credential_versions", {"id": -1}, ["credential_version_is_one_row"], None),
    ("gate_denials_status_check", "gate_denials", {"status": -1}, ["gate_denial_status_is_a_refusal"], None),
    ("feature_family_one_fallback_per_realm", "feature_families", FALLBACK, ["feature_family_code_once_per_realm"], FALLBACK),
]  # fmt: skip

# What a copy needs so that only the named foreign key can be what refuses it.
FOREIGN_KEY_NEEDS = {
    ("billing_plan_entitlements", "feature_family_id"): {"feature_id": None},
    ("gate_ratings", "reversal_of_id"): {"direction": "credit"},
    ("grant_assignments", "campaign_id"): {"source_kind": "ops.campaign"},
    ("grant_assignments", "plan_assignment_id"): {
        "source_kind": "billing_plan_assignment"
    },
    ("grant_lots", "carried_from_id"): CARRIED,
    ("grant_allocations", "posting_id"): {
        "posting_id": lambda row: posting_of(row["user_id"])
    },
    ("ledger_postings", "reverses_id"): REVERSAL,
}
FOREIGN_KEY_SOURCES = {
    "billing_plan_assignments": USER_SCOPE,
    "billing_plan_entitlements": "billing_plan_entitlements WHERE feature_id IS NOT NULL",
}
NOWHERE = {
    "text": "nowhere",
    "timestamp with time zone": PAST,
    "uuid": "00000000-0000-7000-8000-000000000000",
}

UNGUARDED = {
    "gate_leases.plan_assignment_id": "copied by the gate's function from a projection, which has the key",
    "gate_lease_ends.lease_id": "of a lease that the same transaction locks and ends; it is purged, and its end stays",
    "gate_ratings.plan_assignment_id": "copied by the gate's function from its lease or a projection",
    "gate_ratings.lease_id": "of a lease that the same statement locks and ends, which is told how many it ended; purged long before its rating",
    "ledger_seals.entry_id": "made by the job alone, of entries of the ledger account that it locks; the proof looks that each seal lies on its entry",
    "ledger_seals.ledger_account_id": "of its entry: see there",
    "gate_ratings.reversal_of_id": "no verb reverses a rating yet; the first one brings its key, and that it happens once",
}
"""References that no composite key checks, and why they need none."""

NOT_REALM_FIRST = {
    "gate_rated_record_numbered_once": "lines are found by their rating; the partition's key must be in it",
    "grant_lots_carried_from_id_key": "a lot is carried over once; a composite key keeps it with its user",
    "ledger_postings_reverses_id_key": "a posting is reversed once; a composite key keeps it with its user",
}
"""Unique keys that begin with something else than the realm, and why."""

CANNOT_RUN_OUT = {"credential_versions": "has one row"}
"""Tables whose narrow primary key is never given a new value."""


@pytest.fixture(scope="module")
def worlds(django_db_setup, django_db_blocker):
    """A world, its neighbor in the same realm, and one of another realm; rolled back."""
    with django_db_blocker.unblock(), transaction.atomic():
        own = build_world(make_realm(AT, BY), at=AT, by=BY)
        yield SimpleNamespace(
            own=own,
            neighbor=neighbor(own),
            foreign=build_world(make_realm(AT, BY), at=AT, by=BY),
        )
        transaction.set_rollback(True)


@pytest.fixture
def own(worlds):
    """The world to copy rows from; what the test writes is undone."""
    with auditing_savepoint():
        yield worlds.own


@contextmanager
def auditing_savepoint():
    """Yield in a savepoint and an audit context; undo what was written."""
    with transaction.atomic():
        judge_at_once()
        with auditing(BY, at=AT):
            yield
        transaction.set_rollback(True)


def refusal(source, world, changes):
    """Return the constraint that a copy violates, None where it is accepted."""
    try:
        with transaction.atomic():
            insert_copy(source, world, changes)
    except IntegrityError as error:
        return rule_of(error)
    return None


def lift(table, names):
    """Drop constraints, until the savepoint is undone."""
    for name in names:
        run(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE")


def constraints(*kinds):
    """Return (name, table, kind, columns, definition) of our constraints."""
    found = rows(
        "SELECT conname, conrelid::regclass::text, contype::text, ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k(n, i)"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY i), pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE contype = ANY (%s) AND conrelid = ANY (%s::regclass[])",
        [list(kinds), own_tables()],
    )
    return sorted(found)


def unique_indexes():
    """Return (name, table) of unique indexes that are no constraint: partial ones."""
    return rows(
        "SELECT indexrelid::regclass::text, indrelid::regclass::text FROM pg_index WHERE indisunique AND NOT indisprimary"
        " AND indrelid = ANY (%s::regclass[]) AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('u', 'x'))",
        [own_tables()],
    )


def implied_keys():
    """Return (name, table) of unique keys that contain the primary key.

    Composite foreign keys refer to them.
    """
    return [
        (name, table)
        for name, table, _, names, _ in constraints("u")
        if set(primary_key(table) or ["none"]) <= set(names)
    ]


def test_every_constraint_has_a_case(worlds):
    implied = {name for name, _ in implied_keys()}
    sound = sound_rules()
    named = [
        *constraints("c", "u", "x"),
        *unique_indexes(),
        *sound,
        *written_rules(),
    ]
    together = {f"{table}_are_sound" for _, table in sound}
    expected = {name for name, *_ in named} - implied - together
    cases = [case[0] for case in [*CHECKS, *UNIQUE, *HIDDEN]]

    print(
        f"\n{len(expected)} constraints, {len(cases)} cases; {len(implied)} keys implied by the primary key"
    )
    assert sorted(expected - set(cases)) == []
    assert sorted(set(cases) - expected) == []


@pytest.mark.parametrize("table", sorted(FRESH))
def test_valid_copy_is_accepted(own, table):
    """The control: what the cases below change is all that is wrong with them."""
    insert_copy(table, own, FRESH[table])


def test_every_table_has_a_valid_copy(worlds):
    tables = [name for name in own_tables() if not name.endswith("_history")]

    assert sorted({*FRESH, *ONE_ROW}) == tables


def case_id(value):
    return (
        value
        if isinstance(value, str)
        else ",".join(value)
        if isinstance(value, dict)
        else None
    )


@pytest.mark.parametrize(("name", "source", "changes"), CHECKS, ids=case_id)
def test_row_that_breaks_a_check_is_refused(own, name, source, changes):
    assert refusal(source, own, changes) == name


@pytest.mark.parametrize(
    ("name", "source", "changes", "before"),
    [(*case, None)[:4] for case in UNIQUE],
    ids=case_id,
)
def test_second_row_of_one_identity_is_refused(own, name, source, changes, before):
    if before is not None:
        insert_copy(source, own, before)

    assert refusal(source, own, changes) == name


@pytest.mark.parametrize(
    ("name", "source", "changes", "lifted", "before"), HIDDEN, ids=case_id
)
def test_row_that_breaks_a_hidden_rule_is_refused(
    own, name, source, changes, lifted, before
):
    lift(source.split()[0], lifted)
    if before is not None:
        insert_copy(source, own, before)

    assert refusal(source, own, changes) == name


def test_implied_keys_refuse_without_the_primary_key(worlds):
    found = {}
    for name, table in implied_keys():
        [key] = [names for other, _, _, names, _ in constraints("u") if other == name]
        hidden_by = [
            other for other, where in implied_keys() if where == table and other != name
        ]
        with auditing_savepoint():
            lift(table, [f"{table}_pkey", *hidden_by])
            fresh = {
                column: value
                for column, value in FRESH[table].items()
                if column not in key
            }
            same = {column: _same(column) for column in key}
            found[name] = refusal(table, worlds.own, {**fresh, **same})

    print(f"\n{len(found)} implied keys")
    assert found == {name: name for name in found}
    assert len(found) >= 13


def _same(column):
    return lambda row: row[column]


def foreign_keys():
    """Return (name, table, columns, parent, parent columns) of our foreign keys."""
    return rows(
        "SELECT conname, conrelid::regclass::text, ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k(n, i)"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY i), confrelid::regclass::text,"
        " ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k(n, i)"
        " JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY i)"
        " FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND conrelid = ANY (%s::regclass[]) ORDER BY 2, 1",
        [own_tables()],
    )


def pointing(worlds, table, names, change):
    """Return which of a table's foreign keys refuses a copy with `change`, alone.

    `names` are the key's columns: other foreign keys over them are lifted.
    """
    key = next(
        name
        for name, where, columns_, *_ in foreign_keys()
        if where == table and columns_ == names
    )
    rivals = [
        name
        for name, where, columns_, *_ in foreign_keys()
        if where == table and name != key and {*columns_} & {*change}
    ]
    with auditing_savepoint():
        lift(table, rivals)
        if {*primary_key(table)} & {*change}:
            lift(
                table,
                [
                    f"{table}_pkey",
                    *(name for name, where in implied_keys() if where == table),
                ],
            )
        changes = {
            **FRESH[table],
            **FOREIGN_KEY_NEEDS.get((table, names[-1]), {}),
            **change,
        }
        try:
            with transaction.atomic():
                insert_copy(FOREIGN_KEY_SOURCES.get(table, table), worlds.own, changes)
                run("SET CONSTRAINTS ALL IMMEDIATE")
        except IntegrityError as error:
            return rule_of(error)
    return None


def parent_of(world, parent, names, columns_):
    """Return the values of another world's parent row, as the child would hold them."""
    row = row_of(parent, world)
    return dict(zip(names, (row[column] for column in columns_), strict=True))


def test_child_without_a_parent_is_refused(worlds):
    found = {}
    for name, table, names, _, _ in foreign_keys():
        column = names[-1]
        kind = rows(
            "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
            [table, column],
        )
        found[name] = pointing(worlds, table, names, {column: NOWHERE[kind[0][0]]})

    print(f"\n{len(found)} foreign keys refuse what is not there")
    assert found == {name: name for name in found}
    assert len(found) >= 60


def test_child_of_another_realms_parent_is_refused(worlds):
    found = {}
    for name, table, names, parent, columns_ in foreign_keys():
        if len(names) == 1:
            continue
        assert names[0] == "realm_id", f"{name} does not begin with the realm"
        elsewhere = parent_of(worlds.foreign, parent, names, columns_)
        del elsewhere["realm_id"]
        found[name] = pointing(worlds, table, names, elsewhere)

    print(f"\n{len(found)} composite foreign keys keep children in their realm")
    assert found == {name: name for name in found}
    assert len(found) >= 28


def test_child_of_another_accounts_user_is_refused(worlds):
    found = {}
    for name, table, names, _, _ in foreign_keys():
        if "account_id" in names and "user_id" in names:
            stranger = {
                "account_id": str(worlds.own.account.pk),
                "user_id": str(worlds.own.spare_user.pk),
            }
            found[name] = pointing(worlds, table, names, stranger)

    print(f"\n{len(found)} composite foreign keys keep users in their account")
    assert found == {name: name for name in found}
    assert len(found) >= 8


def test_every_reference_inside_a_realm_is_composite(worlds):
    """A foreign key of one column could point into another realm."""
    covered = {
        (table, column)
        for _, table, names, *_ in foreign_keys()
        for column in names
        if names[0] == "realm_id" and len(names) > 1
    }
    missing = [
        f"{table}.{field.column}"
        for table, model in models().items()
        if not table.endswith("_history")
        for field in model._meta.concrete_fields
        if field.is_relation
        and field.column != "realm_id"
        and (table, field.column) not in covered
    ]

    assert sorted(missing) == sorted(UNGUARDED)


def test_every_realm_owned_key_begins_with_the_realm(worlds):
    owned = [
        table
        for table in own_tables()
        if "realm_id" in columns(table)
        and table != "realms"
        and not table.endswith("_history")
    ]
    found = rows(
        "SELECT indexrelid::regclass::text, attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
        " WHERE indisunique AND NOT indisprimary AND indrelid = ANY (%s::regclass[])",
        [owned],
    )

    assert {name for name, column in found if column != "realm_id"} == {
        *NOT_REALM_FIRST
    }
    assert len(found) >= 40


def test_column_that_must_hold_a_value_refuses_null(worlds):
    found = rows(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnotnull AND attnum > 0 AND attidentity = ''"
        " AND attrelid = ANY (%s::regclass[])",
        [own_tables()],
    )
    accepted = []
    for table, column in found:
        with auditing_savepoint():
            try:
                with transaction.atomic():
                    insert_copy(table, worlds.own, {column: None})
            except IntegrityError as error:
                if (
                    error.__cause__.sqlstate == "23502"
                    and error.__cause__.diag.column_name == column
                ):
                    continue
        accepted.append((table, column))

    print(f"\n{len(found)} columns refuse NULL")
    assert accepted == []
    assert len(found) >= 500


# Rules over several rows, judged as the transaction ends: (rule, statements that leave
# it broken).
STATUS = "plan_assignment_has_the_status_last_given"
PRIMARY = "feature_has_its_primary_meter"
PRIMARY_LINK = "feature_meters WHERE is_primary"
SUM = "posting_sums_to_zero"
LAST = "ledger_account_is_its_last_entry"
SEQUENCE = "ledger_entry_continues_the_last"


def post(own, *amounts, astray_xusd=0, skipped=0):
    """Move amounts (10^-6 USD) on as many ledger accounts of the world's user.

    The last entry's balance is `astray_xusd` too high, its number `skipped` too high;
    the ledger account agrees with it.
    """
    posting = insert_copy("ledger_postings", own, FRESH["ledger_postings"])
    ledgers = rows(
        "SELECT id, balance_xusd, entry_count FROM ledger_accounts WHERE user_id = %s ORDER BY id LIMIT %s",
        [posting["user_id"], len(amounts)],
    )
    for number, (ledger, balance, count) in enumerate(ledgers, 1):
        is_last = number == len(ledgers)
        entry = {
            "posting_id": posting["id"],
            "ledger_account_id": str(ledger),
            "amount_xusd": amounts[number - 1],
            "balance_xusd": balance + amounts[number - 1] + astray_xusd * is_last,
            "seq": count + 1 + skipped * is_last,
        }
        insert_copy("ledger_entries", own, entry)
        run(
            "UPDATE ledger_accounts SET balance_xusd = %s, entry_count = %s WHERE id = %s",
            [entry["balance_xusd"], entry["seq"], ledger],
        )


WHOLE = [
    (STATUS, lambda own: run("UPDATE billing_plan_assignments SET status = 'canceled'")),
    (STATUS, lambda own: insert_copy(ACCOUNT_SCOPE, own, {"source_ref": "fresh"})),
    (STATUS, lambda own: insert_copy("billing_plan_assignment_statuses", own, {"sequence": 99, "status": "paused"})),
    (PRIMARY, lambda own: run(f"DELETE FROM {PRIMARY_LINK}")),
    (PRIMARY, lambda own: insert_copy("features", own, {"feature_code": "fresh"})),
    ("grant_allocation_of_a_user_of_its_account", lambda own: insert_copy("grant_allocations", own, {"lot_id": None, "account_id": spare_user(own.realm.pk)[0]})),
    (SUM, lambda own: post(own)),
    (SUM, lambda own: post(own, 5)),
    (SUM, lambda own: post(own, 5, -4)),
    (LAST, lambda own: run("UPDATE ledger_accounts SET balance_xusd = balance_xusd + 1")),
    (LAST, lambda own: run("UPDATE ledger_accounts SET entry_count = entry_count + 1")),
    (LAST, lambda own: run("UPDATE ledger_accounts SET balance_xusd = 0, entry_count = sealed_count")),
    (LAST, lambda own: insert_copy("ledger_accounts", own, {**FRESH["ledger_accounts"], "balance_xusd": 1})),
    (SEQUENCE, lambda own: post(own, 5, -5, astray_xusd=1)),
    (SEQUENCE, lambda own: post(own, 5, -5, skipped=1)),
]  # fmt: skip


def test_every_rule_over_several_rows_has_a_case(worlds):
    assert sorted({name for name, _ in WHOLE}) == whole_rules()


@pytest.mark.parametrize(("name", "breaking"), WHOLE, ids=case_id)
def test_rows_that_do_not_agree_are_refused(own, name, breaking):
    breaking(own)

    with pytest.raises(IntegrityError) as problem, transaction.atomic():
        run("SET CONSTRAINTS ALL IMMEDIATE")
    assert problem.value.__cause__.diag.constraint_name == name


def test_rows_of_the_world_agree(own):
    run("UPDATE billing_plan_assignments SET status = status")
    run("UPDATE ledger_accounts SET balance_xusd = balance_xusd")
    post(own, 5, -5)
    run("SET CONSTRAINTS ALL IMMEDIATE")


def test_no_immutable_function_reads_a_setting(worlds):
    """Such a function's answer may be kept from one tenant's call to the next one's."""
    found = rows(
        "SELECT proname, provolatile::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND prosrc ~ 'current_setting|session_user|current_user'"
    )

    assert [name for name, volatility in found if volatility == "i"] == []
    assert "plangate_audit_row" in {name for name, _ in found}


def test_no_primary_key_can_run_out(worlds):
    narrow = rows(
        "SELECT indrelid::regclass::text, attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
        " WHERE indisprimary AND atttypid IN ('int4'::regtype, 'int2'::regtype) AND indrelid = ANY (%s::regclass[])",
        [own_tables()],
    )

    assert {table for table, _ in narrow} == {*CANNOT_RUN_OUT}


def test_no_constraint_waits_to_be_validated(worlds):
    assert rows("SELECT conname FROM pg_constraint WHERE NOT convalidated") == []
    assert (
        rows("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        == []
    )


def test_every_rule_on_what_people_edit_has_a_sentence(worlds):
    implied = {name for name, _ in implied_keys()}
    silent = [
        constraint.name
        for table in audited_tables()
        for constraint in models()[table]._meta.constraints
        if "is violated" in str(constraint.get_violation_error_message())
        and constraint.name not in implied
    ]

    assert silent == []
