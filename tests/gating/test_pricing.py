from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlunaai.generated.gate_models import (
    AggregatePricingSnapshot,
    Lines,
    MissingPriceRatedLine,
    MissingPricingSnapshot,
    PricingSnapshot,
    RationalPricingSnapshot,
    RationalRatedLine,
)

from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX, floor_div_carry
from gating.pricing import (
    MeterRate,
    aggregate,
    fingerprint,
    price_blocks,
    price_meter,
    rate_identity,
)

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
EFFECTIVE = datetime(2026, 1, 1, tzinfo=UTC)


def rate(**changes):
    terms = {
        "meter_code": "chat.tokens",
        "unit": "token",
        "unit_price_xusd": 3_600_000,
        "unit_price_base_xusd": 3_500_000,
        "unit_price_dynamic_xusd": 100_000,
        "unit_quantity_minor": 1_000_000,
        "unit_cost_xusd": 2_000_000,
        "cost_unit_quantity_minor": 1_000_000,
        "effective_at": EFFECTIVE,
    }
    return MeterRate(**terms | changes)


def rated(
    quantity_minor=12_345,
    *,
    revenue_remainder=0,
    cost_remainder=0,
    computed_at=NOON,
    **changes,
):
    return price_meter(
        rate(**changes),
        quantity_minor,
        revenue_remainder,
        cost_remainder,
        computed_at,
        "chat",
    )


def unrated(quantity_minor=7, computed_at=NOON, unit="image"):
    return price_meter(
        None,
        quantity_minor,
        0,
        0,
        computed_at,
        "images",
        meter_code="images.made",
        unit=unit,
    )


def carried(price, parts, remainder=0):
    """The total of the parts, and what the last one carries on."""
    total = 0
    for quantity in parts:
        amount, remainder = price(quantity, remainder)
        total += amount
    return total, remainder


# Rational floor


def test_single_tokens_cost_what_three_together_cost():
    first = rated(1)
    second = rated(1, revenue_remainder=first.revenue.next_remainder_numer)
    third = rated(1, revenue_remainder=second.revenue.next_remainder_numer)

    assert [
        (line.revenue.amount_xusd, line.revenue.next_remainder_numer)
        for line in (first, second, third)
    ] == [(3, 600_000), (4, 200_000), (3, 800_000)]
    assert rated(3).revenue.amount_xusd == 10


def test_revenue_and_cost_are_priced_independently():
    line = rated(12_345, cost_remainder=5, cost_unit_quantity_minor=7)

    assert (line.revenue.amount_xusd, line.revenue.next_remainder_numer) == (44_442, 0)
    assert (line.cost.amount_xusd, line.cost.next_remainder_numer) == divmod(
        12_345 * 2_000_000 + 5, 7
    )


def test_every_split_of_small_quantities_costs_what_the_whole_costs():
    cases = 0
    for price, unit_quantity in product(range(6), range(1, 8)):

        def priced(quantity, remainder, price=price, unit_quantity=unit_quantity):
            return floor_div_carry(quantity, price, unit_quantity, remainder)

        for remainder, first, second in product(
            range(unit_quantity), range(8), range(8)
        ):
            cases += 1
            whole = priced(first + second, remainder)
            assert carried(priced, (first, second), remainder) == whole
    assert cases > 10_000


@settings(max_examples=1_000)
@given(
    price=st.integers(0, 50) | st.integers(0, 2**40),
    unit_quantity=st.integers(1, 12) | st.integers(1, 2**62),
    parts=st.lists(st.integers(0, 20) | st.integers(0, 2**20), max_size=5),
)
def test_parts_cost_what_the_whole_costs(price, unit_quantity, parts):
    def priced(quantity, remainder):
        return floor_div_carry(quantity, price, unit_quantity, remainder)

    assert carried(priced, parts) == priced(sum(parts), 0)


# Whole blocks


