"""Credentials that are remembered stop working when they stop being good, at once."""

import pytest
from django.db import connection

from config.tenancy.models import RealmStatus, ServiceKey
from config.tenancy.remembered import forget, remembered
from config.tenancy.services.realms import set_realm_status
from config.tenancy.services.service_keys import (
    rotate_service_key,
    set_service_key_status,
)
from tests.gating.gate import Gate


@pytest.fixture
def signed(realm, account, user, at, by, api):
    """A client whose credentials this process has just remembered."""
    forget()
    gate = Gate(realm, account, user, at, by)
    gate.feature()
    client = api.bound(principal_id="acme", user_id="u-1")
    assert ask(client) == (200, "OK")
    assert remembered.cache_info().currsize == 1
    return client


def ask(client, body=None):
    answer = client.post("gate/authorize", body or {"feature_code": "chat"})
    return answer.status_code, answer.json()["code"]


def queries_of(run):
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        run()
    return [query["sql"] for query in captured]


def test_remembered_credentials_are_not_asked_for(signed):
    asked = queries_of(lambda: ask(signed))

    assert [sql for sql in asked if "service_keys" in sql or "realms" in sql] == []


@pytest.mark.parametrize("body", [None, {"feature_code": ""}, {"nonsense": 1}])
def test_a_suspended_realm_is_closed_at_once(signed, realm, at, by, body):
    set_realm_status(realm=realm, status=RealmStatus.SUSPENDED, at=at, by=by)

    assert ask(signed, body) == (403, "AUTH.REALM_INACTIVE")

    set_realm_status(realm=realm, status=RealmStatus.ACTIVE, at=at, by=by)
    assert ask(signed) == (200, "OK")


def test_a_disabled_key_is_refused_at_once(signed, service_key, at, by):
    set_service_key_status(key=service_key, status="disabled", at=at, by=by)

    assert ask(signed) == (403, "AUTH.SERVICE_KEY_DISABLED")


def test_a_rotated_key_is_refused_at_once(signed, service_key, at, by):
    rotate_service_key(key=service_key, at=at, by=by)

    assert ask(signed) == (401, "AUTH.INVALID_SERVICE_SIGNATURE")


def test_scopes_taken_away_are_gone_at_once(signed, service_key, at, by):
    from config.tenancy.history import auditing

    with auditing(by, at=at):
        ServiceKey.objects.filter(pk=service_key.pk).update(scopes=[])

    assert ask(signed) == (403, "AUTH.INSUFFICIENT_SCOPE")


@pytest.mark.usefixtures("signed")
def test_an_unknown_key_is_not_remembered(realm):
    before = remembered.cache_info().currsize

    with pytest.raises(ServiceKey.DoesNotExist):
        remembered(realm.pk, "pk-unheard-of")

    assert remembered.cache_info().currsize == before
