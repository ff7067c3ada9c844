"""A test client for signed requests, using the official client's own signer."""

import json
import secrets

from django.test import Client
from vlunaai.core.auth.service_key import ServiceKeyAuth, ServiceKeyCredentials

from config.tenancy.services.service_keys import secret_text

JSON = "application/json; charset=utf-8"


class SignedClient:
    """Calls `/mgt/v1` in-process, as one service key; bindings are headers."""

    def __init__(self, realm, key, **bindings):
        self.realm = realm
        self.key = key
        self.bindings = bindings
        self.signer = ServiceKeyAuth(
            ServiceKeyCredentials(key.key_id, secret_text(key))
        )
        self.client = Client(raise_request_exception=False)

    def bound(self, **bindings):
        """Return the same client acting for principal_id, user_id, billing_account_id."""
        return SignedClient(self.realm, self.key, **bindings)

    def get(self, path, key=None, **query):
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.request("GET", path + (f"?{text}" if text else ""), None, key)

    def post(self, path, document=None, key=None):
        return self.request("POST", path, document, key)

    def patch(self, path, document=None, key=None):
        return self.request("PATCH", path, document, key)

    def delete(self, path, key=None):
        return self.request("DELETE", path, None, key)

    def request(self, method, path, document=None, key=None, raw=None, headers=None):
        """Send one signed request; `raw` sends those body bytes as they are."""
        path = path if path.startswith("/") else f"/mgt/v1/{path}"
        body = (
            raw
            if raw is not None
            else b""
            if document is None
            else json.dumps(document).encode()
        )
        signed = self.sign(method, path, body, key)
        signed.update(headers or {})
        content_type = signed.pop("content-type", JSON)
        return self.client.generic(
            method, path, body, content_type, headers=signed, CONTENT_TYPE=content_type
        )

    def sign(self, method, path, body, key=None):
        """Return the signed headers of a request."""
        return self.signer.sign(
            method=method,
            url=f"http://testserver{path}",
            body=body.decode("utf-8", "surrogateescape") if _is_text(body) else None,
            idempotency_key=key or secrets.token_hex(16),
            realm_id=self.realm.pk,
            **self.bindings,
        ) | ({} if _is_text(body) else {"content-digest": _digest(body)})


def _is_text(body):
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _digest(body):
    from config.tenancy.signing import content_digest

    return content_digest(body)
