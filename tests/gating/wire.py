"""Signed calls of the gate over a real connection, to the server or to a proxy."""

import http.client
import json

from config.tenancy.services.service_keys import create_service_key
from tests.tools.signer import RawClient


class WireClient:
    """Signs and sends for one user, each request on a connection of its own."""

    def __init__(self, signer, port):
        self.signer, self.port = signer, port

    @classmethod
    def of(cls, realm, port, *, at, by):
        """Return a client with a key of its own for the realm."""
        return cls(
            RawClient(realm, create_service_key(realm=realm, at=at, by=by)), port
        )

    def bound(self, principal, user):
        named = self.signer.bound(principal_id=principal, user_id=user)
        return WireClient(named, self.port)

    def post(self, path, document, key):
        """Return status and body; None where the connection was cut."""
        path, body = f"/mgt/v1/gate/{path}", json.dumps(document).encode()
        headers = self.signer.signed("POST", path, body, key)
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            wire.request("POST", path, body, headers)
            answer = wire.getresponse()
            status, told = answer.status, answer.read()
            # Headers cut short are read as if they were all, also amid the length.
            json.loads(told)
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            wire.close()
        return status, told
