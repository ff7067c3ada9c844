import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.kernel.metadata import (
    AssignmentMetadata,
    CatalogPriceMetadata,
    MeterMetadata,
    PlanMetadata,
    PolicyMetadata,
    check_metadata,
    known_paths,
)
from tests.kernel.test_metadata import CONTRACTS, FULL_BINDING


def near(contract, document):
    return {
        miss.path: miss.did_you_mean
        for miss in check_metadata(contract, document).warnings
    }


@pytest.mark.parametrize(
    "key",
    [
        "gate_bundel_key", "gateBundleKey", "GateBundleKey", "gate-bundle-key", "gate_bundle_key ", " gate_bundle_key",
        "GATE_BUNDLE_KEY", "gatebundlekey", "gate.bundle.key", "gate_bundle_keys", "gate_bundl_key", "gate_bundle",
        "bundle_key", "gate_bunde_kee", "gatebundelkey",
    ],
)  # fmt: skip
def test_a_mistyped_key_is_reported_and_kept(key):
    checked = check_metadata(PlanMetadata, {key: "pro"})

    assert [(miss.path, miss.key, miss.did_you_mean) for miss in checked.warnings] == [
        (f"metadata.{key}", key, "gate_bundle_key")
    ]
    assert checked.known.gate_bundle_key is None
    assert checked.document == {key: "pro"}


@pytest.mark.parametrize(
    ("contract", "document", "path", "meant"),
    [
        (PlanMetadata, {"billing_default": {}}, "metadata.billing_default", "billing_defaults"),
        (PlanMetadata, {"grant": []}, "metadata.grant", "grants"),
        (PlanMetadata, {"billing_mode": "prepaid"}, "metadata.billing_mode", "billing_defaults.period.billing_mode"),
        (PlanMetadata, {"billingMode": "prepaid"}, "metadata.billingMode", "billing_defaults.period.billing_mode"),
        (PlanMetadata, {"billing_defaults": {"billing_mode": "x"}}, "metadata.billing_defaults.billing_mode", "billing_defaults.period.billing_mode"),
        (PlanMetadata, {"billing_defaults": {"period": {"biling_mode": "x"}}}, "metadata.billing_defaults.period.biling_mode", "billing_defaults.period.billing_mode"),
        (PlanMetadata, {"billing_defaults": {"period": {"cadense": "month"}}}, "metadata.billing_defaults.period.cadense", "billing_defaults.period.cadence"),
        (PlanMetadata, {"grants": [{"grant_program_code": "a", "metadeta": {}}]}, "metadata.grants.0.metadeta", "grants.0.metadata"),
        (PlanMetadata, {"seat_limit": {"limit": 3, "unlimeted": True}}, "metadata.seat_limit.unlimeted", "seat_limit.unlimited"),
        (AssignmentMetadata, {"operater": "x"}, "metadata.operater", "operator"),
        (PlanMetadata, {"billing": {"period": {"billing_mode": "x"}}}, "metadata.billing.period.billing_mode", "billing_defaults.period.billing_mode"),
        (PlanMetadata, {"amount_xusd": 5}, "metadata.amount_xusd", "grants[].amount_xusd"),
        (PlanMetadata, {"grants": [{"grant_program_code": "a"}, {"grant_program_code": "b", "amount_usd": 1}]}, "metadata.grants.1.amount_usd", "grants.1.amount_xusd"),
        (PlanMetadata, {"grants": {"grant_program_code": "a", "issue_anchor": 1}}, "metadata.grants.issue_anchor", "grants.issue_anchor_override"),
        (PlanMetadata, {"seat_limit": {"mode": "per_unit", "seat_per_unit": 2}}, "metadata.seat_limit.seat_per_unit", "seat_limit.seats_per_unit"),
        (AssignmentMetadata, {"billing_defaults": {"period": {"billing_mode": "x"}}}, "metadata.billing_defaults.period.billing_mode", "billing.period.billing_mode"),
        (AssignmentMetadata, {"ticketId": "x"}, "metadata.ticketId", "ticket_id"),
        (AssignmentMetadata, {"operators": "x"}, "metadata.operators", "operator"),
        (MeterMetadata, {"residualMode": "prepaid"}, "metadata.residualMode", "residual_mode"),
        (PolicyMetadata, {"params": {"billing_mode": "x"}}, "metadata.params.billing_mode", "billing_mode"),
        (PolicyMetadata, {"params": {"counterKey": "x"}}, "metadata.params.counterKey", "params.counter_key"),
        (PolicyMetadata, {"meter_code": "x"}, "metadata.meter_code", "billing_meter_code"),
        (CatalogPriceMetadata, {"plan_code": "x"}, "metadata.plan_code", "billing_plan_code"),
        (CatalogPriceMetadata, {"gating": {"bundel": "x"}}, "metadata.gating.bundel", "gating.bundle"),
    ],
)  # fmt: skip
def test_a_misplaced_or_mistyped_key_is_reported(contract, document, path, meant):
    assert near(contract, document) == {path: meant}


