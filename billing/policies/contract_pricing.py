"""What a contract's term says about a meter's price: both schemas, read strictly. Pure.

`billing/contract_pricing:v2` is exact: prices are fractions and nothing is rounded.
`vluna/contract_pricing:v1` counts in whole XUSD, and its multipliers round. What a
term comes to for a price of the catalog: `billing.policies.contract_rates`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid
from config.kernel.metadata.document import path_text
from config.kernel.money import parse_int, parse_posint, parse_uint

SCHEMA_V1 = "vluna/contract_pricing:v1"
SCHEMA_V2 = "billing/contract_pricing:v2"
MAX_ADJUSTMENTS = 20
MAX_ERRORS = 20

Rounding = Literal["floor", "nearest", "ceil"]

_NO_OP = "must have an op: fixed, delta or multiplier."
_PREDICATES = {
    "missing": "is required.",
    "extra_forbidden": "is no key of this schema.",
    "union_tag_invalid": _NO_OP,
    "union_tag_not_found": _NO_OP,
    "too_long": f"must have at most {MAX_ADJUSTMENTS} elements.",
    "list_type": "must be a list.",
}
_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]{1,18}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PricingTerm:
    """A stored version of a pricing term, in force: whose it is, and what it says.

    `value` is the JSON as stored; `read_pricing` reads it.
    """

    contract_id: UUID
    term_key: str
    effective_at: datetime
    value: Any


def _parsed(parse: Callable[[Any, str], Any], *types: type) -> Any:
    """Return the validator that applies a kernel parser, to values of `types` only."""

    def validate(value: Any) -> Any:
        try:
            return parse(_of_type(value, types), "")
        except Invalid as refusal:
            raise PydanticCustomError(
                "rule", "{sentence}", {"sentence": refusal.message.strip()}
            ) from None

    return PlainValidator(validate)


def _of_type(value: Any, types: tuple[type, ...]) -> Any:
    if type(value) in types:
        return value
    digits = "must be a whole number, or text of its digits."
    raise Invalid("must be text." if types == (str,) else digits)


def _multiplier(text: str, field: str) -> Fraction:
    """Return what `1.25` or `5/4` multiplies by; up to 18 decimals."""
    whole, slash, per = text.partition("/")
    if slash:
        return Fraction(parse_uint(whole, field), parse_posint(per, field))
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{field} must be a decimal of up to 18 decimals, such as 1.25, or a "
            "fraction, such as 5/4."
        )
    decimals = match[2] or ""
    units = parse_uint(match[1], field)
    return units + Fraction(int(decimals or 0), 10 ** len(decimals))


def _or_none(value: Any) -> Any:
    return [] if value is None else value


UIntText = Annotated[int, _parsed(parse_uint, str)]
PosIntText = Annotated[int, _parsed(parse_posint, str)]
IntText = Annotated[int, _parsed(parse_int, str)]
UInt = Annotated[int, _parsed(parse_uint, str, int)]
Int = Annotated[int, _parsed(parse_int, str, int)]
Multiplier = Annotated[Fraction, _parsed(_multiplier, str)]
MeterCode = Annotated[str, _parsed(normalize_code, str)]


class Part(BaseModel):
    """A part of a term: what it does not know is refused, for it would be ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class FixedV2(Part):
    """The price is `numerator_xusd` for `denominator_minor`, whatever it was."""

    op: Literal["fixed"]
    numerator_xusd: UIntText
    denominator_minor: PosIntText


class DeltaV2(Part):
    """`numerator_xusd` for `denominator_minor` is added; below 0, taken off."""

    op: Literal["delta"]
    numerator_xusd: IntText
    denominator_minor: PosIntText


class MultiplierV2(Part):
    """The price is multiplied, exactly."""

    op: Literal["multiplier"]
    multiplier: Multiplier


class FixedV1(Part):
    """The price is `unit_price_xusd` for the side's unit quantity."""

    op: Literal["fixed"]
    unit_price_xusd: UInt


class DeltaV1(Part):
    """`delta_xusd` is added to the price of the side's unit quantity."""

    op: Literal["delta"]
    delta_xusd: Int


class MultiplierV1(Part):
    """The price is multiplied and rounded to whole XUSD."""

    op: Literal["multiplier"]
    multiplier: Multiplier
    rounding: Rounding = "nearest"


