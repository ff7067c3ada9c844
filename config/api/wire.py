"""The types of the wire: strict, so that what is accepted is what was meant."""

import unicodedata
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid
from config.kernel.ids import parse_uuid
from config.kernel.money import parse_int, parse_posint, parse_uint
from config.kernel.windows import parse_instant

MAX_TEXT = 1024
MAX_REFERENCE = 255
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})


def _refusing(read: Callable[..., Any], *args: Any) -> Callable[[Any], Any]:
    """Return a validator that tells a kernel refusal as a field error."""

    def validate(value: Any) -> Any:
        try:
            return read(value, *args)
        except Invalid as error:
            raise PydanticCustomError("refused", "{sentence}", {
                "sentence": error.message,
            }) from None  # fmt: skip

    return validate


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise Invalid("An instant is text such as 2026-01-31T00:00:00Z.")
    return parse_instant(value)


def _uuid(value: Any) -> uuid.UUID:
    found = value if isinstance(value, uuid.UUID) else parse_uuid(value)
    if found is None:
        raise Invalid("An id is a UUID of 36 characters.")
    return found


def _is_plain(text: str) -> bool:
    """Return whether it is of printable ASCII: in NFC, and with nothing invisible."""
    return text.isascii() and text.isprintable()


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise Invalid("Expected text.")
    plain = _is_plain(value)
    text = (value if plain else unicodedata.normalize("NFC", value)).strip()
    if not text:
        raise Invalid("Must not be blank.")
    if len(text) > longest:
        raise Invalid(f"{len(text)} characters; the most is {longest}.")
    if not plain and any(unicodedata.category(c) in _INVISIBLE for c in text):
        raise Invalid("Must not hold control or invisible formatting characters.")
    return text


def _token(value: Any) -> str:
    text = _text(value, 128)
    if len(text.split()) > 1:
        raise Invalid("Must not hold spaces.")
    return text


def _prose(value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid("Expected text.")
    if len(value) > MAX_TEXT * 4:
        raise Invalid(f"{len(value)} characters; the most is {MAX_TEXT * 4}.")
    if "\0" in value:
        raise Invalid("A NUL character cannot be stored.")
    return value


def _reason(value: Any) -> str:
    text = _prose(value).strip()
    if not text:
        raise Invalid("Must not be blank.")
    return text


def whole(value: Any) -> Any:
    """Return 2 for 2.0: a client whose model says "number" sends a float."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value


def _text_schema(longest: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": longest})


def _digits_schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


_as_text = PlainSerializer(str, return_type=str)

Instant = Annotated[
    datetime,
    BeforeValidator(_refusing(_instant)),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Id = Annotated[
    uuid.UUID,
    BeforeValidator(_refusing(_uuid)),
    _as_text,
    WithJsonSchema({"type": "string", "format": "uuid"}),
]
Code = Annotated[
    str,
    BeforeValidator(_refusing(normalize_code, "code")),
    _text_schema(128),
]
PlanCode = Annotated[str, BeforeValidator(_refusing(_token)), _text_schema(128)]
Name = Annotated[
    str, BeforeValidator(_refusing(_text, MAX_REFERENCE)), _text_schema(MAX_REFERENCE)
]
UserRef = Annotated[str, BeforeValidator(_refusing(_text, 512)), _text_schema(512)]
Reference = Annotated[
    str, BeforeValidator(_refusing(_text, MAX_REFERENCE)), _text_schema(MAX_REFERENCE)
]
Prose = Annotated[str, BeforeValidator(_refusing(_prose)), Field(max_length=4096)]
Reason = Annotated[str, BeforeValidator(_refusing(_reason)), _text_schema(MAX_TEXT * 4)]
"""Prose that says something."""
UInt = Annotated[
    int,
    BeforeValidator(_refusing(parse_uint, "value")),
    _as_text,
    _digits_schema("^(0|[1-9][0-9]{0,18})$"),
]
PosInt = Annotated[
    int,
    BeforeValidator(_refusing(parse_posint, "value")),
    _as_text,
    _digits_schema("^[1-9][0-9]{0,18}$"),
]
SignedInt = Annotated[
    int,
    BeforeValidator(_refusing(parse_int, "value")),
    _as_text,
    _digits_schema("^-?(0|[1-9][0-9]{0,18})$"),
]
SmallInt = Annotated[
    int, Field(strict=True, ge=-(2**31), le=2**31 - 1), BeforeValidator(whole)
]
Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), BeforeValidator(whole)]
Flag = Annotated[bool, Field(strict=True)]
"""A JSON boolean, and nothing that merely looks like one."""
JsonObject = Annotated[
    dict[str, Any],
    Field(strict=True),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise Invalid("A label is text, a number, or true or false.")
    return str(value)


def _labels(value: dict[str, str]) -> dict[str, str]:
    kept = {
        key.strip()[:64]: text.strip()[:256]
        for key, text in value.items()
        if key.strip() and text.strip()
    }
    if len(kept) > 50:  # noqa: PLR2004 - the limit and its sentence stand together.
        raise PydanticCustomError("refused", "At most 50 labels.")
    return kept


Labels = Annotated[
    dict[str, Annotated[str, BeforeValidator(_refusing(_label))]],
    AfterValidator(_labels),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
"""Text by name. Numbers and truth values become text as JSON writes them."""


def omitted() -> Any:
    """Return the default of a field that may be left out, and may not be null."""
    return Field(default=None, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _yes_or_no(value: Any) -> bool:
    if value not in {"true", "false"}:
        raise PydanticCustomError("refused", "Must be true or false.")
    return bool(value == "true")


def _or_empty(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return "" if isinstance(value, str) and not value.strip() else check(value)


QueryFlag = Annotated[
    bool, BeforeValidator(_yes_or_no), WithJsonSchema({"type": "boolean"})
]
"""`true` or `false` in a query string."""

NameOrEmpty = Annotated[
    Name,
    WrapValidator(_or_empty),
    WithJsonSchema({"type": "string", "maxLength": MAX_REFERENCE}),
]
"""A name; blank means: take the code."""


class WireModel(BaseModel):
    """A body, query or answer. Unknown fields are refused, never silently dropped."""

    model_config = ConfigDict(extra="forbid", strict=False, populate_by_name=True)

    def given(self, *without: str) -> dict[str, Any]:
        """Return the fields the caller sent, by name, less `without` and `audit`."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name in self.model_fields_set and name not in {*without, "audit"}
        }


class AuditFields(WireModel):
    """Who asks for a change, why, under which ticket, effective when."""

    operator: Name | None = None
    reason: Reason | None = None
    ticket_id: Name | None = None
    effective_at: Instant | None = None


class WriteModel(WireModel):
    """A management write: its fields, and an optional `audit` object."""

    audit: AuditFields | None = None


class ListQuery(WireModel):
    """What every list takes."""

    limit: str | None = None
    cursor: str | None = None