@pytest.mark.parametrize(
    ("quantity", "block", "carry", "mode", "rounding", "blocks", "next_carry"),
    [
        (4, 10, 0, "postpaid", "floor", 0, 4),
        (6, 10, 4, "postpaid", "floor", 1, 0),
        (25, 10, 3, "postpaid", "floor", 2, 8),
        (25, 10, 3, "postpaid", "ceil", 3, 0),
        (20, 10, 0, "postpaid", "ceil", 2, 0),
        (4, 10, 0, "postpaid", "nearest", 0, 4),
        (5, 10, 0, "postpaid", "nearest", 1, 0),
        (3, 7, 0, "postpaid", "nearest", 0, 3),
        (4, 7, 0, "postpaid", "nearest", 1, 0),
        (9, 1, 0, "postpaid", "floor", 9, 0),
        (9, 1, 0, "postpaid", "ceil", 9, 0),
        (9, 1, 0, "prepaid", "floor", 9, 0),
        (4, 10, 0, "prepaid", "floor", 1, 6),
        (6, 10, 6, "prepaid", "floor", 0, 0),
        (2, 10, 6, "prepaid", "floor", 0, 4),
        (25, 10, 3, "prepaid", "floor", 3, 8),
        (23, 10, 3, "prepaid", "floor", 2, 0),
        (0, 10, 3, "prepaid", "floor", 0, 3),
    ],
)
def test_block_vectors(quantity, block, carry, mode, rounding, blocks, next_carry):
    assert price_blocks(quantity, 500, block, carry, mode, rounding) == (
        blocks * 500,
        next_carry,
    )


@pytest.mark.parametrize("mode", ["prepaid", "postpaid"])
def test_every_split_of_blocks_costs_what_the_whole_costs(mode):
    for block in range(1, 8):

        def priced(quantity, carry, block=block):
            return price_blocks(quantity, 3, block, carry, mode)

        for carry, first, second in product(range(block), range(16), range(16)):
            whole = priced(first + second, carry)
            assert carried(priced, (first, second), carry) == whole
            assert 0 <= whole[1] < block


@given(st.integers(0, 300), st.integers(1, 9), st.data())
def test_blocks_follow_the_rules_case_by_case(quantity, block, data):
    carry = data.draw(st.integers(0, block - 1))

    if carry >= quantity:
        expected = (0, carry - quantity)
    else:
        blocks = -(-(quantity - carry) // block)
        expected = (blocks * 11, blocks * block - (quantity - carry))
    assert price_blocks(quantity, 11, block, carry, "prepaid") == expected

    blocks, rest = divmod(carry + quantity, block)
    up = (blocks * 11 + 11, 0)
    down = (blocks * 11, rest)
    assert price_blocks(quantity, 11, block, carry, "postpaid") == down
    assert price_blocks(quantity, 11, block, carry, "postpaid", "ceil") == (
        up if rest else down
    )
    assert price_blocks(quantity, 11, block, carry, "postpaid", "nearest") == (
        up if 2 * rest >= block else down
    )


@pytest.mark.parametrize(
    ("mode", "amount", "carry"), [("prepaid", 2_000, 5), ("postpaid", 1_000, 5)]
)
def test_residual_mode_prices_both_sides_in_blocks(mode, amount, carry):
    line = rated(
        15,
        residual_mode=mode,
        unit_price_xusd=1_000,
        unit_quantity_minor=10,
        unit_cost_xusd=1_000,
        cost_unit_quantity_minor=10,
    )

    for side in (line.revenue, line.cost):
        assert (side.amount_xusd, side.next_remainder_numer) == (amount, carry)
        assert side.snapshot["residual_mode"] == mode
        assert side.snapshot["residual_algorithm"].startswith(f"block_{mode}")
    RationalRatedLine.model_validate(line.as_document("line-1"))


# Refusals


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unit_price_xusd": -1}, "unit_price_xusd"),
        ({"unit_price_base_xusd": -1}, "unit_price_base_xusd"),
        ({"unit_price_dynamic_xusd": 2**63}, "unit_price_dynamic_xusd"),
        ({"unit_quantity_minor": 0}, "unit_quantity_minor"),
        ({"unit_cost_xusd": -1}, "unit_cost_xusd"),
        ({"cost_unit_quantity_minor": 0}, "cost_unit_quantity_minor"),
        ({"unit_price_xusd": 1.5}, "unit_price_xusd"),
        ({"unit_price_xusd": "5"}, "unit_price_xusd"),
        ({"effective_at": EFFECTIVE.replace(tzinfo=None)}, "effective_at"),
        ({"residual_mode": "hybrid"}, "residual_mode"),
    ],
)
def test_a_rate_refuses_what_cannot_price(changes, field):
    with pytest.raises(Invalid) as refusal:
        rate(**changes)

    assert refusal.value.field == field


