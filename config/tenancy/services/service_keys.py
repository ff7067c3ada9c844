"""Verbs on service keys, and the derivation of their secrets."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction

from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.ids import parse_uuid
from config.tenancy.history import auditing
from config.tenancy.models import (
    KeyDerivation,
    Realm,
    Scope,
    ServiceKey,
    ServiceKeyStatus,
)
from config.tenancy.services.events import record_event

SECRET_BYTES = 32
SALT_BYTES = 32


def secret_of(key: ServiceKey) -> bytes:
    """Return the 32 secret bytes of a key, derived from the server's master key.

    HKDF-SHA-256 (RFC 5869) or HMAC-SHA-256 over a label, the key id, the environment
    tag and the version, separated by NUL; rotating bumps the version.
    """
    return _derive(
        settings.MASTER_KEY,
        key.kdf_alg,
        bytes(key.kdf_salt),
        f"{key.key_id}\0{key.env_tag}\0{key.kdf_version}",
    )


@lru_cache(maxsize=4096)
def _derive(master: bytes, algorithm: str, salt: bytes, subject: str) -> bytes:
    info = b"plangate/service-key\0" + subject.encode()
    if algorithm == KeyDerivation.HMAC_SHA256:
        return hmac.new(master, salt + b"\0" + info, hashlib.sha256).digest()
    return HKDF(SHA256(), SECRET_BYTES, salt, info).derive(master)


def secret_text(key: ServiceKey) -> str:
    """Return the secret as callers hold it: base64. Shown once, never logged."""
    return base64.b64encode(secret_of(key)).decode()


@transaction.atomic
def create_service_key(
    *,
    realm: Realm,
    name: str = "",
    scopes: list[str] | None = None,
    allowed_accounts: list[str] | None = None,
    expires_at: datetime | None = None,
    at: datetime,
    by: AuditContext,
) -> ServiceKey:
    """Create a key for one realm, with every scope unless told otherwise.

    `expires_at` is aware UTC or None for no expiry; `allowed_accounts` are ids of
    billing accounts of the realm, none meaning any. Refuses (`Invalid`) an expiry in
    the past and what is no account of the realm. The secret is `secret_text(key)`.
    """
    if expires_at is not None and expires_at <= at:
        raise Invalid("The key would already have expired.", field="expires_at")
    key = ServiceKey(
        key_id=f"pk-{secrets.token_hex(12)}",
        name=name,
        allowed_realms=[realm.pk],
        allowed_accounts=_account_ids(allowed_accounts or []),
        scopes=list(Scope.values) if scopes is None else scopes,
        kdf_salt=secrets.token_bytes(SALT_BYTES),
        expires_at=expires_at,
    )
    with auditing(by, at=at):
        key.save(force_insert=True)
        _record("created", key, at=at, by=by)
    return key


def _account_ids(texts: Sequence[str]) -> list[str]:
    """Return ids in the one spelling they are compared in, each once."""
    found = []
    for text in texts:
        account_id = parse_uuid(text)
        if account_id is None:
            raise Invalid(f"{text!r} is no account id.", field="allowed_accounts")
        found.append(str(account_id))
    return list(dict.fromkeys(found))


def _record(what: str, key: ServiceKey, *, at: datetime, by: AuditContext) -> None:
    for realm in Realm.objects.filter(pk__in=key.allowed_realms):
        record_event(
            realm=realm,
            kind=f"service_key.{what}",
            subject=key,
            payload={"status": key.status, "kdf_version": key.kdf_version},
            at=at,
            by=by,
        )


@transaction.atomic
def rotate_service_key(
    *, key: ServiceKey, at: datetime, by: AuditContext
) -> ServiceKey:
    """Give a key a new secret; the old one stops working at once."""
    key = ServiceKey.objects.select_for_update().get(pk=key.pk)
    key.kdf_version += 1
    key.kdf_salt = secrets.token_bytes(SALT_BYTES)
    key.updated_at = at
    with auditing(by, at=at):
        key.save(update_fields=["kdf_version", "kdf_salt", "updated_at"])
        _record("rotated", key, at=at, by=by)
    return key


@transaction.atomic
def set_service_key_status(
    *, key: ServiceKey, status: str, at: datetime, by: AuditContext
) -> ServiceKey:
    """Enable or disable a key. Refuses an unknown status (`Invalid`)."""
    if status not in ServiceKeyStatus.values:
        raise Invalid(f"Unknown key status {status!r}.", field="status")
    key = ServiceKey.objects.select_for_update().get(pk=key.pk)
    if key.status == status:
        return key
    key.status = status
    key.updated_at = at
    with auditing(by, at=at):
        key.save(update_fields=["status", "updated_at"])
        _record("changed", key, at=at, by=by)
    return key
