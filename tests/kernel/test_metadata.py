import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from config.kernel.errors import Invalid
from config.kernel.metadata import (
    AccountMetadata,
    AssignmentMetadata,
    BundleMetadata,
    CampaignMetadata,
    CatalogPriceMetadata,
    CatalogProductMetadata,
    FeatureFamilyMetadata,
    FeatureMetadata,
    GrantAssignmentMetadata,
    MeterMetadata,
    PlanMetadata,
    PolicyMetadata,
    ProgramEligibility,
    RealmMetadata,
    UserMetadata,
    check_metadata,
    describe,
    known_paths,
)

CONTRACTS = [
    AccountMetadata, AssignmentMetadata, BundleMetadata, CampaignMetadata, CatalogPriceMetadata,
    CatalogProductMetadata, FeatureFamilyMetadata, FeatureMetadata, GrantAssignmentMetadata, MeterMetadata,
    PlanMetadata, PolicyMetadata, ProgramEligibility, RealmMetadata, UserMetadata,
]  # fmt: skip

GRANT_PATHS = [
    "grant_program_code", "amount_xusd", "effect", "template_key", "template_meta", "scale_by_invoice_quantity",
    "on_ledger_override", "issue_anchor_override", "window_kind_override", "window_relative_seconds_override",
    "alloc_seq_override", "priority_override", "kind_override", "expiry_policy", "metadata",
]  # fmt: skip
GRANTS = ["grants[]", *(f"grants[].{path}" for path in GRANT_PATHS)]
PERIOD = [
    "billing_mode",
    "issue_anchor",
    "kind",
    "cadence",
    "fixed_days",
    "grace_window_seconds",
]
CATALOG = ["billing_plan_code", *GRANTS, "gating.bundle"]

FULL_BINDING = {
    "grant_program_code": "monthly_xusd",
    "amount_xusd": "5000000",
    "effect": "allow",
    "template_key": "welcome",
    "template_meta": {"any": ["thing"]},
    "scale_by_invoice_quantity": False,
    "on_ledger_override": True,
    "issue_anchor_override": "first_use",
    "window_kind_override": "relative_duration",
    "window_relative_seconds_override": 86_400,
    "alloc_seq_override": 0,
    "priority_override": -3,
    "kind_override": "promo",
    "expiry_policy": "carryover",
    "metadata": {"note": None},
}


def known(contract, document):
    return check_metadata(contract, document).known


def refused(contract, document, **options):
    with pytest.raises(Invalid) as refusal:
        check_metadata(contract, document, **options)
    assert refusal.value.code == "VALIDATION.INVALID_INPUT"
    assert refusal.value.message.startswith(refusal.value.field)
    assert refusal.value.message.endswith(".")
    return refusal.value


# What each contract knows


@pytest.mark.parametrize(
    ("contract", "paths"),
    [
        (
            PlanMetadata,
            ["gate_bundle_key", *GRANTS, *(f"billing_defaults.period.{key}" for key in PERIOD),
             "seat_limit", "seat_limit.mode", "seat_limit.limit", "seat_limit.seats_per_unit", "seat_limit.unlimited"],
        ),
        (
            AssignmentMetadata,
            ["gate_bundle_key", "billing.period.billing_mode", "billing.period.issue_anchor",
             "operator", "reason", "ticket_id", "effective_at"],
        ),
        (FeatureFamilyMetadata, ["auto_registry"]),
        (FeatureMetadata, ["auto_registry"]),
        (MeterMetadata, ["auto_registry", "residual_mode"]),
        (
            PolicyMetadata,
            ["feature_code", "counter_key", "params.feature_code", "params.counter_key",
             "billing_feature_code", "billing_meter_code", "billing_mode"],
        ),
        (BundleMetadata, []),
        (
            RealmMetadata,
            [*(f"billing_defaults.period.{key}" for key in PERIOD), "default_plan_id", "require_audit_fields"],
        ),
        (AccountMetadata, []),
        (UserMetadata, ["display_name", "email", "grants_switch"]),
        (CatalogProductMetadata, CATALOG),
        (CatalogPriceMetadata, CATALOG),
        (
            CampaignMetadata,
            [*GRANTS, "grants[].binding_window_start", "grants[].binding_window_end",
             "billing_plan_code", "billing_plan_window_seconds"],
        ),
        (GrantAssignmentMetadata, [f"grant_override.{path}" for path in GRANT_PATHS]),
        (ProgramEligibility, ["subscription_group_id", "group_key"]),
    ],
)  # fmt: skip
def test_the_known_keys_are_exactly_these(contract, paths):
    assert list(known_paths(contract)) == paths


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_known_key_has_a_type_a_sentence_and_its_choices(contract):
    for key in describe(contract):
        assert key.help.endswith(".")
        assert bool(key.choices) is (key.type_name == "choice")