@pytest.mark.parametrize("mode", [None, "prepaid", "postpaid"])
@pytest.mark.parametrize(
    ("quantity", "remainder", "field"),
    [
        (-1, 0, "quantity_minor"),
        (1.0, 0, "quantity_minor"),
        (1, 10, "remainder_numer"),
        (1, -1, "remainder_numer"),
        (INT64_MAX, 0, "amount_xusd"),
    ],
)
def test_pricing_refuses(mode, quantity, remainder, field):
    with pytest.raises(Invalid) as refusal:
        rated(
            quantity,
            revenue_remainder=remainder,
            residual_mode=mode,
            unit_price_xusd=11,
            unit_quantity_minor=10,
        )

    assert refusal.value.field == field


def test_cost_beyond_64_bits_is_refused_too():
    with pytest.raises(Invalid, match="amount_xusd must lie between"):
        rated(2**60, unit_price_xusd=0, cost_unit_quantity_minor=1)


def test_a_missing_price_carries_nothing():
    for side in (unrated().revenue, unrated().cost):
        assert (
            side.amount_xusd,
            side.previous_remainder_numer,
            side.next_remainder_numer,
        ) == (0, 0, 0)
        assert side.rate_identity is None


@pytest.mark.parametrize(
    ("meter_code", "unit", "field"),
    [(None, "token", "meter_code"), ("chat", None, "unit")],
)
def test_a_missing_price_must_name_its_meter(meter_code, unit, field):
    with pytest.raises(Invalid) as refusal:
        price_meter(None, 1, 0, 0, NOON, "chat", meter_code=meter_code, unit=unit)

    assert refusal.value.field == field


# Identity and evidence


def test_a_rate_identity_is_stable():
    # A change of this digest abandons every carried remainder and every client's etag.
    text = (
        '{"algorithm":"integer_rational_floor_v1","effective_at":"2026-01-01T00:00:00.000000Z",'
        '"meter_code":"chat.tokens","pricing_kind":"revenue","provenance":{"source":"catalog"},'
        '"unit_price_base_xusd":"3500000","unit_price_dynamic_xusd":"100000",'
        '"unit_price_xusd":"3600000","unit_quantity_minor":"1000000"}'
    )

    assert rate_identity(rate(), "revenue") == sha256(text.encode()).hexdigest()
    assert rate_identity(rate(), "revenue") != rate_identity(rate(), "cost")


@pytest.mark.parametrize(
    "changes",
    [
        {"meter_code": "other"},
        {"unit_price_xusd": 1},
        {"unit_price_base_xusd": 1},
        {"unit_price_dynamic_xusd": 1},
        {"unit_quantity_minor": 1},
        {"effective_at": LATER},
        {"residual_mode": "prepaid"},
        {"residual_mode": "postpaid"},
        {"provenance": {"source": "contract", "contract_id": "c-1"}},
    ],
)
def test_every_term_of_the_revenue_rate_changes_its_identity(changes):
    assert rate_identity(rate(**changes), "revenue") != rate_identity(rate(), "revenue")


def test_the_identity_of_one_side_ignores_the_other():
    dearer = rate(
        unit_cost_xusd=9,
        cost_unit_quantity_minor=2,
        cost_provenance={"source": "contract"},
    )

    assert rate_identity(dearer, "revenue") == rate_identity(rate(), "revenue")
    assert rate_identity(dearer, "cost") != rate_identity(rate(), "cost")
    assert rate_identity(
        rate(cost_provenance={"source": "contract"}), "cost"
    ) != rate_identity(rate(), "cost")
    assert rate_identity(
        rate(provenance={"source": "contract"}), "cost"
    ) == rate_identity(rate(), "cost")
    assert rate_identity(rate(unit_price_xusd=9), "cost") == rate_identity(
        rate(), "cost"
    )


def test_fact_fingerprints_ignore_when_they_were_computed():
    now, later = rated(), rated(computed_at=LATER)

    assert now.revenue.fact_fingerprint == later.revenue.fact_fingerprint
    assert now.revenue.snapshot["computed_at"] != later.revenue.snapshot["computed_at"]
    assert (
        aggregate([now]).pricing_snapshot["fingerprint"]
        == aggregate([later]).pricing_snapshot["fingerprint"]
    )
    assert (
        unrated().cost.fact_fingerprint
        == unrated(computed_at=LATER).cost.fact_fingerprint
    )


@pytest.mark.parametrize(
    "other",
    [
        rated(12_346),
        rated(revenue_remainder=1),
        rated(unit="word"),
        rated(unit_price_xusd=1),
    ],
)
def test_fact_fingerprints_follow_the_fact(other):
    assert other.revenue.fact_fingerprint != rated().revenue.fact_fingerprint


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": "é"}}) == fingerprint(
        {"b": {"d": "é", "c": 2}, "a": 1}
    )


