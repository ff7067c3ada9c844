"""What usage without a lease comes to: the pure part, alone."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vlunaai.generated.gate_models import Hint

from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX
from gating.facts import Ask, FeatureFact
from gating.ingestion import (
    IngestFacts,
    Remainder,
    access_facts,
    carried_on,
    default_meter,
    funded_xusd,
    rate_uses,
    refuse,
    settle_ingest,
    totals,
)
from gating.pricing import MeterRate, rate_identity
from gating.rules import MeterRule, Rules
from tests.gating.build import CHAT, DAY, NOON, budget

MODES = ("prepaid", "postpaid", "hybrid")
SECOND = timedelta(seconds=1)


def usage(amount=750, available=10**9, **changes):
    return replace(
        IngestFacts(
            feature_code="chat",
            billing_mode="prepaid",
            available_xusd=available,
            quantity_minor=75,
            amount_xusd=amount,
            cost_xusd=300,
        ),
        **changes,
    )


def rate(code="chat", price=10, per=1, **changes):
    terms = {
        "meter_code": code,
        "unit": "call",
        "unit_price_xusd": price,
        "unit_price_base_xusd": price,
        "unit_price_dynamic_xusd": 0,
        "unit_quantity_minor": per,
        "unit_cost_xusd": 1,
        "cost_unit_quantity_minor": 3,
        "effective_at": DAY,
    }
    return MeterRate(**terms | changes)


def rules(*meters, **changes):
    """Rules of the feature chat with meters: code, or (code, rate)."""
    found = [meter if isinstance(meter, tuple) else (meter, None) for meter in meters]
    return replace(
        Rules(
            feature=CHAT,
            entitlement="allowed",
            plan_code="pro",
            bundle_missing=False,
            policies=(),
            billing_mode="prepaid",
            price=None,
            zero_cost=False,
            unpriced=(),
            meters=tuple(MeterRule(code, "call", known) for code, known in found),
        ),
        **changes,
    )


def hints(settlement):
    for hint in settlement.hints:
        Hint.model_validate(hint)
    return list(settlement.hints)


# What is applied


@pytest.mark.parametrize("mode", MODES)
def test_usage_that_the_balance_covers_is_applied_in_full(mode):
    facts = usage(750, available=750, billing_mode=mode)

    found = settle_ingest(facts)

    assert (found.status, found.reasons, hints(found)) == ("applied", ["ingest"], [])
    assert (found.quantity_minor, found.amount_xusd, found.cost_xusd) == (75, 750, 300)
    assert funded_xusd(facts, found) == 750
    assert not found.takes


@pytest.mark.parametrize(("available", "paid"), [(749, 749), (0, 0), (-5, 0)])
def test_a_prepaid_account_pays_what_it_has_and_the_rest_is_clipped(available, paid):
    found = settle_ingest(usage(750, available))

    assert (found.status, found.reasons) == ("applied_clipped", ["ingest", "overshoot"])
    assert (found.quantity_minor, found.amount_xusd, found.cost_xusd) == (75, paid, 300)
    assert hints(found) == [
        {"type": "funding.xusd_shortfall", "shortfall_xusd": 750 - paid}
    ]


@pytest.mark.parametrize("mode", ["postpaid", "hybrid"])
@pytest.mark.parametrize(("available", "paid"), [(749, 749), (0, 0), (-5, 0)])
def test_others_owe_the_whole_and_pay_what_they_have(mode, available, paid):
    facts = usage(750, available, billing_mode=mode)

    found = settle_ingest(facts)

    assert (found.status, found.amount_xusd) == ("applied", 750)
    assert (found.reasons, hints(found)) == (["ingest", "cash_funding_applied"], [])
    assert funded_xusd(facts, found) == paid


def test_a_meter_without_a_price_is_told_and_not_quarantined():
    found = settle_ingest(usage(0, 0, cost_xusd=0, unpriced=("chat", "tokens")))

    assert (found.status, found.amount_xusd) == ("applied", 0)
    assert found.reasons == ["ingest", "pricing_not_configured"]
    assert hints(found) == [
        {
            "type": "pricing.not_configured",
            "feature_code": "chat",
            "meters": ["chat", "tokens"],
        }
    ]


# What a budget makes of it


@pytest.mark.parametrize("mode", MODES)
def test_a_budget_consumes_what_is_applied(mode):
    found = settle_ingest(
        usage(750, billing_mode=mode, budget=budget(5000, consumed=100, reserved=50))
    )

    assert (found.amount_xusd, found.budget_xusd) == (750, 750)
    assert found.reasons == ["ingest", "budget_consumed"]
    assert hints(found) == []


def test_prepaid_use_never_passes_a_budget():
    limited = budget(500, consumed=100, reserved=50)

    found = settle_ingest(usage(750, 600, budget=limited))

    assert (found.status, found.amount_xusd, found.budget_xusd) == (
        "applied_clipped",
        350,
        350,
    )
    assert found.reasons == ["ingest", "overshoot", "budget_consumed"]
    assert [(hint["type"], hint.get("shortfall_xusd")) for hint in hints(found)] == [
        ("funding.xusd_shortfall", 150),
        ("budget.shortfall", 400),
        ("budget.low_headroom", None),
    ]


def test_use_that_is_paid_later_counts_in_full_and_passes_its_limit():
    limited = budget(500, consumed=100, reserved=50)

    found = settle_ingest(usage(750, 0, billing_mode="postpaid", budget=limited))

    assert (found.status, found.amount_xusd, found.budget_xusd) == ("applied", 750, 750)
    assert found.reasons == ["ingest", "budget_limit_exceeded", "cash_funding_applied"]
    assert hints(found)[0]["shortfall_xusd"] == 350


def test_an_unlimited_budget_clips_nothing():
    found = settle_ingest(usage(750, budget=budget(None)))

    assert (found.status, found.budget_xusd) == ("applied", 750)


AMOUNTS = st.integers(0, 10**6)


@given(
    amount=AMOUNTS,
    cost=AMOUNTS,
    available=st.integers(-(10**6), 10**6),
    quantity=st.integers(1, 10**6),
    mode=st.sampled_from(MODES),
)
def test_whatever_is_reported_the_rules_of_a_rating_hold(
    amount, cost, available, quantity, mode
):
    facts = IngestFacts("chat", mode, available, quantity, amount, cost)

    found = settle_ingest(facts)

    assert found == settle_ingest(facts)
    assert found.reasons[0] == "ingest"
    funded = funded_xusd(facts, found)
    assert 0 <= funded <= found.amount_xusd <= amount
    assert funded <= max(0, available)
    assert (found.quantity_minor, found.cost_xusd) == (quantity, cost)
    if mode == "prepaid":
        assert funded == found.amount_xusd
        assert (found.status == "applied_clipped") == (found.amount_xusd < amount)
    else:
        assert (found.status, found.amount_xusd) == ("applied", amount)


# What is refused


@pytest.mark.parametrize(
    ("changes", "ask", "denial"),
    [
        ({"entitlement": "denied"}, Ask("chat"), (403, "ENTITLEMENT.DENIED", "entitlement_denied")),
        ({"entitlement": "missing"}, Ask("chat"), (403, "ENTITLEMENT.REQUIRED", "entitlement_required")),
        ({"feature": FeatureFact("chat", "ai", active=False)}, Ask("chat"), (422, "RESOURCE.NOT_FOUND", "feature_inactive")),
        ({"entitlement": "denied"}, Ask("chat", budget="b"), (403, "ENTITLEMENT.DENIED", "entitlement_denied")),
        ({}, Ask("chat", budget="b"), (422, "RESOURCE.NOT_FOUND", "budget_not_found")),
    ],
)  # fmt: skip
def test_what_may_not_be_used_is_refused(changes, ask, denial):
    found = refuse(ask, access_facts(rules("chat", **changes), 0, NOON))

    assert (found.status, found.code, found.reason) == denial
    assert found.sentence


@pytest.mark.parametrize(
    ("terms", "usable"),
    [
        ({}, True), ({"limit": 0}, True),
        ({"closed_at": NOON}, False), ({"closed_at": NOON + SECOND}, True),
        ({"window_start": NOON}, True), ({"window_start": NOON + SECOND}, False),
        ({"window_end": NOON}, False), ({"window_end": NOON + SECOND}, True),
        ({"feature_codes": ("chat",)}, True), ({"feature_codes": ("video",)}, False),
    ],
)  # fmt: skip
def test_a_budget_must_have_been_usable_then(terms, usable):
    named = budget(**terms)

    found = refuse(Ask("chat", budget="b"), access_facts(rules("chat"), 0, NOON, named))

    assert (found is None) is usable
    if found is not None:
        assert (found.status, found.reason) == (422, "budget_not_found")


@pytest.mark.parametrize("entitlement", ["allowed", "not_required"])
def test_neither_quota_nor_balance_refuses(entitlement):
    facts = access_facts(rules("chat", entitlement=entitlement), 0, NOON)

    assert refuse(Ask("chat"), facts) is None


# Which meter counts


@pytest.mark.parametrize(
    ("meters", "chosen"),
    [
        ((), "chat"),
        (("chat",), "chat"),
        (("chat", ("tokens", rate("tokens"))), "chat"),
        ((("tokens", rate("tokens")), "alpha"), "tokens"),
        (("tokens", "alpha"), "alpha"),
        ((("tokens", rate("tokens")), ("beta", rate("beta"))), "beta"),
    ],
)
def test_usage_that_names_no_meter_counts_on_one(meters, chosen):
    assert default_meter(rules(*meters)) == chosen


# What it costs


def test_the_parts_of_a_quantity_cost_what_the_whole_costs():
    priced = rules(("chat", rate(price=10, per=3)))

    parts = rate_uses(priced, [("chat", 1)] * 5, {}, at=NOON)
    whole = rate_uses(priced, [("chat", 5)], {}, at=NOON)

    assert [line.revenue.amount_xusd for line in parts] == [3, 3, 4, 3, 3]
    assert totals(parts) == totals(whole) == (16, 1)
    assert carried_on(parts) == carried_on(whole)


def test_what_was_carried_before_is_carried_in_and_what_is_left_on():
    known = rate(price=10, per=3)
    revenue, cost = (rate_identity(known, side) for side in ("revenue", "cost"))

    lines = rate_uses(rules(("chat", known)), [("chat", 1)], {revenue: 2}, at=NOON)

    assert [line.revenue.amount_xusd for line in lines] == [4]
    assert carried_on(lines) == [
        Remainder(revenue, "chat", 3, 0),
        Remainder(cost, "chat", 3, 1),
    ]


def test_meters_carry_their_own_and_those_without_a_price_nothing():
    lines = rate_uses(
        rules(("chat", rate(per=3)), ("tokens", rate("tokens", per=3)), "free"),
        [("chat", 1), ("tokens", 1), ("free", 9), ("chat", 1)],
        {},
        at=NOON,
    )

    assert [line.status for line in lines] == [
        "priced", "priced", "missing_price", "priced",
    ]  # fmt: skip
    assert [line.revenue.amount_xusd for line in lines] == [3, 3, 0, 3]
    assert {kept.meter_code for kept in carried_on(lines)} == {"chat", "tokens"}
    assert all(line.computed_at == NOON for line in lines)


@pytest.mark.parametrize(
    ("uses", "changes", "field"),
    [
        ([("chat", 2)], {"price": INT64_MAX}, "amount_xusd"),
        ([("chat", 1), ("chat", 1)], {"price": INT64_MAX}, "amount_xusd"),
        ([("chat", 1), ("chat", 1)], {"price": 0, "unit_cost_xusd": INT64_MAX, "cost_unit_quantity_minor": 1}, "cost_xusd"),
    ],
)  # fmt: skip
def test_an_amount_beyond_64_bits_is_refused(uses, changes, field):
    priced = rules(("chat", rate(**changes)))

    with pytest.raises(Invalid) as caught:
        totals(rate_uses(priced, uses, {}, at=NOON))

    assert caught.value.field == field


def test_facts_of_a_past_instant_are_of_that_instant():
    then = NOON - timedelta(days=30)

    assert access_facts(rules("chat"), 5, then).at == then
