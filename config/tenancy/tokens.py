"""Platform tokens: short-lived JWTs that let an end user's app call `/api/v1`."""

import hashlib
import hmac
from datetime import datetime
from typing import Any

import jwt
from django.conf import settings

from config.kernel.errors import Forbidden, Unauthenticated
from config.tenancy.models import Realm

VERSION = 1
ALGORITHM = "HS256"
_REQUIRED = [
    "exp", "iat", "iss", "aud", "sub", "scope", "realm_id", "jti",
    "billing_account_id", "billing_user_id", "billing_principal_id",
    "business_user_id",
]  # fmt: skip


def _secret(realm_id: str) -> bytes:
    label = f"plangate/platform-token\0{realm_id}\0{VERSION}".encode()
    return hmac.new(settings.MASTER_KEY, label, hashlib.sha256).digest()


def _issuer(realm_id: str) -> str:
    return f"{settings.TOKEN_ISSUER}/realms/{realm_id}"


def sign_token(claims: dict[str, Any], realm: Realm) -> str:
    """Return the signed token of `claims`; the same claims give the same token.

    `claims` holds `iat` and `exp` as Unix seconds; issuer, audience, use and version
    are added here.
    """
    return jwt.encode(
        {
            "iss": _issuer(realm.pk),
            "aud": settings.TOKEN_AUDIENCE,
            "realm_id": realm.pk,
            "token_use": "platform",
            "tu": "plt",
            "tv": VERSION,
            **claims,
        },
        _secret(realm.pk),
        algorithm=ALGORITHM,
        headers={"kid": f"plt:v{VERSION}:realm:{realm.pk}"},
    )


def read_token(token: str, realm: Realm, *, at: datetime) -> dict[str, Any]:
    """Return the claims of a valid token of this realm at `at` (aware UTC).

    Refuses a bad signature, issuer, audience or expiry (401 AUTH.UNAUTHORIZED) and a
    genuine token of another realm (403 AUTH.TOKEN_REALM_MISMATCH).
    """
    try:
        named = jwt.decode(token, options={"verify_signature": False}).get("realm_id")
        claims = _verified(token, named if isinstance(named, str) else "")
    except (jwt.PyJWTError, UnicodeError):
        raise Unauthenticated("The platform token is not valid.") from None
    if named != realm.pk:
        raise Forbidden(
            "The token belongs to another realm than X-Realm-Id.",
            code="AUTH.TOKEN_REALM_MISMATCH",
        )
    if type(claims["exp"]) is not int or claims["exp"] <= at.timestamp():
        raise Unauthenticated("The platform token has expired.")
    return claims


def _verified(token: str, realm_id: str) -> dict[str, Any]:
    """Return the claims that a realm signed, whether or not they have run out."""
    claims: dict[str, Any] = jwt.decode(
        token,
        _secret(realm_id),
        algorithms=[ALGORITHM],
        audience=settings.TOKEN_AUDIENCE,
        issuer=_issuer(realm_id),
        # The reader judges the expiry, against the instant the edge read.
        options={
            "require": _REQUIRED,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        },
    )
    return claims
