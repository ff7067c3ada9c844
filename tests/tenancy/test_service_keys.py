"""Service keys: secrets that are derived and never stored."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from config.kernel.errors import Invalid
from config.tenancy.models import ServiceKey
from config.tenancy.services.service_keys import (
    _derive,
    create_service_key,
    rotate_service_key,
    secret_of,
    secret_text,
    set_service_key_status,
)  # fmt: skip
from tests.tools.tables import own_tables, rows

SALT = bytes(range(32))
KEY = ServiceKey(key_id="pk-a", kdf_salt=SALT)


def variant(**changes):
    """A key like `KEY`, and another in one respect."""
    fields = {
        "key_id": "pk-a",
        "kdf_salt": SALT,
        "env_tag": "",
        "kdf_version": 1,
        "kdf_alg": "HKDF-SHA256",
    }
    return ServiceKey(**{**fields, **changes})


def test_secret_is_derived_as_rfc_5869_says():
    info = b"plangate/service-key\0pk-a\0\x001"
    prk = hmac.new(SALT, b"master" * 6, hashlib.sha256).digest()
    by_hand = hmac.new(prk, info + b"\x01", hashlib.sha256).digest()

    assert _derive(b"master" * 6, "HKDF-SHA256", SALT, "pk-a\0\x001") == by_hand
    assert HKDF(SHA256(), 32, SALT, info).derive(b"master" * 6) == by_hand


def test_secret_by_hmac():
    info = b"plangate/service-key\0pk-a\0\x001"

    assert (
        _derive(b"master", "HMAC-SHA256", SALT, "pk-a\0\x001")
        == hmac.new(b"master", SALT + b"\0" + info, hashlib.sha256).digest()
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": "pk-b"},
        {"kdf_salt": SALT[1:] + b"\0"},
        {"env_tag": "test"},
        {"kdf_version": 2},
        {"kdf_alg": "HMAC-SHA256"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_secret_depends_on_each_part(changes):
    assert secret_of(variant(**changes)) != secret_of(variant())
    assert secret_of(variant(**changes)) == secret_of(variant(**changes))


def test_parts_do_not_run_into_each_other():
    assert secret_of(variant(key_id="pk-a", env_tag="b")) != secret_of(
        variant(key_id="pk-ab", env_tag="")
    )
    assert secret_of(variant(env_tag="1", kdf_version=1)) != secret_of(
        variant(env_tag="", kdf_version=11)
    )


def test_secret_is_32_bytes_in_base64(service_key):
    assert len(base64.b64decode(secret_text(service_key), validate=True)) == 32


def test_secret_is_stored_nowhere(service_key, at, by):
    rotated = rotate_service_key(key=service_key, at=at, by=by)
    secrets = [secret_of(key) for key in (service_key, rotated)]
    spelled = [
        form
        for secret in secrets
        for form in (secret.hex(), base64.b64encode(secret).decode())
    ]

    for table in own_tables():
        for (row,) in rows(f"SELECT t::text FROM {table} t"):
            assert not [form for form in spelled if form in row], table
    # The salt is no secret, but history has no use for it.
    assert SALT.hex() not in str(rows("SELECT h::text FROM service_keys_history h"))
    assert bytes(rotated.kdf_salt).hex() not in str(
        rows("SELECT h::text FROM service_keys_history h")
    )


def test_new_key_may_do_everything_in_its_realm_alone(realm, service_key):
    assert (service_key.allowed_realms, service_key.allowed_accounts) == (
        [realm.pk],
        [],
    )
    assert sorted(service_key.scopes) == ["realm:admin", "runtime"]
    assert (
        len(bytes(service_key.kdf_salt)),
        service_key.kdf_version,
        service_key.status,
    ) == (32, 1, "active")
    assert [trace.operator for trace in service_key.history.all()] == [
        "ada@example.com"
    ]


def test_key_that_would_have_expired_is_refused(realm, at, by):
    for expires_at in (at, at - timedelta(microseconds=1)):
        with pytest.raises(Invalid, match="already have expired") as refusal:
            create_service_key(realm=realm, expires_at=expires_at, at=at, by=by)
        assert refusal.value.field == "expires_at"
    assert ServiceKey.objects.filter(allowed_realms=[realm.pk]).count() == 0


def test_key_with_an_unknown_scope_is_refused(realm, at, by):
    with pytest.raises((Invalid, IntegrityError)), transaction.atomic():
        create_service_key(realm=realm, scopes=["root"], at=at, by=by)


def test_unknown_status_is_refused(service_key, at, by):
    with pytest.raises(Invalid, match="Unknown key status 'lost'") as refusal:
        set_service_key_status(key=service_key, status="lost", at=at, by=by)

    assert refusal.value.field == "status"
    assert ServiceKey.objects.get(pk=service_key.pk).status == "active"


def test_rotation_changes_version_salt_and_secret(service_key, at, by):
    before = (
        service_key.kdf_version,
        bytes(service_key.kdf_salt),
        secret_of(service_key),
    )

    rotated = rotate_service_key(
        key=service_key, at=at, by=replace(by, reason="leaked")
    )

    after = (rotated.kdf_version, bytes(rotated.kdf_salt), secret_of(rotated))
    assert after[0] == before[0] + 1
    assert after[1] != before[1]
    assert after[2] != before[2]
    assert [trace.reason for trace in service_key.history.order_by("history_id")] == [
        "asked for in the ticket",
        "leaked",
    ]


def test_rotations_of_one_stale_key_count_up(service_key, at, by):
    rotate_service_key(key=service_key, at=at, by=by)

    assert rotate_service_key(key=service_key, at=at, by=by).kdf_version == 3


def test_key_reads_well(service_key):
    service_key.full_clean()
    service_key.status = "lost"

    assert str(service_key) == service_key.pk
    with pytest.raises(ValidationError):
        service_key.full_clean()
