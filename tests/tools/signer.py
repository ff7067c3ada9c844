"""The signature of a request, written a second time from its description.

Tests sign with this where the official client cannot: bodies that are not text, stale
clocks, chosen nonces, altered headers.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from django.test import Client

JSON = "application/json; charset=utf-8"
LINES = (
    "content-digest", "content-type", "x-realm-id", "x-principal-id", "x-user-id", "x-billing-account-id",
    "x-billing-user-id", "idempotency-key",
)  # fmt: skip


def digest(body):
    """Return the `Content-Digest` of a body."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def authorization(secret, key_id, method, path, headers, *, ts=None, nonce=None):
    """Return the Authorization header of a request with these (lower-case) headers."""
    ts = ts or datetime.now(UTC).isoformat()
    nonce = nonce or secrets.token_hex(16)
    lines = [
        method,
        path,
        f"ts:{ts}",
        f"nonce:{nonce}",
        *(f"{name}:{headers.get(name, '')}" for name in LINES),
    ]
    mac = hmac.new(
        secret, "\n".join(lines).encode("utf-8", "surrogateescape"), hashlib.sha256
    ).digest()
    return f"SVC-AUTH keyId={key_id},sig={base64.b64encode(mac).decode()},ts={ts},nonce={nonce},alg=HMAC-SHA256"


class RawClient:
    """Sends requests as they are, signed for one key in one realm.

    With a `token`, those to `/api/v1` bear it instead.
    """

    def __init__(self, realm, key, secret=None, token=None, **bindings):
        from config.tenancy.services.service_keys import secret_of

        self.realm_id, self.key_id = realm.pk, key.key_id
        self.secret = secret or secret_of(key)
        self.token = token
        self.bindings = {
            f"x-{name.replace('_', '-')}": value for name, value in bindings.items()
        }
        self.client = Client(raise_request_exception=False)

    def bound(self, **bindings):
        """Return the same client with other bindings."""
        other = object.__new__(RawClient)
        other.__dict__ = {
            **self.__dict__,
            "bindings": {f"x-{k.replace('_', '-')}": v for k, v in bindings.items()},
        }
        return other

    def signed(
        self, method, path, body=b"", key=None, *, ts=None, nonce=None, **headers
    ):
        """Return the signed headers of a request; given headers replace the usual ones."""
        given = {
            "content-digest": digest(body), "content-type": JSON, "x-realm-id": self.realm_id, **self.bindings,
            "idempotency-key": key or secrets.token_hex(16), **{name.replace("_", "-"): value for name, value in headers.items()},
        }  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        if self.token and path.startswith("/api/v1/"):
            return {**given, "authorization": f"Bearer {self.token}"}
        return {
            **given,
            "authorization": authorization(
                self.secret, self.key_id, method, path, given, ts=ts, nonce=nonce
            ),
        }

    def send(self, method, path, body=b"", headers=None):
        """Send exactly this; return the response."""
        headers = dict(headers or {})
        content_type = headers.pop("content-type", "")
        environ = {"CONTENT_TYPE": content_type} if content_type else {}
        request_headers = {
            name: value.encode().decode("latin-1") for name, value in headers.items()
        }
        return self.client.generic(
            method, path, body, content_type, headers=request_headers, **environ
        )

    def request(self, method, path, body=b"", key=None, **options):
        """Send one correctly signed request."""
        return self.send(
            method, path, body, self.signed(method, path, body, key, **options)
        )
