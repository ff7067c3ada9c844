"""What a pricing term says, and what it makes of a catalog price."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vlunaai.generated.billing_mgt_models import ContractPricingTermV2

from billing.policies.contract_pricing import PricingV1, PricingV2, read_pricing
from billing.policies.contract_rates import Rate, Rates, adjusted
from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX
from tests.billing.agreeing import V1, V2, delta, fixed, price, times


def old(*adjustments, side="price", **more):
    return {"schema": V1, side: {"adjustments": list(adjustments), **more}}


def whole(amount):
    return {"op": "fixed", "unit_price_xusd": amount}


def plus(amount):
    return {"op": "delta", "delta_xusd": amount}


def under(value, *, amount=100, per=1, cost=40, cost_per=1, blocks=False):
    """The price and cost that a term makes of a catalog's, each (amount, quantity)."""
    catalog = Rates(Rate(amount, per, blocks), Rate(cost, cost_per, blocks))
    found = adjusted(read_pricing(value, "chat"), catalog)
    return tuple(
        (side.amount_xusd, side.quantity_minor) for side in (found.price, found.cost)
    )


COST = (40, 1)
MADE = [
    # v2: exact
    (price(), {}, ((100, 1), COST)),
    (price(times("0.8")), {}, ((80, 1), COST)),
    (price(times("1/3")), {}, ((100, 3), COST)),
    (price(times("1/3"), times("3")), {}, ((100, 1), COST)),
    (price(times("0.8")), {"amount": 5, "per": 1_000_000}, ((4, 1_000_000), COST)),
    (price(times("1/2")), {"amount": 5, "per": 1_000}, ((5, 2_000), COST)),
    (price(times("0.000000000000000001")), {"amount": 1}, ((1, 10**18), COST)),
    (price(times("0")), {}, ((0, 1), COST)),
    (price(fixed(7, 3)), {}, ((7, 3), COST)),
    (price(times("9"), fixed(7)), {}, ((7, 1), COST)),
    (price(fixed(7), times("2")), {}, ((14, 1), COST)),
    (price(delta(-30)), {}, ((70, 1), COST)),
    (price(delta(1, 3)), {}, ((301, 3), COST)),
    (price(delta(-101)), {}, ((0, 1), COST)),
    (price(delta(-101), delta(5)), {}, ((5, 1), COST)),
    (price(base="catalog_cost"), {}, ((40, 1), COST)),
    (price(base="catalog_cost"), {"cost": 3, "cost_per": 2}, ((3, 2), (3, 2))),
    (price(times("1.5"), base="resolved_cost", cost=[times("2")]), {}, ((120, 1), (80, 1))),
    (price(base="catalog_cost", cost=[times("2")]), {}, ((40, 1), (80, 1))),
    ({"schema": V2, "meter_code": "chat"}, {}, ((100, 1), COST)),
    ({"schema": V2, "meter_code": " CHAT ", "price": None, "cost": None}, {}, ((100, 1), COST)),
    ({"schema": V2, "meter_code": "chat", "price": {"base": None, "adjustments": None}}, {}, ((100, 1), COST)),
    ({"schema": V2, "meter_code": "chat", "cost": {"base": "catalog_price"}}, {}, ((100, 1), (100, 1))),
    # v2, whole blocks: the block stays
    (price(times("0.8")), {"amount": 500, "per": 10, "blocks": True}, ((400, 10), COST)),
    (price(fixed(7)), {"amount": 500, "per": 10, "blocks": True}, ((70, 10), COST)),
    # v1: whole XUSD for the unit quantity
    (old(), {}, ((100, 1), COST)),
    (old(times("0.8")), {}, ((80, 1), COST)),
    (old(times("1/3")), {}, ((33, 1), COST)),
    (old(times("0.005")), {}, ((1, 1), COST)),
    (old(times("0.004")), {}, ((0, 1), COST)),
    (old(times("1/3") | {"rounding": "ceil"}), {}, ((34, 1), COST)),
    (old(times("2/3") | {"rounding": "floor"}), {}, ((66, 1), COST)),
    (old(times("1/3"), times("3")), {}, ((99, 1), COST)),
    (old(whole("7"), plus(-2)), {"per": 1_000}, ((5, 1_000), COST)),
    (old(plus("-101"), plus(5)), {}, ((5, 1), COST)),
    (old(base="unit_cost_xusd"), {}, ((40, 1), COST)),
    (old(base="unit_cost_xusd"), {"per": 1_000, "cost": 3, "cost_per": 2}, ((1_500, 1_000), (3, 2))),
    (old(base="unit_cost_xusd"), {"cost": 3, "cost_per": 2}, ((2, 1), (3, 2))),
    (old(base="cost") | {"cost": {"adjustments": [times("2")]}}, {}, ((80, 1), (80, 1))),
    (old(base="unit_price_xusd", side="cost"), {}, ((100, 1), (100, 1))),
    (old() | {"meter_code": "chat"}, {}, ((100, 1), COST)),
]  # fmt: skip