def test_describe_gives_what_a_form_needs():
    described = {key.path: key for key in describe(PlanMetadata)}

    assert described["billing_defaults.period.billing_mode"].choices == (
        "prepaid",
        "postpaid",
        "hybrid",
    )
    assert described["grants[].grant_program_code"].required
    assert not described["gate_bundle_key"].required
    assert {
        path: key.type_name for path, key in described.items() if "." not in path
    } == {
        "gate_bundle_key": "key",
        "grants[]": "list",
        "seat_limit": "seat_limit",
    }


# What is known is typed


@pytest.mark.parametrize("contract", CONTRACTS)
def test_an_empty_document_knows_nothing_and_is_kept(contract):
    document = {}

    checked = check_metadata(contract, document)

    assert checked.document is document
    assert checked.warnings == ()


def test_a_plan_is_typed_and_its_document_kept_as_given():
    document = {
        "gate_bundle_key": " Pro_Bundle ",
        "grants": [FULL_BINDING, {"grant_program_code": "daily_xusd"}],
        "billing_defaults": {
            "period": {
                "billing_mode": "hybrid",
                "issue_anchor": "binding_start",
                "kind": "fixed",
                "cadence": "monthly",
                "fixed_days": 30,
                "grace_window_seconds": 0,
                "note": 1,
            }
        },
        "team": {"name": "growth", "codes": [1, 2.5, None, True]},
    }
    before = json.dumps(document)

    checked = check_metadata(PlanMetadata, document)

    plan, binding = checked.known, checked.known.grants[0]
    assert checked.document is document
    assert json.dumps(document) == before
    assert plan.gate_bundle_key == "pro_bundle"
    assert plan.billing_defaults.period.model_dump() == {
        "billing_mode": "hybrid", "issue_anchor": "binding_start", "kind": "fixed",
        "cadence": "monthly", "fixed_days": 30, "grace_window_seconds": 0,
    }  # fmt: skip
    assert binding.model_dump() == FULL_BINDING | {"amount_xusd": 5_000_000}
    assert [each.grant_program_code for each in plan.grants] == [
        "monthly_xusd",
        "daily_xusd",
    ]


def test_a_lone_grant_object_counts_as_a_list_of_one():
    assert [
        each.amount_xusd
        for each in known(
            PlanMetadata, {"grants": {"grant_program_code": "a", "amount_xusd": 5}}
        ).grants
    ] == [5]


@pytest.mark.parametrize(
    "contract",
    [
        PlanMetadata,
        AssignmentMetadata,
        RealmMetadata,
        PolicyMetadata,
        CatalogPriceMetadata,
    ],
)
def test_null_means_absent_wherever_a_key_is_optional(contract):
    nulls = {
        path.split(".")[0].removesuffix("[]"): None for path in known_paths(contract)
    } | {"seat_limit": 5}

    assert (
        check_metadata(contract, nulls).known
        == check_metadata(contract, {"seat_limit": 5}).known
    )