AdjustmentV2 = Annotated[FixedV2 | DeltaV2 | MultiplierV2, Field(discriminator="op")]
AdjustmentV1 = Annotated[FixedV1 | DeltaV1 | MultiplierV1, Field(discriminator="op")]
AdjustmentsV2 = Annotated[
    list[AdjustmentV2], BeforeValidator(_or_none), Field(max_length=MAX_ADJUSTMENTS)
]
AdjustmentsV1 = Annotated[
    list[AdjustmentV1], BeforeValidator(_or_none), Field(max_length=MAX_ADJUSTMENTS)
]


class CostSideV2(Part):
    """What the meter costs us: where the calculation starts, and what follows."""

    base: Literal["catalog_cost", "catalog_price"] | None = None
    adjustments: AdjustmentsV2 = []


class PriceSideV2(Part):
    """What the customer pays; `resolved_cost` is what the cost side comes to."""

    base: Literal["catalog_price", "catalog_cost", "resolved_cost"] | None = None
    adjustments: AdjustmentsV2 = []


class CostSideV1(Part):
    """The same in whole XUSD for the cost's unit quantity."""

    base: Literal["unit_cost_xusd", "unit_price_xusd"] | None = None
    adjustments: AdjustmentsV1 = []


class PriceSideV1(Part):
    """The same in whole XUSD for the price's unit quantity; `cost` is as resolved."""

    base: Literal["unit_price_xusd", "unit_cost_xusd", "cost"] | None = None
    adjustments: AdjustmentsV1 = []


class PricingV2(Part):
    """`billing/contract_pricing:v2`. A side that is left out stays the catalog's."""

    schema_: Literal["billing/contract_pricing:v2"] = Field(alias="schema")
    meter_code: MeterCode
    cost: CostSideV2 | None = None
    price: PriceSideV2 | None = None


class PricingV1(Part):
    """`vluna/contract_pricing:v1`. A side that is left out stays the catalog's."""

    schema_: Literal["vluna/contract_pricing:v1"] = Field(alias="schema")
    meter_code: MeterCode | None = None
    cost: CostSideV1 | None = None
    price: PriceSideV1 | None = None


Pricing = PricingV1 | PricingV2
_MODELS: Mapping[Any, type[PricingV1] | type[PricingV2]] = {
    SCHEMA_V1: PricingV1,
    SCHEMA_V2: PricingV2,
}


def read_pricing(value: Any, term_key: str, field: str = "value_json") -> Pricing:
    """Return what a pricing term says of the meter `term_key`.

    Refuses (`Invalid`, on the dotted path below `field`) what is no object, another
    schema, keys it does not know, values outside their rules or 64 bits, more than 20
    adjustments to a side, and another `meter_code` than the term's key.
    """
    if not isinstance(value, dict):
        raise Invalid(f"{field} must be a JSON object.", field=field)
    schema = value.get("schema")
    model = _MODELS.get(schema) if isinstance(schema, str) else None
    if model is None:
        raise Invalid(
            f"{field}.schema must be {SCHEMA_V2} or {SCHEMA_V1}.",
            field=f"{field}.schema",
        )
    try:
        pricing = model.model_validate(value)
    except ValidationError as refusal:
        raise _invalid(refusal.errors(include_url=False), field) from None
    if pricing.meter_code not in {None, term_key}:
        raise Invalid(
            f"{field}.meter_code must be the term's key, {term_key}.",
            field=f"{field}.meter_code",
        )
    return pricing


def _invalid(details: list[ErrorDetails], field: str) -> Invalid:
    errors = [
        (place, f"{place} {_predicate(detail)}")
        for detail in details[:MAX_ERRORS]
        for place in [_place(detail, field)]
    ]
    path, sentence = errors[0]
    return Invalid(sentence, field=path, meta={"errors": errors})


def _place(detail: ErrorDetails, field: str) -> str:
    """Return the path to a fault; the adjustment's `op` is no step of the document."""
    steps = detail["loc"]
    kept = [
        step
        for at, step in enumerate(steps)
        if not (at and isinstance(steps[at - 1], int))
    ]
    return path_text(field, kept)


def _predicate(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "rule":
        return str(context["sentence"])
    if detail["type"] == "literal_error":
        return f"must be one of {context['expected'].replace(chr(39), '')}."
    return _PREDICATES.get(detail["type"], "must be a JSON object.")