@pytest.mark.parametrize(("value", "catalog", "expected"), MADE)
def test_term_makes_of_a_catalog_price(value, catalog, expected):
    assert under(value, **catalog) == expected


def test_largest_price_that_fits_is_kept():
    assert under(price(times("1")), amount=INT64_MAX)[0] == (INT64_MAX, 1)


def test_price_too_large_for_its_unit_quantity_is_stated_in_its_lowest_terms():
    found, _cost = under(price(fixed(1, 3)), per=2**62)

    assert found == (1, 3)


@pytest.mark.parametrize(
    ("value", "catalog", "field"),
    [
        (price(times("2")), {"amount": INT64_MAX}, "price"),
        (price(times("1/3")), {"amount": 1, "per": INT64_MAX}, "price"),
        (price(cost=[times("2")]), {"cost": INT64_MAX}, "cost"),
        (price(times("1/3")), {"amount": 500, "per": 10, "blocks": True}, "price"),
        (price(times("2")), {"amount": INT64_MAX, "per": 10, "blocks": True}, "price"),
        (old(times("2")), {"amount": INT64_MAX}, "price"),
        (old(plus(1), side="cost"), {"cost": INT64_MAX}, "cost"),
        (old(base="unit_cost_xusd"), {"cost": INT64_MAX, "per": 2}, "price"),
    ],
)
def test_price_that_cannot_be_stated_is_refused(value, catalog, field):
    with pytest.raises(Invalid) as refusal:
        under(value, **catalog)

    assert refusal.value.field == field


REFUSED = [
    ("x", ""),
    ([], ""),
    (None, ""),
    ({}, ".schema"),
    ({"schema": None}, ".schema"),
    ({"schema": []}, ".schema"),
    ({"schema": "billing/contract_pricing:v3"}, ".schema"),
    ({"schema": V2}, ".meter_code"),
    ({"schema": V2, "meter_code": "a b"}, ".meter_code"),
    ({"schema": V2, "meter_code": 7}, ".meter_code"),
    (price(meter="other"), ".meter_code"),
    (old() | {"meter_code": "other"}, ".meter_code"),
    (price() | {"prize": {}}, ".prize"),
    (price() | {"price": []}, ".price"),
    (price() | {"price": {"adjustments": {}}}, ".price.adjustments"),
    (price() | {"price": {"adjustmnts": []}}, ".price.adjustmnts"),
    (price(base="resolved_price"), ".price.base"),
    (price() | {"cost": {"base": "resolved_cost"}}, ".cost.base"),
    (price(*[times("1")] * 21), ".price.adjustments"),
    (price(times("1"), "x"), ".price.adjustments.1"),
    (price({}), ".price.adjustments.0"),
    (price({"op": "tax"}), ".price.adjustments.0"),
    (price({"op": "fixed"}), ".price.adjustments.0.numerator_xusd"),
    (price(fixed("01")), ".price.adjustments.0.numerator_xusd"),
    (price(fixed("-1")), ".price.adjustments.0.numerator_xusd"),
    (price(fixed(2**63)), ".price.adjustments.0.numerator_xusd"),
    (price(fixed(1) | {"numerator_xusd": 1}), ".price.adjustments.0.numerator_xusd"),
    (price(fixed(1, 0)), ".price.adjustments.0.denominator_minor"),
    (price(delta("-0")), ".price.adjustments.0.numerator_xusd"),
    (price(times("1") | {"rounding": "floor"}), ".price.adjustments.0.rounding"),
    *(
        (price(times(bad)), ".price.adjustments.0.multiplier")
        for bad in (
            1.5, 1, None, "", "-1", "+1", "01", ".5", "1.", "1e2", " 1", "1\n", "1/0", "1/01", "/2", "1/2/3", "0.0000000000000000001", "\u0665",
            str(2**63), f"1/{2**63}", "9" * 5_000,
        )
    ),
    *(
        (old(times("1") | {"rounding": bad}), ".price.adjustments.0.rounding")
        for bad in ("up", None, 1)
    ),
    *(
        (old(whole(bad)), ".price.adjustments.0.unit_price_xusd")
        for bad in (-1, "x", 1.0, True, None, 2**63)
    ),
    (old(plus(None)), ".price.adjustments.0.delta_xusd"),
    (old(base="cost", side="cost"), ".cost.base"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "place"), REFUSED)