def test_an_assignment_is_typed():
    assignment = known(
        AssignmentMetadata,
        {
            "gate_bundle_key": "vip",
            "billing": {
                "period": {
                    "billing_mode": "postpaid",
                    "issue_anchor": "subscription_period_start",
                }
            },
            "operator": "ana@example.com",
            "reason": "renewal\nsigned",
            "ticket_id": "OPS-1",
            "effective_at": "2026-01-10T02:00:00+02:00",
        },
    )

    assert assignment.billing.period.billing_mode == "postpaid"
    assert assignment.billing.period.issue_anchor == "subscription_period_start"
    assert assignment.effective_at == datetime(2026, 1, 10, tzinfo=UTC)
    assert (assignment.operator, assignment.ticket_id) == ("ana@example.com", "OPS-1")


def test_the_other_objects_are_typed():
    plan_id = "018f4e0e-7b5a-7cc0-8000-000000000001"

    assert (
        known(
            MeterMetadata,
            {"residual_mode": "prepaid", "auto": True, "source": "x", "fallback": 1},
        ).residual_mode
        == "prepaid"
    )
    assert known(
        RealmMetadata, {"default_plan_id": plan_id, "require_audit_fields": True}
    ).default_plan_id == UUID(plan_id)
    assert known(UserMetadata, {"grants_switch": {"dirty": True}}).grants_switch == {
        "dirty": True
    }
    assert (
        known(
            CatalogPriceMetadata,
            {"gating": {"bundle": "Gold"}, "billing_plan_code": "Pro"},
        ).gating.bundle
        == "gold"
    )
    assert (
        known(
            GrantAssignmentMetadata, {"grant_override": {"amount_xusd": "7"}}
        ).grant_override.amount_xusd
        == 7
    )
    assert known(ProgramEligibility, {"group_key": "tiers"}).group_key == "tiers"
    policy = known(
        PolicyMetadata,
        {
            "feature_code": "*",
            "params": {"counter_key": " shared "},
            "billing_mode": "active_window",
        },
    )
    assert (policy.feature_code, policy.params.counter_key, policy.billing_mode) == (
        "*",
        "shared",
        "active_window",
    )


@pytest.mark.parametrize(
    ("written", "seats", "seats_of_three"),
    [
        (None, None, None),
        ({"unlimited": True}, None, None),
        ({"mode": "unlimited"}, None, None),
        (5, 5, 5),
        ("5", 5, 5),
        (0, 0, 0),
        ({"mode": "fixed", "limit": 5}, 5, 5),
        ({"limit": "5"}, 5, 5),
        ({"mode": "per_unit"}, 1, 3),
        ({"mode": "per_unit", "seats_per_unit": 2}, 2, 6),
    ],
)
def test_a_seat_limit_may_be_written_in_many_ways(written, seats, seats_of_three):
    limit = known(PlanMetadata, {"seat_limit": written}).seat_limit

    assert (limit.seats(), limit.seats(3)) == (seats, seats_of_three)


def test_an_absent_seat_limit_is_not_an_unlimited_one():
    assert known(PlanMetadata, {}).seat_limit is None


# Refusals


