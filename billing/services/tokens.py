"""Issuing platform tokens."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from billing.models import BillingUser, PlatformToken
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.ids import new_id
from config.tenancy.models import Realm

TTL_SECONDS = 900
MIN_TTL_SECONDS, MAX_TTL_SECONDS = 60, 3600
GRANTABLE = ("checkout", "portal")


def issued_before(
    *, realm: Realm, service_key_id: str, idempotency_key: str, request: bytes
) -> PlatformToken | None:
    """Return the token that this idempotency key stands for, None where it is new.

    For the edge, before it looks at account and user: the repeat of a success is the
    same success. Refuses (`Conflict`) a key that stands for another `request` body.
    """
    stored = (
        PlatformToken.objects.in_realm(realm)
        .filter(service_key_id=service_key_id, idempotency_key=idempotency_key)
        .first()
    )
    if stored is not None:
        _check_request(stored, hashlib.sha256(request).digest())
    return stored


@transaction.atomic
def issue_token(
    *,
    user: BillingUser,
    service_key_id: str,
    scopes: list[str] | None,
    ttl_seconds: int,
    traits: dict[str, Any],
    nonce: str | None,
    request: bytes,
    at: datetime,
    by: AuditContext,
) -> PlatformToken:
    """Record a token for a user and return its claims, for the edge to sign.

    `scopes` are those of `checkout` and `portal` asked for (None: both; others are
    ignored); `ttl_seconds` is clamped to 60 to 3600. The same idempotency key gives
    the same claims; with another `request` body it is refused (`Conflict`).
    """
    ttl = timedelta(seconds=min(max(ttl_seconds, MIN_TTL_SECONDS), MAX_TTL_SECONDS))
    token_id = new_id()
    granted = [scope for scope in GRANTABLE if scopes is None or scope in scopes]
    expires_at = at + ttl
    token = PlatformToken(
        id=token_id,
        realm_id=user.realm_id,
        account=user.account,
        user=user,
        service_key_id=service_key_id,
        idempotency_key=by.idempotency_key or str(token_id),
        request_hash=hashlib.sha256(request).digest(),
        claims=_claims(user, granted, traits, nonce, str(token_id), at, expires_at)
        | {"ib": service_key_id},
        issued_at=at,
        expires_at=expires_at,
    )
    return _recorded(token)


def _recorded(token: PlatformToken) -> PlatformToken:
    """Return the token of this key: this one, or the one that was there before."""
    PlatformToken.objects.bulk_create([token], ignore_conflicts=True)
    stored = PlatformToken.objects.in_realm(token.realm_id).get(
        service_key_id=token.service_key_id, idempotency_key=token.idempotency_key
    )
    _check_request(stored, bytes(token.request_hash))
    return stored


def _check_request(stored: PlatformToken, request_hash: bytes) -> None:
    if bytes(stored.request_hash) != request_hash:
        raise Conflict(
            "This Idempotency-Key was used with another body.",
            code="WRITE.INVALID_PAYLOAD",
        )


def _claims(
    user: BillingUser,
    granted: list[str],
    traits: dict[str, Any],
    nonce: str | None,
    token_id: str,
    at: datetime,
    expires_at: datetime,
) -> dict[str, Any]:
    may_write = "checkout" in granted
    claims = {
        "sub": user.business_user_id,
        "scope": "billing:read billing:write" if may_write else "billing:read",
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "billing_principal_id": user.account.billing_principal_id,
        "business_user_id": user.business_user_id,
        "plt_scopes": granted,
        "plt_traits": traits,
        "jti": token_id,
        "iat": int(at.timestamp()),
        "exp": int(expires_at.timestamp()),
    }
    return {**claims, "nonce": nonce} if nonce else claims
