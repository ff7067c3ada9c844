"""The types of known metadata keys: strict, and refusing with plain predicates.

Each type is a pydantic annotation. `null` stands for an absent key wherever the key
is optional. A value that breaks its rule raises a pydantic error of the type `rule`,
whose sentence lacks its subject ("must not be blank"): the checker puts the path of
the key in front of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from config.kernel.codes import normalize_code, normalize_key
from config.kernel.errors import Invalid
from config.kernel.ids import parse_uuid
from config.kernel.money import parse_int, parse_uint
from config.kernel.windows import parse_instant

KindName = Literal[
    "boolean",
    "choice",
    "code",
    "instant",
    "integer",
    "key",
    "list",
    "object",
    "seat_limit",
    "text",
    "uuid",
    "xusd",
]

MAX_LABEL_LENGTH = 255
MAX_TEXT_LENGTH = 1_000
MAX_INT32 = 2**31 - 1
MAX_DAYS = 36_525
MAX_SECONDS = MAX_DAYS * 86_400


@dataclass(frozen=True, slots=True)
class Kind:
    """Names a known key's type for those who build forms out of a contract."""

    name: KindName


class Contract(BaseModel):
    """The known keys of one metadata object; unknown keys are not in the model."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


def known(description: str, *, default: object = None) -> Any:
    """Return the field of an optional key, with its sentence for people."""
    return Field(default=default, description=description)


def rule_broken(predicate: str, *at: str | int) -> PydanticCustomError:
    """Return the error of a value that breaks its rule.

    `predicate` is the sentence without its subject; `at` is the place of the fault
    below the value that the validator saw.
    """
    return PydanticCustomError(
        "rule", "{predicate}", {"predicate": predicate, "at": at}
    )


def _rule(parse: Callable[[object, str], object], *, required: bool = False) -> Any:
    """Return the validator that applies a kernel parser and keeps its predicate."""

    def validate(value: object) -> object:
        if value is None and not required:
            return None
        try:
            return parse(value, "")
        except Invalid as refusal:
            raise rule_broken(refusal.message.strip().rstrip(".")) from refusal

    return PlainValidator(validate)


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{field} must be a string.")
    if not value.strip():
        raise Invalid(f"{field} must not be blank.")
    if len(value) > MAX_TEXT_LENGTH:
        raise Invalid(f"{field} must have at most {MAX_TEXT_LENGTH} characters.")
    return value


def _label(value: object, field: str) -> str:
    label = _text(value, field).strip()
    if len(label) > MAX_LABEL_LENGTH:
        raise Invalid(f"{field} must have at most {MAX_LABEL_LENGTH} characters.")
    if not label.isprintable():
        raise Invalid(f"{field} must not contain control characters.")
    return label


def _uuid(value: object, field: str) -> UUID:
    parsed = parse_uuid(value)
    if parsed is None:
        raise Invalid(f"{field} must be a UUID of 36 characters.")
    return parsed


def _target_code(value: object, field: str) -> str:
    return "*" if value == "*" else normalize_code(value, field)


def _within(
    minimum: int, maximum: int, *, digits: bool = False
) -> Callable[[object, str], int]:
    """Return a parser of whole numbers in a range; `digits` admits digit strings."""

    def parse(value: object, field: str) -> int:
        if type(value) is not int and not (digits and isinstance(value, str)):
            raise Invalid(f"{field} must be a whole number.")
        number = parse_int(value, field)
        if not minimum <= number <= maximum:
            raise Invalid(f"{field} must lie between {minimum} and {maximum}.")
        return number

    return parse


def _object_or_empty(value: object) -> object:
    return {} if value is None else value


# Stands before a nested contract: a null object is an empty one.
NULL_IS_EMPTY = BeforeValidator(_object_or_empty)

_ChoiceT = TypeVar("_ChoiceT")

Choice = Annotated[_ChoiceT | None, Kind("choice")]
Flag = Annotated[bool | None, Kind("boolean")]
JsonObject = Annotated[dict[str, Any] | None, Kind("object")]
Code = Annotated[str | None, _rule(normalize_code), Kind("code")]
TargetCode = Annotated[str | None, _rule(_target_code), Kind("code")]
Key = Annotated[str | None, _rule(normalize_key), Kind("key")]
RequiredKey = Annotated[str, _rule(normalize_key, required=True), Kind("key")]
Label = Annotated[str | None, _rule(_label), Kind("text")]
Text = Annotated[str | None, _rule(_text), Kind("text")]
Instant = Annotated[datetime | None, _rule(parse_instant), Kind("instant")]
Uuid = Annotated[UUID | None, _rule(_uuid), Kind("uuid")]
Xusd = Annotated[int | None, _rule(parse_uint), Kind("xusd")]
Priority = Annotated[int | None, _rule(_within(-MAX_INT32, MAX_INT32)), Kind("integer")]
Sequence = Annotated[int | None, _rule(_within(0, MAX_INT32)), Kind("integer")]
Days = Annotated[int | None, _rule(_within(1, MAX_DAYS)), Kind("integer")]
Seconds = Annotated[int | None, _rule(_within(1, MAX_SECONDS)), Kind("integer")]
GraceSeconds = Annotated[int | None, _rule(_within(0, MAX_SECONDS)), Kind("integer")]
Seats = Annotated[
    int | None, _rule(_within(0, MAX_INT32, digits=True)), Kind("integer")
]
