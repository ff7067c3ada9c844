"""The database refuses bad rows of the gate on its own, and none of its rules is untried."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing.models import PlanAssignment
from config.kernel.ids import new_id
from config.kernel.money import INT64_MAX
from config.tenancy.history import auditing
from gating.models import (
    AccountVersion,
    Counter,
    Denial,
    GatePolicy,
    GatePolicyBundle,
    GateState,
    Lease,
    LeaseEnd,
    Projection,
    RatedRecord,
    Rating,
    RatingKey,
    ResidualBucket,
    RuleSet,
    Seat,
    SeatBilling,
)
from tests.gating.gate import Gate

UNEXPLAINED, APPEND_ONLY = "PG001", "PG002"
DAY = timedelta(days=1)


@pytest.fixture
def rows(gate):
    """One row of every table, by model."""
    gate.feature(price=1, per=2)
    gate.credit(100)
    gate.quota(500, name="mine")
    gate.seats(5)
    gate.budget(100)
    gate.commit(gate.lease(1, budget="trip"), 1)
    gate.cancel(gate.lease(1))
    with pytest.raises(Exception, match="feature not found"):
        gate.authorize(feature="nothing")
    rows = {
        model: model.objects.filter(realm=gate.realm).first()
        for model in (
            AccountVersion,
            Counter,
            Denial,
            GateState,
            LeaseEnd,
            Projection,
            RatedRecord,
            Rating,
            RatingKey,
            ResidualBucket,
            RuleSet,
            Seat,
        )
    }
    return rows | {
        SeatBilling: SeatBilling.objects.create(
            realm=gate.realm,
            account=gate.account,
            policy_id=new_id(),
            billed_until=gate.at,
        ),
        Lease: Lease.objects.get(realm=gate.realm, state="closed"),
        GatePolicyBundle: gate.default_bundle(),
        GatePolicy: GatePolicy.objects.get(realm=gate.realm, name="mine"),
    }


@pytest.fixture
def elsewhere(other_realm, at, by):
    """The gate of an account in another realm."""
    from billing.services.accounts import ensure_account

    account = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    return Gate(other_realm, account, None, at, by).of_user("u-1")


def violated(gate, change):
    """Return the name of the constraint that `change` violates."""
    with (
        pytest.raises(IntegrityError) as refusal,
        transaction.atomic(),
        auditing(gate.by, at=gate.at),
    ):
        change()
    return refusal.value.__cause__.diag.constraint_name


def twin_of(row, **changes):
    """An unsaved copy of a row, with an id of its own."""
    copy = type(row).objects.get(pk=row.pk)
    copy._state.adding = True
    if "id" in {field.attname for field in row._meta.concrete_fields}:
        copy.pk = new_id()
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


CHECKS = [
    (GatePolicyBundle, {"bundle_key": "A b"}, "gate_policy_bundle_key_is_plain"),
    (GatePolicyBundle, {"status": "gone"}, "gate_policy_bundle_status_is_known"),
    (GatePolicyBundle, {"metadata": []}, "gate_policy_bundle_metadata_is_object"),
    (GatePolicy, {"feature_code": "**"}, "gate_policy_feature_is_code_or_wildcard"),
    (GatePolicy, {"name": " "}, "gate_policy_name_is_given"),
    (GatePolicy, {"unit": " "}, "gate_policy_unit_is_given"),
    (GatePolicy, {"kind": "budget"}, "gate_policy_kind_is_known"),
    (GatePolicy, {"subject_scope": "realm"}, "gate_policy_scope_is_known"),
    (GatePolicy, {"status": "gone"}, "gate_policy_status_is_known"),
    (GatePolicy, {"enforcement_mode": "hope"}, "gate_policy_mode_is_known"),
    (GatePolicy, {"limit_count": 1}, "gate_policy_limit_fits_kind"),
    (GatePolicy, {"kind": "rate", "limit_minor": None}, "gate_policy_limit_fits_kind"),
    (GatePolicy, {"kind": "rate", "limit_count": 1}, "gate_policy_limit_fits_kind"),
    (GatePolicy, {"kind": "seats", "unit": "seat"}, "gate_policy_limit_fits_kind"),
    (GatePolicy, {"limit_minor": -1}, "gate_policy_limit_is_not_negative"),
    (
        GatePolicy,
        {"kind": "rate", "limit_minor": None, "limit_count": -1},
        "gate_policy_limit_is_not_negative",
    ),
    (GatePolicy, {"window_sec": 0}, "gate_policy_window_is_positive_unless_seats"),
    (
        GatePolicy,
        {"kind": "seats", "unit": "seat", "limit_minor": None, "window_sec": -1},
        "gate_policies_window_sec_check",
    ),
    (
        GatePolicy,
        {"kind": "seats", "limit_minor": None},
        "gate_policy_seats_are_counted_in_seats",
    ),
    (GatePolicy, {"metadata": 1}, "gate_policy_metadata_is_object"),
    (Counter, {"kind": "budget"}, "gate_counter_kind_is_known"),
    (Counter, {"subject_scope": "realm"}, "gate_counter_scope_is_known"),
    (Counter, {"subject_scope": "account"}, "gate_counter_account_counts_for_itself"),
    (Counter, {"key": " "}, "gate_counter_key_is_given"),
    (Counter, {"used_minor": -1}, "gate_counter_amounts_are_not_negative"),
    (Counter, {"reserved_minor": -1}, "gate_counter_amounts_are_not_negative"),
    (
        Counter,
        {"used_minor": INT64_MAX, "reserved_minor": 1},
        "gate_counter_fits_64_bits",
    ),
    (Lease, {"state": "lost", "ended_at": None}, "gate_lease_state_is_known"),
    (Lease, {"billing_mode": "never"}, "gate_lease_billing_mode_is_known"),
    (Lease, {"ended_at": None}, "gate_lease_ended_iff_not_active"),
    (Lease, {"state": "active"}, "gate_lease_ended_iff_not_active"),
    (Lease, {"reserved_minor": -1}, "gate_lease_amounts_are_not_negative"),
    (Lease, {"reserved_xusd": -1}, "gate_lease_amounts_are_not_negative"),
    (Lease, {"estimate_minor": -1}, "gate_lease_amounts_are_not_negative"),
    (Lease, {"cap_minor": -1}, "gate_lease_amounts_are_not_negative"),
    (Lease, {"counter_ids": []}, "gate_lease_holds_a_quantity_on_counters_only"),
    (Lease, {"lease": " "}, "gate_lease_is_named"),
    (Lease, {"idempotency_key": ""}, "gate_lease_key_is_given"),
    (Lease, {"labels": []}, "gate_lease_labels_are_object"),
    (Lease, {"rating_id": None, "rated_at": None}, "gate_lease_closed_iff_rated"),
    (Lease, {"rated_at": None}, "gate_lease_closed_iff_rated"),
    (Lease, {"state": "canceled"}, "gate_lease_closed_iff_rated"),
    (Lease, {"quota_limits": []}, "gate_lease_quotas_have_limits_and_holds"),
    (Lease, {"quota_held": []}, "gate_lease_quotas_have_limits_and_holds"),
    (Lease, {"quota_counter_ids": []}, "gate_lease_quotas_have_limits_and_holds"),
    (Lease, {"budget_seen": None}, "gate_lease_budget_is_named_and_seen"),
    (Lease, {"budget_id": None}, "gate_lease_budget_is_named_and_seen"),
    (Lease, {"budget": None}, "gate_lease_budget_is_named_and_seen"),
    (Lease, {"budget_seen": []}, "gate_lease_budget_seen_is_object"),
    (Lease, {"held_lots": []}, "gate_lease_holds_money_on_lots"),
    (Lease, {"held_amounts": [99]}, "gate_lease_holds_money_on_lots"),
    (
        Lease,
        {"held_lots": [], "held_amounts": []},
        "gate_lease_holds_money_on_lots",
    ),
    (Lease, {"reserved_xusd": 0}, "gate_lease_holds_money_on_lots"),
    (
        Projection,
        {"valid_until": datetime(2000, 1, 1, tzinfo=UTC)},
        "gate_projection_holds_for_a_time",
    ),
    (RatingKey, {"idempotency_key": " "}, "gate_rating_key_is_given"),
    (Denial, {"count": 0}, "gate_denial_happened"),
    (Denial, {"status": 200}, "gate_denial_status_is_a_refusal"),
    (Denial, {"status": -1}, "gate_denial_status_is_a_refusal"),
    (Denial, {"reason": " "}, "gate_denial_has_a_reason"),
    (Denial, {"evidence": []}, "gate_denial_evidence_is_object"),
    (
        ResidualBucket,
        {"denom": 0, "remainder_numer": 0},
        "gate_residual_bucket_holds_a_remainder",
    ),
    (ResidualBucket, {"remainder_numer": -1}, "gate_residual_bucket_holds_a_remainder"),
    (ResidualBucket, {"remainder_numer": 2}, "gate_residual_bucket_holds_a_remainder"),
    (ResidualBucket, {"rate_identity": " "}, "gate_residual_bucket_has_a_rate"),
]


@pytest.mark.parametrize(("model", "values", "name"), CHECKS)
def test_a_bad_column_is_refused(rows, gate, model, values, name):
    same = model.objects.filter(pk=rows[model].pk)
    found = violated(gate, lambda: same.update(**values))

    # A state outside the list also has or lacks its end; either rule may speak first.
    assert found == name or (
        name == "gate_lease_state_is_known"
        and found == "gate_lease_ended_iff_not_active"
    )


# These tables only grow, so a bad row can only be a new one.
BAD_RATINGS = [
    (
        {"rating_kind": "guess"},
        {"gate_rating_kind_is_known", "gate_rating_lease_iff_commit"},
    ),
    (
        {"direction": "up"},
        {"gate_rating_direction_is_known", "gate_rating_credit_iff_reversal"},
    ),
    (
        {"application_status": "maybe"},
        {"gate_rating_status_is_known", "gate_rating_not_applied_in_full_for_a_reason"},
    ),
    ({"billing_mode": "never"}, {"gate_rating_billing_mode_is_known"}),
    ({"direction": "credit"}, {"gate_rating_credit_iff_reversal"}),
    ({"rating_kind": "ingest"}, {"gate_rating_lease_iff_commit"}),
    ({"rating_kind": "seats"}, {"gate_rating_lease_iff_commit"}),
    ({"lease_id": None}, {"gate_rating_lease_iff_commit"}),
    ({"applied_quantity_minor": 2}, {"gate_rating_applies_no_more_than_canonical"}),
    ({"applied_quantity_minor": -1}, {"gate_rating_applies_no_more_than_canonical"}),
    (
        {"applied_amount_xusd": 1, "funded_xusd": 1},
        {"gate_rating_applies_no_more_than_canonical"},
    ),
    ({"applied_cost_xusd": 1}, {"gate_rating_applies_no_more_than_canonical"}),
    (
        {"billing_mode": "postpaid", "funded_xusd": 1},
        {"gate_rating_funds_no_more_than_applied"},
    ),
    (
        {"canonical_amount_xusd": 5, "applied_amount_xusd": 5},
        {"gate_rating_prepaid_is_paid_in_full"},
    ),
    (
        {"application_status": "quarantined", "reason_codes": ["x"]},
        {"gate_rating_quarantined_applies_nothing"},
    ),
    (
        {"application_status": "applied_clipped"},
        {"gate_rating_not_applied_in_full_for_a_reason"},
    ),
    ({"labels": []}, {"gate_rating_labels_are_object"}),
    ({"evidence": []}, {"gate_rating_evidence_is_object"}),
    ({"metadata": []}, {"gate_rating_metadata_is_object"}),
]


@pytest.mark.parametrize(("values", "names"), BAD_RATINGS)
def test_a_bad_rating_is_refused(rows, gate, values, names):
    twin = twin_of(rows[Rating], idempotency_key="another")
    for name, value in values.items():
        setattr(twin, name, value)

    # Where one wrong value breaks two rules, either may speak first.
    assert violated(gate, lambda: twin.save(force_insert=True)) in names


BAD_RULE_SETS = [
    ({"entitlement": "perhaps"}, "gate_rule_set_entitlement_is_known"),
    ({"billing_mode": "never"}, "gate_rule_set_billing_mode_is_known"),
    ({"price_xusd": None}, "gate_rule_set_price_has_its_quantity"),
    ({"price_quantity_minor": None}, "gate_rule_set_price_has_its_quantity"),
    ({"price_quantity_minor": 0}, "gate_rule_set_price_has_its_quantity"),
    ({"price_xusd": -1}, "gate_rule_set_price_has_its_quantity"),
    ({"document": []}, "gate_rule_set_document_is_object"),
]


@pytest.mark.parametrize(("values", "name"), BAD_RULE_SETS)
def test_a_bad_rule_set_is_refused(rows, gate, values, name):
    twin = twin_of(rows[RuleSet], **values)

    assert violated(gate, lambda: twin.save(force_insert=True)) == name


BAD_ENDS = [
    ({}, "gate_lease_end_once_per_lease"),
    ({"kind": "lost"}, "gate_lease_end_kind_is_known"),
    ({"reference": " "}, "gate_lease_end_names_its_lease"),
    ({"kind": "committed"}, "gate_lease_end_rated_iff_committed"),
    *(
        ({column: " "}, "gate_lease_end_is_explained")
        for column in (
            "actor_kind",
            "actor_id",
            "operator",
            "reason",
            "ticket_id",
            "trace_id",
        )
    ),
]


@pytest.mark.parametrize(("values", "name"), BAD_ENDS)
def test_a_bad_end_of_a_lease_is_refused(rows, gate, values, name):
    fresh = {"lease": rows[Lease]} if values else {}
    twin = twin_of(rows[LeaseEnd], **fresh, **values)

    assert violated(gate, lambda: twin.save(force_insert=True)) == name


def test_an_end_of_a_lease_is_of_a_user_of_its_account(rows, gate, elsewhere):
    twin = twin_of(rows[LeaseEnd], lease=rows[Lease], user=elsewhere.user)

    assert (
        violated(gate, lambda: twin.save(force_insert=True))
        == "gate_lease_end_of_a_user_of_its_account"
    )


def test_a_lease_has_one_applied_rating(rows, gate):
    key = RatingKey(
        rating_id=new_id(),
        realm=gate.realm,
        user=gate.user,
        operation="commit",
        idempotency_key="another",
        request_hash=b"",
        rated_at=gate.at,
        lease_id=rows[Lease].pk,
    )

    found = violated(gate, lambda: key.save(force_insert=True))
    key.lease_id, key.idempotency_key = None, rows[RatingKey].idempotency_key
    again = violated(gate, lambda: key.save(force_insert=True))

    assert found == "gate_rating_one_applied_per_lease"
    assert again == "gate_rating_once_per_idempotency_key"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, {"gate_rated_record_numbered_once"}),
        ({"amount_xusd": -1}, {"gate_rated_record_amounts_are_not_negative"}),
        ({"remainder_in": -1}, {"gate_rated_record_amounts_are_not_negative"}),
        ({"cost_remainder_out": -1}, {"gate_rated_record_amounts_are_not_negative"}),
        ({"cost_rate_identity": None}, {"gate_rated_record_has_rates_iff_priced"}),
        (
            {
                "rating_status": "missing_price",
                "rate_identity": None,
                "cost_rate_identity": None,
                "amount_xusd": 1,
            },
            {"gate_rated_record_has_rates_iff_priced"},
        ),
        ({"line_number": -1}, {"gate_rated_records_line_number_check"}),
        (
            {"rating_status": "free"},
            {
                "gate_rated_record_status_is_known",
                "gate_rated_record_has_rates_iff_priced",
            },
        ),
        ({"quantity_minor": -1}, {"gate_rated_record_amounts_are_not_negative"}),
        ({"cost_xusd": -1}, {"gate_rated_record_amounts_are_not_negative"}),
        ({"rate_identity": None}, {"gate_rated_record_has_rates_iff_priced"}),
        (
            {"rating_status": "missing_price"},
            {"gate_rated_record_has_rates_iff_priced"},
        ),
    ],
)
def test_a_bad_line_is_refused(rows, gate, values, names):
    twin = twin_of(
        rows[RatedRecord], **({"line_number": 2, **values} if values else {})
    )

    found = violated(gate, lambda: twin.save(force_insert=True))

    assert PARTITIONED.get(found, found) in names


# A unique rule is told by its name in the partition that the row is in.
PARTITIONED = {
    "gate_rated_records_default_rating_id_realm_id_rated_at_line_key": "gate_rated_record_numbered_once",
}


@pytest.mark.parametrize(
    ("model", "start", "name"),
    [
        (Counter, "window_start", "gate_counter_window_not_empty"),
        (Lease, "window_start", "gate_lease_window_not_empty"),
        (Lease, "authorized_at", "gate_lease_expires_after_authorized"),
        (Denial, "first_at", "gate_denial_first_is_not_after_last"),
    ],
)
def test_what_ends_before_it_starts_is_refused(rows, gate, model, start, name):
    same = model.objects.filter(pk=rows[model].pk)

    assert violated(gate, lambda: same.update(**{start: gate.at + 9 * DAY})) == name


def test_a_seat_of_an_empty_window_is_refused(rows, gate):
    same = Seat.objects.filter(pk=rows[Seat].pk)

    assert (
        violated(gate, lambda: same.update(window_end=rows[Seat].window_start))
        == "gate_seat_window_not_empty"
    )


@pytest.mark.parametrize(
    ("model", "changes", "name"),
    [
        (GatePolicyBundle, {}, "gate_policy_bundle_key_once_per_realm"),
        (GatePolicy, {}, "gate_policy_name_once_per_realm"),
        (Counter, {}, "gate_counter_once_per_window"),
        (Seat, {}, "gate_seat_once_per_user_and_window"),
        (SeatBilling, {}, "gate_seat_billing_once_per_policy"),
        (Denial, {}, "gate_denial_once_per_minute"),
        (ResidualBucket, {}, "gate_residual_bucket_once_per_rate"),
        (Projection, {}, "gate_projection_once_per_user_and_feature"),
        (Lease, {"lease": "other"}, "gate_lease_once_per_idempotency_key"),
        (Lease, {"idempotency_key": "other"}, "gate_lease_reference_once_per_user"),
    ],
)
def test_a_second_row_of_one_identity_is_refused(rows, gate, model, changes, name):
    twin = twin_of(rows[model], **changes)

    assert violated(gate, lambda: twin.save(force_insert=True)) == name


@pytest.mark.parametrize("status", ["default", "ceiling"])
def test_one_policy_of_a_shape_is_the_default_or_ceiling(rows, gate, status):
    with auditing(gate.by, at=gate.at):
        GatePolicy.objects.filter(pk=rows[GatePolicy].pk).update(status=status)
    twin = twin_of(rows[GatePolicy], name="other", status=status)

    assert (
        violated(gate, lambda: twin.save(force_insert=True))
        == f"gate_policy_one_{status}_per_shape"
    )


@pytest.mark.parametrize(
    ("model", "column", "name"),
    [
        (Counter, "account", "gate_counter_of_an_account_of_its_realm"),
        (GateState, "account", "gate_state_of_an_account_of_its_realm"),
        (Seat, "user", "gate_seat_of_a_user_of_its_account"),
        (SeatBilling, "account", "gate_seat_billing_of_an_account_of_its_realm"),
        (Lease, "user", "gate_lease_of_a_user_of_its_account"),
        (Denial, "user", "gate_denial_of_a_user_of_its_account"),
        (ResidualBucket, "user", "gate_residual_bucket_of_a_user_of_its_realm"),
        (Projection, "user", "gate_projection_of_a_user_of_its_account"),
        (RatingKey, "user", "gate_rating_key_of_a_user_of_its_realm"),
    ],
)
def test_another_accounts_row_is_refused(rows, gate, elsewhere, model, column, name):
    foreign = elsewhere.account if column == "account" else elsewhere.user
    rows_of = model.objects.filter(pk=rows[model].pk)
    if model is Lease:
        # Its budget's key would be broken as well, and either may be told first.
        rows_of.update(budget=None, budget_id=None, budget_seen=None)

    assert violated(gate, lambda: rows_of.update(**{column: foreign})) == name


def test_a_policy_stays_in_its_realm(rows, gate, elsewhere):
    same = GatePolicy.objects.filter(pk=rows[GatePolicy].pk)

    assert (
        violated(gate, lambda: same.update(bundle=elsewhere.default_bundle()))
        == "gate_policies_bundle_id_same_realm"
    )


def test_a_projection_stays_in_its_realm(rows, gate, elsewhere):
    elsewhere.feature(price=1)
    elsewhere.credit(10)
    elsewhere.lease(1)
    same = Projection.objects.filter(pk=rows[Projection].pk)
    assignment = PlanAssignment.objects.filter(realm=elsewhere.realm).first()
    rules = RuleSet.objects.filter(realm=elsewhere.realm).first()

    assert (
        violated(gate, lambda: same.update(plan_assignment=assignment))
        == "gate_projections_plan_assignment_id_same_realm"
    )
    assert (
        violated(gate, lambda: same.update(rule_set=rules))
        == "gate_projections_rule_set_id_same_realm"
    )


def test_a_count_of_changes_is_of_an_account_of_its_realm(rows, gate, elsewhere):
    same = AccountVersion.objects.filter(pk=rows[AccountVersion].pk)

    assert (
        violated(gate, lambda: same.update(realm=elsewhere.realm))
        == "gate_account_version_of_an_account_of_its_realm"
    )


def test_a_rating_belongs_to_a_user_of_its_account(rows, gate, elsewhere):
    twin = twin_of(rows[Rating], user=elsewhere.user, budget=None)

    assert (
        violated(gate, lambda: twin.save(force_insert=True))
        == "gate_rating_of_a_user_of_its_account"
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Lease, "gate_lease_of_a_budget_of_its_user"),
        (Rating, "gate_rating_of_a_budget_of_its_user"),
    ],
)
def test_a_budget_is_one_of_the_same_user(rows, gate, model, name):
    other = gate.of_user("u-2").budget(100)
    twin = twin_of(rows[model], budget_id=other.pk)
    if model is Lease:
        twin.lease, twin.idempotency_key = "other", "other"

    assert violated(gate, lambda: twin.save(force_insert=True)) == name


@pytest.mark.parametrize("shift", [{"realm": True}, {"month": True}])
def test_a_line_belongs_to_a_rating_of_its_realm_and_instant(
    rows, gate, elsewhere, shift
):
    twin = twin_of(rows[RatedRecord], line_number=9)
    if "realm" in shift:
        twin.realm = elsewhere.realm
    else:
        twin.rated_at += 40 * DAY

    found = violated(gate, lambda: twin.save(force_insert=True))

    assert found == "gate_rated_record_of_a_rating_of_its_realm"


@pytest.mark.parametrize(
    ("model", "values"),
    [(GatePolicyBundle, {"name": "x"}), (GatePolicy, {"limit_minor": 5})],
)
def test_an_unexplained_change_of_a_definition_is_refused(rows, model, values):
    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        model.objects.filter(pk=rows[model].pk).update(**values)

    assert refusal.value.__cause__.sqlstate == UNEXPLAINED


@pytest.mark.parametrize(
    "table",
    [
        "gate_lease_ends",
        "gate_ratings",
        "gate_rated_records",
        "gate_rule_sets",
        "gate_policies_history",
        "gate_policy_bundles_history",
    ],
)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET realm_id = realm_id",
        "DELETE FROM {}",
        "TRUNCATE {} CASCADE",
    ],
)
def test_records_only_grow(rows, table, statement):
    with (
        pytest.raises(DatabaseError) as refusal,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(table))

    assert refusal.value.__cause__.sqlstate == APPEND_ONLY


# Made by Django or simple-history, and true of any table; or implied by another rule.
UNTRIED = {
    "gate_denials_status_check",
    "gate_policies_history_window_sec_check",
    "gate_policies_history_is_explained",
    "gate_policy_bundles_history_is_explained",
    "gate_state_once_per_account",
    "gate_policy_in_one_realm",
    "gate_policy_bundle_in_one_realm",
    "gate_rule_set_in_one_realm",
}
TABLES = """
SELECT oid FROM pg_class
WHERE relname LIKE 'gate\\_%%' AND relkind IN ('r', 'p') AND NOT relispartition
"""


def stored_rules():
    """Return the names of all rules: constraints, and those inside checking functions."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT conname, prosrc FROM pg_constraint
            LEFT JOIN pg_proc p ON contype = 'c' AND p.proname = conrelid::regclass || '_is_sound'
                AND conname = conrelid::regclass || '_are_sound'
            WHERE conrelid IN ({TABLES}) AND contype IN ('c', 'u', 'f', 'x')
                AND conparentid = 0 AND conname NOT LIKE '%%\\_fk\\_%%'
            """
        )
        found = cursor.fetchall()
    names = {name for name, checks in found if checks is None}
    inside = [re.findall(r"THEN '(\w+)'", checks) for _, checks in found if checks]
    assert len(inside) == 4
    assert all(inside)
    return names.union(*inside)


def test_every_rule_has_a_case(db):
    declared = {
        c.name
        for model in apps.get_app_config("gating").get_models()
        for c in model._meta.constraints
    }
    text = Path(__file__).read_text().replace("{status}", "default")
    text += "gate_policy_one_ceiling_per_shape"
    rules = stored_rules() | declared

    assert sorted(name for name in rules if name not in text) == []


def test_no_case_is_of_a_rule_that_is_gone(db):
    tried = {name for _, _, name in CHECKS} | {name for _, name in BAD_RULE_SETS}
    tried |= {name for _, names in BAD_RATINGS for name in names}

    assert sorted(tried - stored_rules()) == []
