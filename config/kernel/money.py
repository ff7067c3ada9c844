"""Money and quantities as signed 64-bit integers; no floats anywhere.

`*_xusd` counts millionths of a US dollar, `*_minor` a currency's or a meter's
smallest unit. On the wire integers travel as decimal strings, because JSON numbers
lose digits beyond 2^53.
"""

import re
from collections.abc import Sequence

from config.kernel.errors import Invalid

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
XUSD_PER_USD = 1_000_000

_DIGITS = re.compile(r"-?(?:0|[1-9][0-9]*)")
_INT64_CHARACTERS = len(str(INT64_MIN))
_USD_DECIMALS = len(str(XUSD_PER_USD)) - 1


def check_int64(value: object, field: str) -> int:
    """Return `value` when it is an integer of at most 64 signed bits.

    Refuses, with Invalid on `field`, any other type (booleans and floats included)
    and integers below -2^63 or above 2^63 - 1.
    """
    if type(value) is not int:
        raise Invalid(f"{field} must be a whole number.", field=field)
    if not INT64_MIN <= value <= INT64_MAX:
        raise Invalid(
            f"{field} must lie between {INT64_MIN} and {INT64_MAX}.", field=field
        )
    return value


def parse_int(text: object, field: str) -> int:
    """Return the signed 64-bit integer that a decimal string, or an int, gives.

    The string holds ASCII digits, with a minus sign when negative. Refuses, with
    Invalid on `field`: leading zeros, `-0`, a plus sign, spaces, underscores, dots,
    exponents, other scripts' digits, booleans, floats, and values beyond 64 bits.
    """
    if not isinstance(text, str):
        return check_int64(text, field)
    if _DIGITS.fullmatch(text) is None or text == "-0":
        raise Invalid(
            f"{field} must be a whole number written in plain digits, such as 1250.",
            field=field,
        )
    # Ten thousand digits are refused before they are converted.
    return check_int64(
        int(text) if len(text) <= _INT64_CHARACTERS else INT64_MAX + 1, field
    )


def parse_uint(text: object, field: str) -> int:
    """Return what `parse_int` returns; refuses numbers below 0 as well."""
    return _at_least(0, parse_int(text, field), field)


def parse_posint(text: object, field: str) -> int:
    """Return what `parse_int` returns; refuses numbers below 1 as well."""
    return _at_least(1, parse_int(text, field), field)


def _at_least(minimum: int, value: int, field: str) -> int:
    if check_int64(value, field) < minimum:
        raise Invalid(f"{field} must be {minimum} or more.", field=field)
    return value


def split_by_weights(total: int, weights: Sequence[int]) -> list[int]:
    """Return `total` split in proportion to `weights`; the parts sum to `total`.

    Each part is floor(total x weight / sum of weights), except the last, which is
    what remains; so order matters, and the last may receive something although its
    weight is 0. With every weight 0, a total of 0 splits into zeros. Refuses, with
    Invalid: a total below 0 (on `total`); no weights, a weight below 0, and a
    positive total over weights that sum to 0 (on `weights`).
    """
    _at_least(0, total, "total")
    if not weights:
        raise Invalid("weights must not be empty.", field="weights")
    whole = sum(_at_least(0, weight, "weights") for weight in weights)
    if whole == 0 and total > 0:
        raise Invalid(
            f"weights sum to 0, so {total} cannot be split by them.", field="weights"
        )
    parts = [total * weight // (whole or 1) for weight in weights[:-1]]
    return [*parts, total - sum(parts)]


def floor_div_carry(
    quantity_minor: int,
    unit_price_xusd: int,
    unit_quantity_minor: int,
    remainder_numer: int,
) -> tuple[int, int]:
    """Return (amount_xusd, next_remainder_numer) of a quantity at a rational price.

    With n = quantity_minor x unit_price_xusd + remainder_numer: the amount is n div
    unit_quantity_minor, rounded down, and the remainder n mod unit_quantity_minor
    is carried to the next call; nothing is lost, nothing is rounded up. Refuses,
    with Invalid on the field at fault: a quantity or price below 0, a unit quantity
    below 1, a remainder outside 0 <= r < unit_quantity_minor, and an amount beyond
    64 bits (on `amount_xusd`).
    """
    _at_least(0, quantity_minor, "quantity_minor")
    _at_least(0, unit_price_xusd, "unit_price_xusd")
    check_remainder(remainder_numer, unit_quantity_minor)
    numerator = quantity_minor * unit_price_xusd + remainder_numer
    amount_xusd, next_remainder_numer = divmod(numerator, unit_quantity_minor)
    return check_int64(amount_xusd, "amount_xusd"), next_remainder_numer


def check_remainder(remainder_numer: int, unit_quantity_minor: int) -> None:
    """Refuse a carried remainder that does not belong to its divisor.

    The divisor must be 1 or more (Invalid on `unit_quantity_minor`), and the
    remainder at least 0 and below it (Invalid on `remainder_numer`).
    """
    _at_least(1, unit_quantity_minor, "unit_quantity_minor")
    _at_least(0, remainder_numer, "remainder_numer")
    if remainder_numer >= unit_quantity_minor:
        raise Invalid(
            f"remainder_numer {remainder_numer} must be below unit_quantity_minor "
            f"{unit_quantity_minor}.",
            field="remainder_numer",
        )


def xusd_to_usd_text(xusd: int) -> str:
    """Return millionths of a dollar as exact dollars, such as `1.234567` or `-0.50`.

    Two decimals at least, six at most. Refuses, with Invalid on `xusd`, what is not
    an integer.
    """
    if type(xusd) is not int:
        raise Invalid("xusd must be a whole number.", field="xusd")
    dollars, millionths = divmod(abs(xusd), XUSD_PER_USD)
    decimals = f"{millionths:0{_USD_DECIMALS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if xusd < 0 else ''}{dollars}.{decimals}"


def format_xusd(xusd: int) -> str:
    """Return millionths of a dollar for people, such as `$1,234.567` or `-$0.50`.

    Refuses, with Invalid on `xusd`, what is not an integer.
    """
    dollars, _, decimals = xusd_to_usd_text(xusd).removeprefix("-").partition(".")
    return f"{'-' if xusd < 0 else ''}${int(dollars):,}.{decimals}"
