"""Requests as bytes, signed as a service signs them, ready to be sent."""

import secrets
from dataclasses import dataclass
from typing import NamedTuple

from config.kernel.clock import now
from config.kernel.windows import format_instant
from config.tenancy import signing

CONTENT_TYPE = "application/json"


class CallerOf(NamedTuple):
    """Whom a request acts for, by the product's own ids."""

    principal_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Signer:
    """Writes the requests of one service key in one realm."""

    host: str
    realm_id: str
    key_id: str
    secret: bytes

    def post(
        self, path: str, body: bytes, caller: CallerOf, *, idempotency_key: str
    ) -> bytes:
        """Return a signed POST of `body`, good for 300 seconds from now."""
        headers = {
            "content-digest": signing.content_digest(body),
            "content-type": CONTENT_TYPE,
            "x-realm-id": self.realm_id,
            "x-principal-id": caller.principal_id,
            "x-user-id": caller.user_id,
            "idempotency-key": idempotency_key,
        }
        unsigned = signing.Credentials(
            self.key_id, "", format_instant(now()), secrets.token_hex(16)
        )
        text = signing.signed_text(
            method="POST", path_and_query=path, credentials=unsigned, headers=headers
        )
        proof = (
            f"keyId={self.key_id},sig={signing.sign(self.secret, text)},"
            f"ts={unsigned.ts},nonce={unsigned.nonce},alg=HMAC-SHA256"
        )
        lines = [
            f"POST {path} HTTP/1.1",
            f"host: {self.host}",
            f"content-length: {len(body)}",
            f"authorization: SVC-AUTH {proof}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
