"""What a quantity costs: exact integer pricing, and the evidence of it.

The rule is `integer_rational_floor_v1`: with q the quantity, P the unit price, Q the
unit quantity and r the remainder carried from before, n = q x P + r; the amount is
n div Q, and n mod Q is carried on. So the parts of a quantity cost what the whole
costs. A meter with a residual mode bills whole blocks of Q units instead, and what is
carried is then a quantity of the meter. Either way 0 <= carried < Q, and what is
carried belongs to one rate identity: with another rate it starts again at 0.

A rate is the catalog's price, or what the term of the contract in force makes of it.
"""

from gating.pricing.blocks import Rounding, price_blocks
from gating.pricing.contract import ContractRates, TermFault, under_contract
from gating.pricing.lines import (
    PricedSide,
    RatedLine,
    RatedTotal,
    aggregate,
    price_meter,
)
from gating.pricing.rates import (
    BLOCK_ALGORITHMS,
    MeterRate,
    ResidualMode,
    rate_identity,
)
from gating.pricing.snapshots import (
    NOT_RATED,
    RATIONAL_FLOOR,
    PricingKind,
    RatingStatus,
    aggregate_snapshot,
    fingerprint,
    missing_snapshot,
    rational_snapshot,
)

__all__ = [
    "BLOCK_ALGORITHMS",
    "NOT_RATED",
    "RATIONAL_FLOOR",
    "ContractRates",
    "MeterRate",
    "PricedSide",
    "PricingKind",
    "RatedLine",
    "RatedTotal",
    "RatingStatus",
    "ResidualMode",
    "Rounding",
    "TermFault",
    "aggregate",
    "aggregate_snapshot",
    "fingerprint",
    "missing_snapshot",
    "price_blocks",
    "price_meter",
    "rate_identity",
    "rational_snapshot",
    "under_contract",
]
