"""The signature of a service-key request: what is signed, and how it is checked.

The caller sends `Authorization: SVC-AUTH keyId=…,sig=…,ts=…,nonce=…,alg=HMAC-SHA256`
and signs twelve lines (docs/api.md, "Signing"). Pure: no Django, no clock.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

_GRAMMAR = re.compile(
    r"SVC-AUTH keyId=(?P<key_id>[A-Za-z0-9._:-]{1,128}),"
    r"sig=(?P<sig>[A-Za-z0-9+/=]{1,128}),"
    r"ts=(?P<ts>[0-9T:.+Z-]{1,40}),"
    r"nonce=(?P<nonce>[0-9A-Fa-f]{16,128}),"
    r"alg=HMAC-SHA256",
    re.ASCII,
)
_SIGNED_HEADERS = (
    "content-digest",
    "content-type",
    "x-realm-id",
    "x-principal-id",
    "x-user-id",
    "x-billing-account-id",
    "x-billing-user-id",
    "idempotency-key",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The parts of a `SVC-AUTH` header, all as sent."""

    key_id: str
    sig: str
    ts: str
    nonce: str


def parse_authorization(header: str) -> Credentials | None:
    """Return the header's parts, or None where it does not match the grammar."""
    match = _GRAMMAR.fullmatch(header)
    return Credentials(**match.groupdict()) if match else None


def content_digest(body: bytes) -> str:
    """Return the `Content-Digest` value of the raw body bytes (RFC 9530)."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return f"sha-256=:{digest}:"


def signed_text(
    *,
    method: str,
    path_and_query: str,
    credentials: Credentials,
    headers: Mapping[str, str],
) -> bytes:
    """Return the bytes to sign: twelve lines joined by LF, none trailing.

    `headers` maps lower-case names to values as sent (UTF-8 text); an absent one
    signs as empty.
    """
    lines = [
        method.upper(),
        path_and_query,
        f"ts:{credentials.ts}",
        f"nonce:{credentials.nonce}",
        *(f"{name}:{headers.get(name, '')}" for name in _SIGNED_HEADERS),
    ]
    return "\n".join(lines).encode()


def sign(secret: bytes, text: bytes) -> str:
    """Return the base64 HMAC-SHA-256 of `text`."""
    return base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()


def is_same(left: str, right: str) -> bool:
    """Compare two ASCII-safe texts in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