@pytest.mark.parametrize(
    ("contract", "document", "field", "sentence"),
    [
        (PlanMetadata, {"gate_bundle_key": 5}, "metadata.gate_bundle_key", "must be a string."),
        (PlanMetadata, {"gate_bundle_key": " "}, "metadata.gate_bundle_key", "must not be blank."),
        (PlanMetadata, {"gate_bundle_key": "a b"}, "metadata.gate_bundle_key", "must not contain the character U+0020, at position 2; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        (PlanMetadata, {"billing_defaults": {"period": {"billing_mode": "monthly"}}}, "metadata.billing_defaults.period.billing_mode", 'must be one of prepaid, postpaid, hybrid; it is "monthly".'),
        (PlanMetadata, {"billing_defaults": {"period": {"issue_anchor": "first_use"}}}, "metadata.billing_defaults.period.issue_anchor", 'must be one of calendar_start, binding_start, subscription_period_start; it is "first_use".'),
        (PlanMetadata, {"billing_defaults": {"period": {"fixed_days": "30"}}}, "metadata.billing_defaults.period.fixed_days", "must be a whole number."),
        (PlanMetadata, {"billing_defaults": {"period": {"fixed_days": 0}}}, "metadata.billing_defaults.period.fixed_days", "must lie between 1 and 36525."),
        (PlanMetadata, {"billing_defaults": {"period": []}}, "metadata.billing_defaults.period", "must be an object."),
        (PlanMetadata, {"billing_defaults": "prepaid"}, "metadata.billing_defaults", "must be an object."),
        (PlanMetadata, {"grants": "monthly_xusd"}, "metadata.grants", "must be an array of objects, or one object."),
        (PlanMetadata, {"grants": ["monthly_xusd"]}, "metadata.grants.0", "must be an object."),
        (PlanMetadata, {"grants": [{}]}, "metadata.grants.0.grant_program_code", "is required."),
        (PlanMetadata, {"grants": {}}, "metadata.grants.grant_program_code", "is required."),
        (PlanMetadata, {"grants": [{"grant_program_code": None}]}, "metadata.grants.0.grant_program_code", "must be a string."),
        (PlanMetadata, {"grants": [{"grant_program_code": "a"}, {"grant_program_code": "A "}]}, "metadata.grants.1.grant_program_code", "must not repeat 'a' within one list."),
        (PlanMetadata, {"seat_limit": -1}, "metadata.seat_limit", "must lie between 0 and 2147483647."),
        (PlanMetadata, {"seat_limit": True}, "metadata.seat_limit", "must be a whole number."),
        (PlanMetadata, {"seat_limit": []}, "metadata.seat_limit", "must be a whole number."),
        (PlanMetadata, {"seat_limit": {"mode": "some"}}, "metadata.seat_limit.mode", 'must be one of unlimited, fixed, per_unit; it is "some".'),
        (PlanMetadata, {"seat_limit": {}}, "metadata.seat_limit", "must say one thing: mode unlimited, or a limit, or mode per_unit."),
        (PlanMetadata, {"seat_limit": {"mode": "fixed"}}, "metadata.seat_limit", "must say one thing: mode unlimited, or a limit, or mode per_unit."),
        (PlanMetadata, {"seat_limit": {"unlimited": True, "limit": 5}}, "metadata.seat_limit", "must say one thing: mode unlimited, or a limit, or mode per_unit."),
        (AssignmentMetadata, {"effective_at": "2026-01-10T00:00:00"}, "metadata.effective_at", "must be an RFC 3339 instant with an offset, of the years 0001 to 9999 and at most microseconds, such as 2026-01-10T00:00:00Z."),
        (AssignmentMetadata, {"operator": 5}, "metadata.operator", "must be a string."),
        (AssignmentMetadata, {"reason": ""}, "metadata.reason", "must not be blank."),
        (AssignmentMetadata, {"ticket_id": "x" * 1001}, "metadata.ticket_id", "must have at most 1000 characters."),
        (MeterMetadata, {"residual_mode": "floor"}, "metadata.residual_mode", 'must be one of prepaid, postpaid; it is "floor".'),
        (PolicyMetadata, {"billing_mode": "prepaid"}, "metadata.billing_mode", 'must be one of assigned, active_window; it is "prepaid".'),
        (PolicyMetadata, {"params": {"feature_code": "-a"}}, "metadata.params.feature_code", "must begin with a letter or digit, not with '-' (U+002D)."),
        (PolicyMetadata, {"billing_feature_code": "*"}, "metadata.billing_feature_code", "must not contain '*' (U+002A), at position 1; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        (PolicyMetadata, {"counter_key": "a\nb"}, "metadata.counter_key", "must not contain control characters."),
        (RealmMetadata, {"default_plan_id": "pro"}, "metadata.default_plan_id", "must be a UUID of 36 characters."),
        (RealmMetadata, {"require_audit_fields": "true"}, "metadata.require_audit_fields", "must be true or false."),
        (RealmMetadata, {"require_audit_fields": 1}, "metadata.require_audit_fields", "must be true or false."),
        (CatalogPriceMetadata, {"gating": {"bundle": ""}}, "metadata.gating.bundle", "must not be blank."),
        (GrantAssignmentMetadata, {"grant_override": {"amount_xusd": 1.0}}, "metadata.grant_override.amount_xusd", "must be a whole number."),
        (UserMetadata, {"grants_switch": "dirty"}, "metadata.grants_switch", "must be an object."),
    ],
)  # fmt: skip
def test_a_known_key_that_breaks_its_rule_is_refused(
    contract, document, field, sentence
):
    refusal = refused(contract, document)

    assert (refusal.field, refusal.message) == (field, f"{field} {sentence}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("amount_xusd", "-1"), ("amount_xusd", "01"), ("amount_xusd", "1_000"), ("amount_xusd", "\u0663"),
        ("amount_xusd", True), ("amount_xusd", str(2**63)), ("effect", "ALLOW"), ("effect", True),
        ("scale_by_invoice_quantity", "false"), ("scale_by_invoice_quantity", 0), ("on_ledger_override", 1),
        ("issue_anchor_override", "subscription_period_start"), ("window_kind_override", "month"),
        ("window_relative_seconds_override", 0), ("window_relative_seconds_override", "60"),
        ("window_relative_seconds_override", 2**40), ("alloc_seq_override", -1), ("alloc_seq_override", 2**31),
        ("priority_override", "1"), ("priority_override", 1.0), ("kind_override", "fallback"),
        ("expiry_policy", "burn"), ("template_key", ""), ("template_meta", []), ("metadata", "note"),
    ],
)  # fmt: skip
def test_a_binding_is_strict(key, value):
    refusal = refused(
        CampaignMetadata, {"grants": [{"grant_program_code": "a", key: value}]}
    )

    assert refusal.field == f"metadata.grants.0.{key}"


@pytest.mark.parametrize(
    ("key", "widest", "wider"),
    [
        ("template_key", "x" * 255, "x" * 256),
        ("priority_override", 2**31 - 1, 2**31),
        ("priority_override", -(2**31) + 1, -(2**31)),
        ("alloc_seq_override", 2**31 - 1, 2**31),
        ("window_relative_seconds_override", 36_525 * 86_400, 36_525 * 86_400 + 1),
        ("amount_xusd", 2**63 - 1, str(2**63)),
    ],
)
def test_a_binding_has_limits(key, widest, wider):
    known(CampaignMetadata, {"grants": [{"grant_program_code": "a", key: widest}]})

    refused(CampaignMetadata, {"grants": [{"grant_program_code": "a", key: wider}]})


def test_all_errors_are_told_and_the_first_is_the_refusal():
    refusal = refused(
        ProgramEligibility,
        {"subscription_group_id": 5, "group_key": "é"},
        field="eligibility_payload",
    )

    assert refusal.field == "eligibility_payload.subscription_group_id"
    assert [path for path, _ in refusal.meta["errors"]] == [
        "eligibility_payload.subscription_group_id",
        "eligibility_payload.group_key",
    ]
    assert refusal.meta["errors"][0] == (refusal.field, refusal.message)


def test_errors_are_told_up_to_a_limit():
    assert len(refused(PlanMetadata, {"grants": [{}] * 500}).meta["errors"]) == 50


def test_a_long_value_is_cut_in_the_sentence():
    refusal = refused(MeterMetadata, {"residual_mode": "x" * 5000})

    assert len(refusal.message) < 200
