"""Proof of identity for API requests: signed service keys and bearer tokens."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.http import HttpRequest

from config.kernel.clock import now
from config.kernel.errors import (
    DomainError,
    Forbidden,
    Malformed,
    NotFound,
    Unauthenticated,
)
from config.kernel.ids import parse_uuid
from config.tenancy import signing
from config.tenancy.callers import Bindings, Caller
from config.tenancy.headers import header, header_any_length
from config.tenancy.models import (
    Realm,
    RealmStatus,
    ServiceKey,
    ServiceKeyNonce,
    ServiceKeyStatus,
)
from config.tenancy.remembered import remembered
from config.tenancy.signed_requests import bad_signature, check_signature
from config.tenancy.tokens import read_token

NONCE_KEPT = timedelta(seconds=600)
USE_NOTED_EVERY = timedelta(minutes=1)


def realm_of(request: HttpRequest) -> Realm:
    """Return the active realm that `X-Realm-Id` names.

    Refuses: absent 400, unknown or deleted 404 AUTH.UNKNOWN_REALM, suspended 403
    AUTH.REALM_INACTIVE.
    """
    realm_id = _realm_id(request)
    return _usable_realm(realm_id, Realm.objects.filter(pk=realm_id).first())


def _realm_id(request: HttpRequest) -> str:
    realm_id = header(request, "X-Realm-Id")
    if not realm_id:
        raise Malformed(
            "missing_realm: send the X-Realm-Id header.", field="X-Realm-Id"
        )
    return realm_id


def _usable_realm(realm_id: str, realm: Realm | None) -> Realm:
    if realm is None or realm.status == RealmStatus.DELETED:
        raise NotFound(
            f"There is no realm {realm_id}.",
            code="AUTH.UNKNOWN_REALM",
            meta={"realm_id": realm_id, "clear_cached_realm": True},
        )
    if realm.status != RealmStatus.ACTIVE:
        raise Forbidden(
            f"realm_inactive: realm {realm_id} is suspended.",
            code="AUTH.REALM_INACTIVE",
        )
    return realm


def _bindings(request: HttpRequest) -> Bindings:
    return Bindings(
        principal_id=header(request, "X-Principal-Id") or None,
        user_id=header(request, "X-User-Id") or None,
        billing_account_id=header(request, "X-Billing-Account-Id") or None,
        billing_user_id=header(request, "X-Billing-User-Id") or None,
    )


def authenticate_service_key(request: HttpRequest) -> Caller:
    """Return the caller that signed this request.

    Refuses in this order (docs/api.md, "Signing"): header grammar (a valid
    platform token 403), unknown key, disabled key, expired key, realm, account, clock
    skew over 300 s, digest, signature.
    """
    realm = realm_of(request)
    authorization = header_any_length(request, "Authorization")
    credentials = signing.parse_authorization(authorization)
    if credentials is None:
        _refuse_token(request, authorization)
        raise bad_signature("The Authorization header is not a SVC-AUTH signature.")
    key = ServiceKey.objects.filter(pk=credentials.key_id).first()
    return _authenticated(request, credentials, realm, key)


def authenticate_from_memory(request: HttpRequest) -> Caller:
    """Return the caller that signed this request, by remembered credentials.

    Its `version` must be found to be current by what acts for it
    (`config.tenancy.remembered`). What memory would refuse is read and judged again;
    refuses as `authenticate_service_key` does.
    """
    authorization = header_any_length(request, "Authorization")
    credentials = signing.parse_authorization(authorization)
    if credentials is not None:
        try:
            known = remembered(header(request, "X-Realm-Id"), credentials.key_id)
            realm = _usable_realm(known.realm.pk, known.realm)
            caller = _authenticated(request, credentials, realm, known.key)
            return replace(caller, version=known.version)
        except (DomainError, ObjectDoesNotExist):
            pass
    return authenticate_service_key(request)


def _authenticated(
    request: HttpRequest,
    credentials: signing.Credentials,
    realm: Realm,
    stored: ServiceKey | None,
) -> Caller:
    at = now()
    key = _usable_key(stored, realm, at=at)
    bindings = _bindings(request)
    caller = Caller(
        kind="service_key",
        identifier=key.pk,
        realm=realm,
        scopes=frozenset(key.scopes),
        bindings=bindings,
        allowed_accounts=frozenset(key.allowed_accounts),
        nonce=credentials.nonce,
    )
    claimed = bindings.billing_account_id
    if claimed and not caller.may_use_account(parse_uuid(claimed)):
        raise account_forbidden()
    check_signature(request, credentials, key, at=at)
    _note_use(key, at=at)
    return caller


def _refuse_token(request: HttpRequest, authorization: str) -> None:
    """Refuse (403) a valid platform token: its bearer is known, and may not."""
    if authorization.startswith("Bearer "):
        try:
            authenticate_token(request)
        except Unauthenticated:
            return
        raise Forbidden(
            "A platform token opens /api/v1 only; sign this request with a service key."
        )


def account_forbidden() -> DomainError:
    """Return the refusal of an account outside the key's list."""
    return Forbidden(
        "This service key is not allowed to act for that billing account.",
        code="AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN",
    )


def _usable_key(key: ServiceKey | None, realm: Realm, *, at: datetime) -> ServiceKey:
    if key is None:
        raise Unauthenticated(
            "No service key by that id.", code="AUTH.SERVICE_KEY_NOT_FOUND"
        )
    if key.status != ServiceKeyStatus.ACTIVE:
        raise Forbidden(
            "This service key is disabled.", code="AUTH.SERVICE_KEY_DISABLED"
        )
    if key.is_expired(at=at):
        raise Forbidden(
            "This service key has expired.", code="AUTH.SERVICE_KEY_EXPIRED"
        )
    if realm.pk not in key.allowed_realms:
        raise Forbidden(
            f"This service key may not act in realm {realm.pk}.",
            code="AUTH.SERVICE_KEY_REALM_FORBIDDEN",
        )
    return key


def _note_use(key: ServiceKey, *, at: datetime) -> None:
    if key.last_used_at is None or at - key.last_used_at > USE_NOTED_EVERY:
        ServiceKey.objects.filter(pk=key.pk).update(last_used_at=at)
        key.last_used_at = at


def spend_nonce(caller: Caller, *, at: datetime) -> None:
    """Refuse (401) a signed request seen before; remember this one for 600 s.

    For reads only: a repeated write is answered from its idempotency key, which
    makes the repeat harmless.
    """
    if caller.nonce is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {ServiceKeyNonce._meta.db_table} (key_id, nonce, seen_at) "  # noqa: S608
            "VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [caller.identifier, caller.nonce, at],
        )
        if cursor.rowcount == 0:
            raise bad_signature("This signed request was already used (same nonce).")


def authenticate_token(request: HttpRequest) -> Caller:
    """Return the end user whose platform token this request bears.

    Refuses: absent or invalid token 401, another realm's token 403
    AUTH.TOKEN_REALM_MISMATCH.
    """
    realm = realm_of(request)
    scheme, _, text = header_any_length(request, "Authorization").partition(" ")
    if scheme != "Bearer" or not text:
        raise Unauthenticated("Send a platform token: Authorization: Bearer ….")
    claims: dict[str, Any] = read_token(text, realm, at=now())
    return Caller(
        kind="token",
        identifier=claims["sub"],
        realm=realm,
        scopes=frozenset(str(claims["scope"]).split()),
        bindings=Bindings(
            principal_id=claims["billing_principal_id"],
            user_id=claims["business_user_id"],
            billing_account_id=claims["billing_account_id"],
            billing_user_id=claims["billing_user_id"],
        ),
    )
