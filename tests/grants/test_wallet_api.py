"""The wallet through HTTP, signed as the official client signs."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from vlunaai.generated.billing_models import WalletBalanceWithBreakdownEnvelope

from config.kernel.ids import new_id
from config.tenancy.services.service_keys import create_service_key
from config.tenancy.tokens import sign_token
from grants.models import GrantLot
from grants.services.funding import Hold, hold, settle
from tests.grants.giving import bind, make_program
from tests.tools.client import SignedClient


@pytest.fixture
def token(realm, user):
    """Return the platform token of `user`, with other claims where given."""

    def issue(**claims):
        now = int(datetime.now(UTC).timestamp())
        return sign_token(
            {
                "sub": user.business_user_id,
                "scope": "billing:read",
                "jti": str(new_id()),
                "billing_account_id": str(user.account_id),
                "billing_user_id": str(user.pk),
                "billing_principal_id": user.account.billing_principal_id,
                "business_user_id": user.business_user_id,
                "iat": now,
                "exp": now + 900,
                **claims,
            },
            realm,
        )

    return issue


def read_with(token, realm):
    return Client(raise_request_exception=False).get(
        "/api/v1/wallet/balance",
        headers={"X-Realm-Id": realm.pk, "Authorization": f"Bearer {token}"},
    )


def test_balance_is_read_by_the_official_model(api, user, credit, at):
    credit(user, 500)
    held = hold(user=user, amount_xusd=300, at=at)
    part = Hold(held.lots, [100])
    settle(user=user, held=part, spend_xusd=120, source_ref="lease:1", at=at)

    answer = api.bound(principal_id="acme", user_id="u-1").get("wallet/balance")

    assert answer.status_code == 200
    envelope = WalletBalanceWithBreakdownEnvelope.model_validate(answer.json())
    assert envelope.data.billing_user_id == str(user.pk)
    assert envelope.data.billing_account_id == str(user.account_id)
    assert envelope.data.available_balance.xusd == "180"
    assert envelope.data.outstanding_balance.xusd == "0"
    assert envelope.data.conversion.usd_per_xusd == "0.000001"
    assert envelope.data.conversion.as_of == envelope.data.as_of
    [grant] = envelope.data.grants
    # What was used and is not settled yet is told as reserved.
    assert (grant.issued.xusd, grant.remaining.xusd, grant.reserved.xusd) == (
        "500",
        "180",
        "320",
    )
    sums = {
        name: answer.json()["data"][name]["xusd"]
        for name in ("granted", "spent", "reserved")
    }
    assert sums == {"granted": "500", "spent": "120", "reserved": "200"}


def test_balance_of_a_new_user_is_zero_and_makes_no_balance(api, realm):
    answer = api.bound(principal_id="newcomer", user_id="u-9").get("wallet/balance")

    assert answer.status_code == 200
    assert answer.json()["data"]["available_balance"] == {"xusd": "0"}
    assert not GrantLot.objects.in_realm(realm).exists()


def test_balance_of_a_known_user_writes_the_nonce_and_nothing_else(api, user):
    client = api.bound(principal_id="acme", user_id="u-1")
    client.get("wallet/balance")

    with CaptureQueriesContext(connection) as queries:
        answer = client.get("wallet/balance")

    writes = [
        q["sql"]
        for q in queries
        if q["sql"].split()[0] not in {"SELECT", "SAVEPOINT", "RELEASE"}
    ]
    assert answer.status_code == 200
    assert [sql.split()[2] for sql in writes] == ["service_key_nonces"]


@pytest.mark.parametrize("bindings", [{}, {"principal_id": "acme"}, {"user_id": "u-1"}])
def test_balance_without_a_bound_user(api, user, bindings):
    answer = api.bound(**bindings).get("wallet/balance")

    assert (answer.status_code, answer.json()["code"]) == (
        401,
        "AUTH.MISSING_RUNTIME_BINDINGS",
    )


def test_balance_in_another_realm_is_that_realms_own(
    api, user, credit, other_realm, at, by
):
    credit(user, 500)
    stranger = SignedClient(
        other_realm, create_service_key(realm=other_realm, at=at, by=by),
        principal_id="acme", user_id="u-1",
    )  # fmt: skip

    answer = stranger.get("wallet/balance")

    assert answer.json()["data"]["available_balance"] == {"xusd": "0"}
    assert answer.json()["data"]["billing_user_id"] != str(user.pk)


def test_own_balance_with_a_platform_token(realm, user, credit, token):
    credit(user, 500)

    answer = read_with(token(), realm)

    assert answer.status_code == 200
    envelope = WalletBalanceWithBreakdownEnvelope.model_validate(answer.json())
    assert envelope.data.billing_user_id == str(user.pk)
    assert envelope.data.available_balance.xusd == "500"


def test_own_balance_without_the_read_scope(realm, token):
    answer = read_with(token(scope="billing:none"), realm)

    assert (answer.status_code, answer.json()["code"]) == (
        403,
        "AUTH.INSUFFICIENT_SCOPE",
    )


def test_token_of_another_realm(other_realm, token):
    answer = read_with(token(), other_realm)

    assert answer.status_code == 403


def test_a_refreshed_wallet_has_what_lazy_programs_give(api, realm, user, at, by):
    program = make_program(
        realm, at, by, program_code="lazy", issuance_mode="lazy", amount_xusd=70
    )
    bind(user, program, at, by)

    before = api.get(f"billing-users/{user.pk}/wallet").json()["data"]
    after = api.get(f"billing-users/{user.pk}/wallet", refresh_grants="true").json()
    again = api.get(f"billing-users/{user.pk}/wallet", refresh_grants="true").json()

    assert before["available_balance"]["xusd"] == "0"
    assert after["data"]["available_balance"]["xusd"] == "70"
    assert len(again["data"]["grants"]) == len(after["data"]["grants"]) > 0
