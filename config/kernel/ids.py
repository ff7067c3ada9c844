"""Identifiers made by the application: a row has its place before it is stored."""

import secrets
import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """Return a UUIDv7: unique everywhere, ordered by creation time (RFC 9562 §5.7)."""
    return uuid.UUID(int=uuid7().int)


def new_trace_id() -> str:
    """Return 32 lower-case hex digits, the W3C trace-id form."""
    return secrets.token_hex(16)


def parse_uuid(text: object) -> uuid.UUID | None:
    """Return the UUID that `text` spells in canonical form, or None.

    Accepts only the 36-character form, so that one id has one spelling.
    """
    if not isinstance(text, str) or len(text) != 36:  # noqa: PLR2004
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
