"""Stored values as people read them: names for choices, UTC for instants."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import models

from config.admin.differences import ABSENT

NOTHING = "—"


@dataclass(frozen=True, slots=True)
class Value:
    """A value to show.

    Attributes:
        text: what to show.
        is_code: whether it is JSON, shown monospaced and indented.
        is_nothing: whether it stands for an absent or empty value.
        detail: the stored id where `text` is a name, else "".

    """

    text: str
    is_code: bool = False
    is_nothing: bool = False
    detail: str = ""


def as_value(value: Any, field: Any = None, row: Any = None) -> Value:
    """Return how to show `value`.

    `field` is the model field it is stored in, which knows its choices; `row` the row
    that holds it, which knows what a foreign key points to. Without a field it is a
    part of a JSON document.
    """
    if value is ABSENT or value is None or value == "":
        return Value(NOTHING, is_nothing=True)
    if isinstance(field, models.ForeignKey):
        return _pointed_at(value, field, row)
    if field is None or isinstance(field, models.JSONField):
        return _json(value)
    return Value(plain(value, dict(field.flatchoices or ())))


def plain(value: Any, choices: dict[Any, Any] | None = None) -> str:
    """Return a value of a column as text."""
    if isinstance(value, list | tuple):
        return ", ".join(plain(item, choices) for item in value) or NOTHING
    if choices and value in choices:
        return str(choices[value])
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, datetime):
        return instant_text(value)
    # No thousands separators: amounts and limits are copied into tickets.
    return str(value)


def instant_text(instant: datetime) -> str:
    """Return an instant as people read it: to the second, in UTC, saying so."""
    utc = instant.astimezone(UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return f"{utc:%Y-%m-%d %H:%M:%S}{fraction} UTC"


def _pointed_at(value: Any, field: "models.ForeignKey[Any, Any]", row: Any) -> Value:
    # Loaded together with the row; a target that is gone is None, not an error.
    target = row._state.fields_cache.get(field.name) if row is not None else None
    if target is None:
        return Value(str(value))
    return Value(str(target), detail=str(value) if str(target) != str(value) else "")


def _json(value: Any) -> Value:
    if isinstance(value, str):
        return Value(json.dumps(value, ensure_ascii=False), is_code=True)
    return Value(json.dumps(value, ensure_ascii=False, indent=2), is_code=True)