def test_bad_term_is_refused_at_its_place(value, place):
    with pytest.raises(Invalid) as refusal:
        read_pricing(value, "chat")

    assert refusal.value.field == f"value_json{place}"
    assert refusal.value.message.startswith(f"value_json{place} must ") or (
        refusal.value.message.startswith(f"value_json{place} is ")
    )


def test_every_fault_is_told():
    value = price(times("x"), fixed("x")) | {"extra": 1}

    with pytest.raises(Invalid) as refusal:
        read_pricing(value, "chat")

    assert [field for field, _sentence in refusal.value.meta["errors"]] == [
        "value_json.price.adjustments.0.multiplier",
        "value_json.price.adjustments.1.numerator_xusd",
        "value_json.extra",
    ]


def test_both_schemas_are_read():
    assert isinstance(read_pricing(price(), "chat"), PricingV2)
    assert isinstance(read_pricing(old(), "chat"), PricingV1)


numbers = st.integers(0, 40)
amounts = st.one_of(numbers, st.integers(0, INT64_MAX))
quantities = st.one_of(st.integers(1, 40), st.integers(1, INT64_MAX))
multipliers = st.one_of(
    st.builds("{}.{:03}".format, numbers, st.integers(0, 999)),
    st.builds("{}/{}".format, numbers, st.integers(1, 40)),
)
steps = st.lists(
    st.one_of(
        st.builds(times, multipliers),
        st.builds(fixed, numbers, st.integers(1, 40)),
        st.builds(delta, st.integers(-40, 40), st.integers(1, 40)),
    ),
    max_size=5,
)
catalogs = st.fixed_dictionaries({"amount": numbers, "per": st.integers(1, 40)})


@given(amounts, quantities, st.booleans())
def test_multiplying_by_one_changes_nothing(amount, per, blocks):
    found, _cost = under(price(times("1")), amount=amount, per=per, blocks=blocks)

    assert found == (amount, per)


@given(steps, catalogs)
def test_exact_price_is_the_fraction_it_should_be(adjustments, catalog):
    """Against the arithmetic in one line, and never below 0."""
    expected = Fraction(catalog["amount"], catalog["per"])
    for step in adjustments:
        if step["op"] == "multiplier":
            expected *= Fraction(step["multiplier"])
        else:
            other = Fraction(
                int(step["numerator_xusd"]), int(step["denominator_minor"])
            )
            expected = other if step["op"] == "fixed" else max(expected + other, 0)

    (amount, per), _cost = under(price(*adjustments), **catalog)

    assert Fraction(amount, per) == expected
    assert amount >= 0
    assert per % catalog["per"] == 0


@given(steps, catalogs, numbers)
def test_a_fixed_price_wins_over_whatever_was_before(adjustments, catalog, last):
    (amount, per), _cost = under(price(*adjustments, fixed(last, 7)), **catalog)

    assert Fraction(amount, per) == Fraction(last, 7)


@given(steps, catalogs)
def test_official_client_knows_what_we_accept(adjustments, catalog):
    ContractPricingTermV2.model_validate(price(*adjustments))


@given(steps, amounts, quantities)
def test_what_does_not_fit_64_bits_is_refused_and_nothing_else(
    adjustments, amount, per
):
    try:
        (found, quantity), _cost = under(price(*adjustments), amount=amount, per=per)
    except Invalid as refusal:
        assert refusal.field == "price"
        assert "64 bits" in refusal.message
    else:
        assert 0 <= found <= INT64_MAX
        assert 1 <= quantity <= INT64_MAX
