"""A JSON reader that refuses what is ambiguous, endless or not storable.

Refused, each naming the place: duplicate keys, NaN and Infinity, numbers beyond a
double, integers of over 20 digits, nesting deeper than 32, NUL and lone surrogates in
strings, bytes that are not UTF-8, and anything after the document.
"""

import json
import math
import re
from collections import Counter
from itertools import accumulate
from typing import Any, NoReturn

from config.kernel.errors import Malformed

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_INTEGER_CHARACTERS = 20

# One that is never closed goes up to the end: searching on from inside it would take
# time by the square of its length.
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(body: bytes) -> Any:
    """Return the document in `body`. Refuses with `Malformed` (400)."""
    _check_depth(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        raise Malformed(
            f"The body is not valid JSON: {error.msg} at character {error.pos}."
        ) from None
    if "\\u" in text:
        _check_strings(document, "")
    return document


def _check_depth(body: bytes) -> None:
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    brackets = _TEXTS.sub(b"", body).translate(None, _NO_BRACKETS)
    steps = (1 if bracket in b"[{" else -1 for bracket in brackets)
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise Malformed(f"The body nests deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise Malformed(f"The key {twice[:64]!r} appears twice.", field=twice[:64])
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not a JSON number.")


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_CHARACTERS:
        raise Malformed(f"A number of {len(digits)} digits is too large.")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Malformed(f"The number {digits[:32]} is too large.")
    return value


def _check_strings(value: Any, path: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Malformed("A NUL character cannot be stored.", field=path or None)
        if _SURROGATE.search(value):
            raise Malformed("A lone surrogate is not text.", field=path or None)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_strings(key, path)
            _check_strings(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_strings(item, f"{path}.{index}" if path else str(index))
