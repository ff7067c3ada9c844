"""Realms created at once."""

import secrets

from config.kernel.errors import Conflict
from config.tenancy.services.realms import create_realm
from tests.billing.races import race


def test_realm_created_twice_at_once_is_created_once(committed, at, by):
    realm_id = f"twice-{secrets.token_hex(4)}"

    def create(_number):
        try:
            return create_realm(realm_id=realm_id, at=at, by=by).pk
        except Conflict as refusal:
            return refusal.field

    assert sorted(race(create, 4)) == sorted([realm_id, *["realm_id"] * 3])