def test_a_fingerprint_covers_all_else_in_its_snapshot():
    snapshot = dict(rated().revenue.snapshot)
    sealed = snapshot.pop("fingerprint")
    snapshot.pop("computed_at")

    assert fingerprint(snapshot) == sealed


# The wire


def test_a_priced_line_reads_as_the_client_expects():
    document = rated(revenue_remainder=9).as_document("line-1")

    line = RationalRatedLine.model_validate(document)

    assert Lines.model_validate(document).root == line
    assert line.pricing_snapshot == RationalPricingSnapshot.model_validate(
        document["pricing_snapshot"]
    )
    assert (line.amount_xusd, line.cost_xusd, line.unit_cost_xusd) == (
        "44442",
        "24690",
        "2000000",
    )
    assert line.pricing_snapshot.computed_at == NOON
    assert line.pricing_snapshot.effective_at == EFFECTIVE
    assert line.pricing_fingerprint == line.pricing_snapshot.fingerprint
    assert (
        line.rate_identity
        == line.pricing_snapshot.rate_identity
        == rate_identity(rate(), "revenue")
    )
    assert (
        line.cost_rate_identity
        == line.cost_snapshot.rate_identity
        == rate_identity(rate(), "cost")
    )
    assert "unit_price_base_xusd" not in document["cost_snapshot"]


def test_a_line_without_a_price_reads_as_the_client_expects():
    document = unrated().as_document("line-2")

    line = MissingPriceRatedLine.model_validate(document)

    assert Lines.model_validate(document).root == line
    assert line.pricing_snapshot == MissingPricingSnapshot.model_validate(
        document["pricing_snapshot"]
    )
    assert (line.amount_xusd, line.cost_xusd, line.quantity_minor) == ("0", "0", "7")
    assert line.pricing_snapshot.meter_code == "images.made"


def test_an_aggregate_reads_as_the_client_expects():
    total = aggregate([rated(), unrated()])

    snapshots = [
        AggregatePricingSnapshot.model_validate(each)
        for each in (total.pricing_snapshot, total.cost_snapshot)
    ]

    assert (total.quantity_minor, total.amount_xusd, total.cost_xusd) == (
        12_352,
        44_442,
        24_690,
    )
    assert [snapshot.amount_xusd for snapshot in snapshots] == ["44442", "24690"]
    assert [snapshot.pricing_kind.value for snapshot in snapshots] == [
        "revenue",
        "cost",
    ]
    assert [part.status.value for part in snapshots[0].components] == [
        "priced",
        "missing_price",
    ]
    assert [part.rate_identity for part in snapshots[0].components] == [
        rate_identity(rate(), "revenue"),
        None,
    ]
    assert snapshots[0].unit == "mixed"
    assert aggregate([rated(), rated(1)]).pricing_snapshot["unit"] == "token"


def test_every_snapshot_has_its_schema():
    total = aggregate([rated(), unrated()])

    schemas = [
        PricingSnapshot.model_validate(snapshot).root.schema_
        for snapshot in (
            rated().cost.snapshot,
            unrated().revenue.snapshot,
            total.pricing_snapshot,
        )
    ]

    assert schemas == [
        "gate/rational-pricing-snapshot:v1",
        "gate/missing-pricing-snapshot:v1",
        "gate/aggregate-pricing-snapshot:v1",
    ]


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([], "lines"),
        ([rated(), rated(computed_at=LATER)], "lines"),
        ([unrated(INT64_MAX), unrated(1)], "quantity_minor"),
        (
            [rated(2**62, unit_price_xusd=1, unit_quantity_minor=1, unit_cost_xusd=0)]
            * 2,
            "quantity_minor",
        ),
        (
            [rated(2**61, unit_price_xusd=2, unit_quantity_minor=1, unit_cost_xusd=0)]
            * 2,
            "amount_xusd",
        ),
        (
            [
                rated(
                    2**61,
                    unit_cost_xusd=2,
                    cost_unit_quantity_minor=1,
                    unit_price_xusd=0,
                )
            ]
            * 2,
            "cost_xusd",
        ),
    ],
)
def test_aggregate_refuses(lines, field):
    with pytest.raises(Invalid) as refusal:
        aggregate(lines)

    assert refusal.value.field == field
