"""Pricing in whole blocks, for meters that set a residual mode."""

from typing import Literal

from config.kernel.money import check_int64, check_remainder, parse_uint
from gating.pricing.rates import ResidualMode

Rounding = Literal["floor", "nearest", "ceil"]


def price_blocks(
    quantity_minor: int,
    unit_price_xusd: int,
    unit_quantity_minor: int,
    carry_minor: int,
    mode: ResidualMode,
    rounding: Rounding = "floor",
) -> tuple[int, int]:
    """Return (amount_xusd, next_carry_minor) of a quantity sold in whole blocks.

    With B = unit_quantity_minor, q the quantity and c the carried quantity:

    - B = 1: q blocks, nothing is carried;
    - postpaid: c was used and not billed. total = c + q. `floor` bills total div B
      blocks and carries total mod B; `ceil` rounds up and carries 0; `nearest` bills
      one more block and carries 0 when twice the rest is B or more, else floors;
    - prepaid: c was billed and not used. When c >= q nothing is billed and c - q is
      carried; else ceil((q - c) / B) blocks, carrying what they leave unused.

    Refuses what `floor_div_carry` refuses, on the same fields.
    """
    check_remainder(carry_minor, unit_quantity_minor)
    parse_uint(check_int64(quantity_minor, "quantity_minor"), "quantity_minor")
    parse_uint(check_int64(unit_price_xusd, "unit_price_xusd"), "unit_price_xusd")
    if mode == "prepaid":
        # Blocks to buy, rounded up, and what then remains bought and unused.
        blocks = max(0, -((carry_minor - quantity_minor) // unit_quantity_minor))
        carry = carry_minor + blocks * unit_quantity_minor - quantity_minor
    else:
        blocks, carry = divmod(carry_minor + quantity_minor, unit_quantity_minor)
        if (rounding == "ceil" and carry > 0) or (
            rounding == "nearest" and 2 * carry >= unit_quantity_minor
        ):
            blocks, carry = blocks + 1, 0
    return check_int64(blocks * unit_price_xusd, "amount_xusd"), carry
