"""What the wire models of this app are made of, beyond `config.api.wire`."""

from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from catalog.models.meters import MAX_SCALE
from config.api.wire import MAX_REFERENCE, Name, whole


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

Scale = Annotated[int, Field(strict=True, ge=0, le=MAX_SCALE), BeforeValidator(whole)]