ANNOTATIONS = [
    "operator", "reason", "ticket_id", "effective_at", "team", "note", "notes", "bundle", "bundles", "kind", "mode",
    "limit", "period", "metadata", "owner", "source", "source_ref", "provider", "provider_price_id", "auto",
    "auto_registry", "fallback", "tags", "labels", "color", "rating", "gaming", "season", "description", "name",
    "display_order", "billing_contact", "billing_note", "billing_code", "gate", "gates", "crm_id", "campaign", "plan",
    "plans", "feature", "features", "seats", "quantity", "amount", "currency", "priority", "cadence", "effect",
    "operation", "mail", "cost_center", "sales_region", "x", "", "été", "価格", "grant_note", "template",
]  # fmt: skip


@pytest.mark.parametrize("contract", CONTRACTS)
def test_plain_annotations_raise_no_alarm(contract):
    own = {path.split(".")[0].removesuffix("[]") for path in known_paths(contract)}
    document = {key: {"nested": {"bundle": 1}} for key in ANNOTATIONS if key not in own}

    assert near(contract, document) == {}


@pytest.mark.parametrize(
    "key",
    [
        "gaet_bunlde_kye",
        "gate_bnudel_key",
        "gate_bundlexx_key",
        "xate_bundle_key",
        "gate_bundle_key_for_team",
        "gate_kind_key",
    ],
)
def test_more_than_a_slip_is_another_key(key):
    assert near(PlanMetadata, {key: 1}) == {}
    assert near(AssignmentMetadata, {"ticket_i": 1, "ticket_idx": 1}) == {}


def test_an_unrelated_object_may_use_the_same_words():
    assert (
        near(
            PlanMetadata,
            {"crm": {"billing_mode": "monthly", "grants": [{"amount": 1}]}},
        )
        == {}
    )


def test_known_keys_raise_no_alarm():
    document = {
        "gate_bundle_key": "a",
        "grants": [FULL_BINDING],
        "billing_defaults": {"period": {"fixed_days": 1}},
    }

    assert near(PlanMetadata, document) == {}


@given(st.sampled_from(CONTRACTS), st.data())
def test_one_slip_in_a_long_known_key_is_always_reported(contract, data):
    names = [
        path
        for path in known_paths(contract)
        if "." not in path and path.count("_") and len(path) > 9
    ]
    if not names:
        return
    name = data.draw(st.sampled_from(names))
    # Inside a word of three letters or more, and not its first letter.
    places = [
        i
        for i in range(1, len(name))
        if name[i] != "_" != name[i - 1] and len(word_at(name, i)) > 2
    ]
    place = data.draw(st.sampled_from(places))
    slip = data.draw(st.sampled_from(["drop", "double", "change"]))
    key = {
        "drop": name[:place] + name[place + 1 :],
        "double": name[:place] + name[place] + name[place:],
        # A letter that no known key has there: another one would be no slip.
        "change": f"{name[:place]}{'x' if name[place] == 'q' else 'q'}{name[place + 1 :]}",
    }[slip]

    assert near(contract, {key: None}) == {f"metadata.{key}": name}


def word_at(name, place):
    start = name.rfind("_", 0, place) + 1
    return name[start:].split("_")[0]


@pytest.mark.parametrize(
    "document",
    [
        {f"{i:05d}": 0 for i in range(5_000)},
        {f"gate_bundle_kex{i}": 0 for i in range(2_500)},
        {f"gate{i:04d}_bunlde_yek": 0 for i in range(2_500)},
        {"a" * 60_000: 0},
        {"a_" * 30_000: 0},
        {"aB" * 30_000: 0},
        {"x": {f"k{i}": {"period": {"n": i}} for i in range(2_000)}},
    ],
    ids=["short", "close", "swapped", "long", "words", "humps", "nested"],
)
def test_many_or_long_unknown_keys_cost_little(document):
    started = time.perf_counter()

    checked = check_metadata(PlanMetadata, document)

    assert time.perf_counter() - started < 1
    assert len(checked.warnings) <= 50
