from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.kernel.errors import Invalid
from config.kernel.money import (
    INT64_MAX,
    INT64_MIN,
    check_int64,
    floor_div_carry,
    format_xusd,
    parse_int,
    parse_posint,
    parse_uint,
    split_by_weights,
    xusd_to_usd_text,
)

NOT_INTEGERS = [
    "", " ", "+1", "01", "00", "-0", "--1", " 5", "5 ", "5\n", "1_000", "1,000", "1.0", "1e3", "0x1F",
    "\u0663", "\uff15", "\u00b2", "NaN", "Infinity", "-", "1" * 10_000, str(2**63), str(-(2**63) - 1),
    True, False, 1.0, None, [], {}, b"5", 2**63, -(2**63) - 1, 10**400,
]  # fmt: skip


@pytest.mark.parametrize("parse", [parse_int, parse_uint, parse_posint])
@pytest.mark.parametrize("text", NOT_INTEGERS, ids=lambda text: repr(text)[:20])
def test_wire_integers_refuse_what_is_not_one(parse, text):
    with pytest.raises(Invalid) as refusal:
        parse(text, "amount_xusd")

    assert refusal.value.field == "amount_xusd"
    assert refusal.value.message.startswith("amount_xusd must ")


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_int, "0", 0),
        (parse_int, "-1", -1),
        (parse_int, str(INT64_MIN), INT64_MIN),
        (parse_int, INT64_MIN, INT64_MIN),
        (parse_uint, "0", 0),
        (parse_uint, 0, 0),
        (parse_uint, str(INT64_MAX), INT64_MAX),
        (parse_posint, "1", 1),
        (parse_posint, INT64_MAX, INT64_MAX),
    ],
)
def test_wire_integers_read_plain_digits(parse, text, expected):
    assert parse(text, "amount_xusd") == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_uint, "-1"),
        (parse_uint, -1),
        (parse_posint, "0"),
        (parse_posint, 0),
        (parse_posint, "-5"),
    ],
)
def test_wire_integers_refuse_what_is_too_small(parse, text):
    with pytest.raises(Invalid, match=" or more"):
        parse(text, "limit_minor")


@given(st.integers(INT64_MIN, INT64_MAX))
def test_every_64_bit_integer_reads_back_from_its_digits(value):
    assert parse_int(str(value), "n") == parse_int(value, "n") == value


@pytest.mark.parametrize("value", [INT64_MAX + 1, INT64_MIN - 1, True, 1.0, "1", None])
def test_check_int64_refuses(value):
    with pytest.raises(Invalid) as refusal:
        check_int64(value, "limit_minor")

    assert refusal.value.field == "limit_minor"


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (10, [1, 1, 1], [3, 3, 4]),
        (0, [1, 2], [0, 0]),
        (0, [0, 0], [0, 0]),
        (7, [5], [7]),
        (1, [1, 1], [0, 1]),
        (100, [0, 1], [0, 100]),
        (5, [1, 1, 0], [2, 2, 1]),
        (
            INT64_MAX,
            [INT64_MAX, INT64_MAX],
            [INT64_MAX // 2, INT64_MAX - INT64_MAX // 2],
        ),
    ],
)
def test_split_by_weights_floors_and_gives_the_rest_to_the_last(total, weights, parts):
    assert split_by_weights(total, weights) == parts


@given(st.integers(0, 1000), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_split_by_weights_conserves_the_sum(total, weights):
    whole = sum(weights)
    if whole == 0 and total > 0:
        with pytest.raises(Invalid):
            split_by_weights(total, weights)
        return

    parts = split_by_weights(total, weights)

    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    assert all(
        part <= Fraction(total * weight, whole or 1) < part + 1
        for part, weight in zip(parts[:-1], weights[:-1], strict=True)
    )


@pytest.mark.parametrize(
    ("total", "weights", "field"),
    [
        (-1, [1], "total"),
        (2**63, [1], "total"),
        ("5", [1], "total"),
        (0, [], "weights"),
        (1, [], "weights"),
        (1, [0, 0], "weights"),
        (1, [2, -1], "weights"),
        (1, [1.0], "weights"),
    ],
)
def test_split_by_weights_refuses(total, weights, field):
    with pytest.raises(Invalid) as refusal:
        split_by_weights(total, weights)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("xusd", "plain", "for_people"),
    [
        (0, "0.00", "$0.00"),
        (1, "0.000001", "$0.000001"),
        (-1, "-0.000001", "-$0.000001"),
        (10_000, "0.01", "$0.01"),
        (100_000, "0.10", "$0.10"),
        (1_234_567, "1.234567", "$1.234567"),
        (1_500_000, "1.50", "$1.50"),
        (1_234_500, "1.2345", "$1.2345"),
        (-500_000, "-0.50", "-$0.50"),
        (12_000_000, "12.00", "$12.00"),
        (999_999_999, "999.999999", "$999.999999"),
        (1_000_000_000, "1000.00", "$1,000.00"),
        (-1_234_500_000, "-1234.50", "-$1,234.50"),
        (INT64_MAX, "9223372036854.775807", "$9,223,372,036,854.775807"),
        (INT64_MIN, "-9223372036854.775808", "-$9,223,372,036,854.775808"),
    ],
)
def test_xusd_is_shown_exactly(xusd, plain, for_people):
    assert xusd_to_usd_text(xusd) == plain
    assert format_xusd(xusd) == for_people


@given(st.integers(INT64_MIN, INT64_MAX))
def test_xusd_text_is_exact(xusd):
    assert Fraction(xusd_to_usd_text(xusd)) == Fraction(xusd, 1_000_000)


@pytest.mark.parametrize("value", [1.5, True, "1", None])
def test_xusd_text_refuses_what_is_no_integer(value):
    for show in (xusd_to_usd_text, format_xusd):
        with pytest.raises(Invalid):
            show(value)


@pytest.mark.parametrize(
    ("quantity", "price", "unit_quantity", "remainder", "expected"),
    [
        (12_345, 3_600_000, 1_000_000, 0, (44_442, 0)),
        (1, 3_600_000, 1_000_000, 0, (3, 600_000)),
        (1, 3_600_000, 1_000_000, 600_000, (4, 200_000)),
        (1, 3_600_000, 1_000_000, 200_000, (3, 800_000)),
        (0, 3_600_000, 1_000_000, 999_999, (0, 999_999)),
        (5, 0, 7, 6, (0, 6)),
        (INT64_MAX, 1, 1, 0, (INT64_MAX, 0)),
        (INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX - 1, (INT64_MAX, INT64_MAX - 1)),
    ],
)
def test_floor_div_carry_vectors(quantity, price, unit_quantity, remainder, expected):
    assert floor_div_carry(quantity, price, unit_quantity, remainder) == expected


@pytest.mark.parametrize(
    ("quantity", "price", "unit_quantity", "remainder", "field"),
    [
        (-1, 1, 1, 0, "quantity_minor"),
        (1, -1, 1, 0, "unit_price_xusd"),
        (1, 1, 0, 0, "unit_quantity_minor"),
        (1, 1, 5, 5, "remainder_numer"),
        (1, 1, 5, -1, "remainder_numer"),
        (1.0, 1, 1, 0, "quantity_minor"),
        (True, 1, 1, 0, "quantity_minor"),
        ("2", 1, 1, 0, "quantity_minor"),
        (2**62, 2, 1, 0, "amount_xusd"),
    ],
)
def test_floor_div_carry_refuses(quantity, price, unit_quantity, remainder, field):
    with pytest.raises(Invalid) as refusal:
        floor_div_carry(quantity, price, unit_quantity, remainder)

    assert refusal.value.field == field
