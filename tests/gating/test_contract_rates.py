"""A meter's rate under a contract: amounts, identities, provenance, faults."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from vlunaai.generated.gate_models import Hint, RationalPricingSnapshot

from billing.policies.contract_pricing import PricingTerm
from config.kernel.money import INT64_MAX
from gating.pricing import price_meter, rate_identity, under_contract
from tests.billing.agreeing import V1, delta, price, times
from tests.gating.test_pricing import EFFECTIVE, NOON, rate

CODE = "chat.tokens"
CONTRACT = UUID(int=1)


def term(*adjustments, value=None, contract=CONTRACT, since=EFFECTIVE, **sides):
    made = price(*adjustments, meter=CODE, **sides) if value is None else value
    return PricingTerm(contract, CODE, since, made)


def under(found, **catalog):
    """Return the rate under a term, and the term's fault."""
    rates = under_contract({CODE: rate(**catalog)}, {CODE: found})
    return rates.rates[CODE], rates.faults.get(CODE)


def identities(resolved):
    return rate_identity(resolved, "revenue"), rate_identity(resolved, "cost")


def test_price_is_adjusted_and_the_rest_is_the_catalogs():
    found, fault = under(term(times("0.5")))

    assert fault is None
    assert found.price_of("revenue") == (1_800_000, 1_000_000)
    assert found.price_of("cost") == rate().price_of("cost")
    assert (found.unit_price_base_xusd, found.unit_price_dynamic_xusd) == (
        3_500_000,
        100_000,
    )
    assert found.effective_at == EFFECTIVE


def test_provenance_names_the_term_and_what_it_started_from():
    found, _fault = under(term(times("0.5"), cost=[times("2")]))

    assert found.provenance == {
        "source": "contract",
        "catalog_unit_price_xusd": "3600000",
        "catalog_unit_quantity_minor": "1000000",
        "contract": {
            "contract_id": str(CONTRACT),
            "term_key": CODE,
            "effective_at": "2026-01-01T00:00:00.000000Z",
            "schema": "billing/contract_pricing:v2",
        },
    }
    assert found.cost_provenance["catalog_unit_price_xusd"] == "2000000"
    line = price_meter(found, 10, 0, 0, NOON, "chat")
    snapshot = RationalPricingSnapshot.model_validate(line.revenue.snapshot)
    assert snapshot.provenance["contract"]["contract_id"] == str(CONTRACT)


def test_identity_follows_the_term_of_its_side_alone():
    catalog = identities(rate())
    same = identities(under(term(times("1")))[0])
    later = identities(under(term(times("1"), since=EFFECTIVE + timedelta(days=1)))[0])
    other = identities(under(term(times("1"), contract=UUID(int=2)))[0])
    both = identities(under(term(times("1"), cost=[times("1")]))[0])

    assert len({catalog[0], same[0], later[0], other[0]}) == 4
    assert {catalog[1], same[1], later[1], other[1]} == {catalog[1]}
    assert both[1] != catalog[1]
    assert identities(under(term(times("1")))[0]) == same


def test_both_schemas_have_an_effect():
    value = {"schema": V1, "price": {"adjustments": [times("0.5")]}}
    found, fault = under(term(value=value))

    assert (found.price_of("revenue"), fault) == ((1_800_000, 1_000_000), None)
    assert found.provenance["contract"]["schema"] == V1


def test_term_without_a_catalog_price_leaves_the_meter_unpriced():
    found = under_contract({}, {CODE: term(times("0.5"))})

    assert found.rates == {}
    assert found.faults[CODE].hint == {
        "type": "pricing.meter_price_missing",
        "meter_code": CODE,
        "contract_id": str(CONTRACT),
        "term_key": CODE,
        "message": f"The meter {CODE} has no price in force that the contract's term "
        "could change.",
    }
    Hint.model_validate(found.faults[CODE].hint)


def test_invalid_term_leaves_the_catalogs_price():
    bad = [
        term(value={"schema": "billing/contract_pricing:v3"}),
        term(value=price(meter="other")),
        term(value=7),
        term(times("9223372036854775807"), times("9223372036854775807")),
    ]
    for each in bad:
        found, fault = under(each)

        assert found == rate()
        assert fault.kind == "pricing.contract_term_invalid"
        assert fault.message.endswith(".")
        Hint.model_validate(fault.hint)


def test_block_price_that_is_no_whole_number_leaves_the_catalogs():
    blocks = {
        "residual_mode": "postpaid",
        "unit_price_xusd": 500,
        "unit_quantity_minor": 10,
    }
    whole, _fault = under(term(times("0.5")), **blocks)
    third, fault = under(term(times("1/3")), **blocks)

    assert whole.price_of("revenue") == (250, 10)
    assert third.price_of("revenue") == (500, 10)
    assert "whole blocks" in fault.message


def test_meters_without_a_term_keep_their_rates():
    catalog = {"a": rate(meter_code="a"), CODE: rate()}

    found = under_contract(catalog, {CODE: term(delta(-1))})

    assert found.rates["a"] is catalog["a"]
    assert found.rates[CODE] != catalog[CODE]


small = st.integers(0, 60)
parts = st.lists(st.integers(0, 30), min_size=1, max_size=6)
multipliers = st.builds("{}/{}".format, small, st.integers(1, 30))


def amounts(resolved, quantities):
    """Rate quantities one after the other; return what each is charged."""
    carried, found = 0, []
    for quantity in quantities:
        side = price_meter(resolved, quantity, carried, 0, NOON, "chat").revenue
        carried = side.next_remainder_numer
        found.append(side.amount_xusd)
    return found


@given(small, st.integers(1, 30), parts)
def test_multiplying_by_one_charges_the_same(amount, per, quantities):
    catalog = {"unit_price_xusd": amount, "unit_quantity_minor": per}

    found, _fault = under(term(times("1")), **catalog)

    assert amounts(found, quantities) == amounts(rate(**catalog), quantities)


@given(small, st.integers(1, 30), multipliers, parts)
def test_parts_cost_what_the_exact_price_says(amount, per, multiplier, quantities):
    """No XUSD is lost or made by scaling: the sum is the floor of the exact whole."""
    catalog = {"unit_price_xusd": amount, "unit_quantity_minor": per}

    found, _fault = under(term(times(multiplier)), **catalog)

    exact = Fraction(amount, per) * Fraction(multiplier) * sum(quantities)
    assert sum(amounts(found, quantities)) == exact.numerator // exact.denominator


@given(st.integers(0, INT64_MAX), st.integers(1, INT64_MAX), multipliers)
def test_either_a_rate_within_64_bits_or_the_catalogs(amount, per, multiplier):
    catalog = {"unit_price_xusd": amount, "unit_quantity_minor": per}

    found, fault = under(term(times(multiplier)), **catalog)

    if fault is None:
        exact = Fraction(amount, per) * Fraction(multiplier)
        assert Fraction(*found.price_of("revenue")) == exact
    else:
        assert found == rate(**catalog)


def test_instants_of_provenance_are_utc():
    since = datetime(2026, 2, 1, 3, 4, 5, 678, tzinfo=UTC)
    found, _fault = under(term(since=since))

    assert found.provenance["contract"]["effective_at"] == "2026-02-01T03:04:05.000678Z"
