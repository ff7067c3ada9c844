"""What any metadata document must be, before its known keys are looked at."""

import json
import math
from collections.abc import Iterable

from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX, INT64_MIN

MAX_DEPTH = 16
MAX_BYTES = 64 * 1024

_MAX_SEGMENT = 64

Path = tuple[str | int, ...]


def path_text(field: str, path: Iterable[str | int]) -> str:
    """Return a dotted path such as `metadata.grants.1.amount_xusd`.

    A key in it is cut after 64 characters, and characters that cannot be shown or
    encoded are escaped, so that the path can stand in any response.
    """
    return ".".join([field, *(_segment(str(part)) for part in path)])


def _segment(key: str) -> str:
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}"
        for character in key[:_MAX_SEGMENT]
    )


def check_document(document: object, field: str) -> dict[str, object]:
    """Return `document`, the same object, when it is a JSON object within the limits.

    Refuses, with Invalid on the path at fault: what is not an object with string
    keys; more than 16 levels; more than 64 KiB as compact UTF-8 JSON; NUL or lone
    surrogates in strings; integers beyond 64 bits; NaN and infinities; values that
    JSON does not have.
    """
    if not isinstance(document, dict):
        raise Invalid(f"{field} must be a JSON object.", field=field)
    # Every value takes a byte or more, so the walk also ends on what has no end.
    budget = MAX_BYTES
    rest: list[tuple[object, Path]] = [(document, ())]
    while rest:
        value, path = rest.pop()
        budget -= 1
        if budget < 0:
            raise _too_large(field)
        if isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                raise _refusal(field, path, f"is nested deeper than {MAX_DEPTH} levels")
            rest += _children(field, value, path)
        else:
            problem = _scalar_problem(value)
            if problem:
                raise _refusal(field, path, problem)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_BYTES:
        raise _too_large(field)
    return document


def _children(
    field: str, value: dict[object, object] | list[object], path: Path
) -> Iterable[tuple[object, Path]]:
    if len(value) > MAX_BYTES:
        raise _too_large(field)
    if isinstance(value, list):
        return [(child, (*path, index)) for index, child in enumerate(value)]
    children = []
    for key, child in value.items():
        if not isinstance(key, str):
            raise _refusal(field, path, "must have strings as keys")
        problem = _scalar_problem(key)
        if problem:
            raise _refusal(field, (*path, key), f"as a key {problem}")
        children.append((child, (*path, key)))
    return children


def _scalar_problem(value: object) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text_problem(value)
    if isinstance(value, int):
        fits = INT64_MIN <= value <= INT64_MAX
        return None if fits else "must be an integer of at most 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    return f"must be a JSON value, not {type(value).__name__}"


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "must not contain NUL (U+0000)"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain a lone surrogate"
    return None


def _refusal(field: str, path: Path, problem: str) -> Invalid:
    place = path_text(field, path)
    return Invalid(f"{place} {problem}.", field=place)


def _too_large(field: str) -> Invalid:
    return Invalid(f"{field} must have at most {MAX_BYTES} bytes as JSON.", field=field)
