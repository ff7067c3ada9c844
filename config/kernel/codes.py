r"""Codes: the names that integrators give to features, meters, plans and bundles.

One spelling per code: trimmed, NFC, lower case; 1 to 128 characters out of a-z, 0-9
and `. _ / @ : -`. Two sorts exist and differ in their ends only:

- codes (feature, feature family, meter, term key) begin and end with a letter or
  digit;
- keys (bundle key, grant program code, group key) may also begin and end with `_`, as
  `__default_bundle__` does.

A plan code is neither: integrators bring their own, so it keeps its upper and lower
case (and no two differ in that alone).

`CODE_PATTERN` and `KEY_PATTERN` mean the same in Python and in PostgreSQL's `~`: both
anchor with `\A` and `\Z`, because Python's `$` would let a final newline pass.
"""

import re
import unicodedata

from config.kernel.errors import Invalid

MAX_CODE_LENGTH = 128
CODE_PATTERN = r"\A[a-z0-9](?:[a-z0-9._/@:-]{0,126}[a-z0-9])?\Z"
KEY_PATTERN = r"\A[a-z0-9_](?:[a-z0-9._/@:-]{0,126}[a-z0-9_])?\Z"
_CODE = re.compile(CODE_PATTERN)

_INNER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._/@:-")
_CODE_ENDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_KEY_ENDS = _CODE_ENDS | {"_"}


def normalize_code(text: object, field: str) -> str:
    """Return the one spelling of a code: trimmed, NFC, lower case.

    For feature, feature family and meter codes and term keys. Refuses, with Invalid
    on `field`: what is not a string, blanks, more than 128 characters, a character
    outside a-z 0-9 . _ / @ : - and a first or last one that is no letter or digit.
    The sentence names the character and its position.
    """
    if isinstance(text, str) and is_code(text):
        return text
    return _normalize(text, field, _CODE_ENDS, "a letter or digit")


def normalize_key(text: object, field: str) -> str:
    """Return the one spelling of a key: a code that may begin and end with `_`.

    For bundle keys, grant program codes and subscription group keys.
    Refuses what `normalize_code` refuses, except an underscore at the ends.
    """
    return _normalize(text, field, _KEY_ENDS, "a letter, digit or underscore")


def is_code(text: str) -> bool:
    """Return whether `text` is already a code in its one spelling."""
    return _CODE.search(text) is not None


def is_key(text: str) -> bool:
    """Return whether `text` is already a key in its one spelling."""
    return re.search(KEY_PATTERN, text) is not None


def _normalize(text: object, field: str, ends: frozenset[str], ends_rule: str) -> str:
    if not isinstance(text, str):
        raise Invalid(f"{field} must be a string.", field=field)
    trimmed = text.strip()
    if not trimmed:
        raise Invalid(f"{field} must not be blank.", field=field)
    # Before NFC, whose cost grows with the square of a run of combining marks; no
    # allowed character is composed of several, so NFC cannot make a code shorter.
    if len(trimmed) > MAX_CODE_LENGTH:
        raise Invalid(
            f"{field} must have at most {MAX_CODE_LENGTH} characters; it has "
            f"{len(trimmed)}.",
            field=field,
        )
    code = unicodedata.normalize("NFC", trimmed).lower()
    for position, character in enumerate(code, start=1):
        if character not in _INNER:
            raise Invalid(
                f"{field} must not contain {_name(character)}, at position "
                f"{position}; allowed are a-z, 0-9 and the signs . _ / @ : and -.",
                field=field,
            )
    for character, place in ((code[0], "begin"), (code[-1], "end")):
        if character not in ends:
            raise Invalid(
                f"{field} must {place} with {ends_rule}, not with {_name(character)}.",
                field=field,
            )
    return code


def _name(character: str) -> str:
    """Return how to show a character that may be invisible or reverse the text."""
    point = f"U+{ord(character):04X}"
    if character.isascii() and character.isprintable() and character != " ":
        return f"'{character}' ({point})"
    return f"the character {point}"
