"""Platform tokens: short-lived proof of one user, issued to its backend."""

import json
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
from django.test import Client
from vlunaai.generated import billing_models as wire

from billing.models import BillingAccount, BillingUser, PlanAssignment, PlatformToken
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.tokens import issue_token
from billing.services.users import change_user, ensure_user
from config.kernel.clock import now
from config.tenancy.models import Scope
from config.tenancy.services.service_keys import create_service_key
from tests.billing.answers import invalid, read, refusal
from tests.billing.people import full_by_default
from tests.billing.races import race
from tests.tools.client import SignedClient

ADA = {"principal_id": "acme", "user_id": "ada"}


def issued(api, document=None, key=None):
    answer = api.post("token/issue", {**ADA, **(document or {})}, key)
    return read(answer, wire.PlatformTokenIssueEnvelope)


def ada_of(realm):
    return BillingUser.objects.in_realm(realm).get(business_user_id="ada")


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


def as_bearer(token, realm, path="billing-state", **query):
    return Client(raise_request_exception=False).get(
        f"/api/v1/{path}",
        query,
        headers={"X-Realm-Id": realm.pk, "Authorization": f"Bearer {token}"},
    )


def test_token_names_its_user(api, realm, service_key):
    data = issued(api, {"nonce": "n-1", "traits": {"email": "ada@acme.example"}})

    user = ada_of(realm)
    claims = claims_of(data["access_token"])
    assert (data["token_type"], data["expires_in"]) == ("Bearer", 900)
    assert (data["billing_account_id"], data["billing_user_id"]) == (
        str(user.account_id),
        str(user.pk),
    )
    assert claims["exp"] - claims["iat"] == 900
    assert {
        name: claims[name]
        for name in (
            "sub",
            "scope",
            "realm_id",
            "billing_account_id",
            "billing_user_id",
            "billing_principal_id",
            "business_user_id",
            "plt_scopes",
            "plt_traits",
            "token_use",
            "tu",
            "tv",
            "nonce",
            "ib",
        )
    } == {
        "sub": "ada",
        "scope": "billing:read billing:write",
        "realm_id": realm.pk,
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "billing_principal_id": "acme",
        "business_user_id": "ada",
        "plt_scopes": ["checkout", "portal"],
        "plt_traits": {"email": "ada@acme.example"},
        "token_use": "platform",
        "tu": "plt",
        "tv": 1,
        "nonce": "n-1",
        "ib": service_key.pk,
    }


def test_token_is_never_stored(api, realm):
    token = issued(api)["access_token"]

    stored = PlatformToken.objects.in_realm(realm).get()
    assert token.rsplit(".", 1)[1] not in repr(vars(stored))


def test_new_user_gets_the_default_plan(api, realm):
    issued(api)

    assert (
        PlanAssignment.objects.get(user=ada_of(realm)).source_kind == "signup.default"
    )


@pytest.mark.parametrize(
    ("asked", "granted", "scope"),
    [
        (None, ["checkout", "portal"], "billing:read billing:write"),
        (["portal"], ["portal"], "billing:read"),
        (["checkout", "admin"], ["checkout"], "billing:read billing:write"),
        ([], [], "billing:read"),
    ],
)
def test_scopes_are_those_asked_for(api, asked, granted, scope):
    claims = claims_of(issued(api, {"scopes": asked})["access_token"])

    assert (claims["plt_scopes"], claims["scope"]) == (granted, scope)


@pytest.mark.parametrize(
    ("asked", "given"),
    [(1, 60), (60, 60), (300, 300), (3600, 3600), (86400, 3600), (-5, 60)],
)
def test_lifetime_is_clamped(api, asked, given):
    assert issued(api, {"session_ttl_sec": asked})["expires_in"] == given


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"principal_id": ""}, "principal_id"),
        ({"principal_id": None}, "principal_id"),
        ({"user_id": " "}, "user_id"),
        ({"user_id": "u" * 513}, "user_id"),
        ({"session_ttl_sec": "900"}, "session_ttl_sec"),
        ({"scopes": "portal"}, "scopes"),
        ({"traits": {str(n): n for n in range(21)}}, "traits"),
        ({"traits": []}, "traits"),
        ({"role": "admin"}, "role"),
    ],
)
def test_bad_request_is_refused_and_creates_nobody(api, realm, changes, field):
    answer = api.post("token/issue", {**ADA, **changes})

    assert refusal(answer) == invalid(field)
    assert not BillingAccount.objects.in_realm(realm).exists()


def test_same_key_gives_the_same_token(api, realm):
    first = issued(api, key="k-1")

    again = issued(api, key="k-1")

    assert {**again, "expires_in": 900} == first
    assert again["expires_in"] in {898, 899}
    assert issued(api, key="k-2")["access_token"] != first["access_token"]
    assert PlatformToken.objects.in_realm(realm).count() == 2


@pytest.mark.parametrize(
    "changes", [{"user_id": "bob"}, {"session_ttl_sec": 60}, {"nonce": "n"}]
)
def test_same_key_with_another_body_is_refused(api, changes):
    issued(api, key="k-1")

    answer = api.post("token/issue", {**ADA, **changes}, "k-1")

    assert refusal(answer) == (409, "WRITE.INVALID_PAYLOAD", None)


def test_another_service_keys_same_key_is_another_token(api, realm, at, by):
    other = SignedClient(realm, create_service_key(realm=realm, at=at, by=by))

    assert (
        issued(other, key="k-1")["access_token"]
        != issued(api, key="k-1")["access_token"]
    )


def test_same_key_at_once_gives_one_token(committed_api):
    tokens = race(lambda _: issued(committed_api, key="k-1")["access_token"])

    assert len(set(tokens)) == 1


def test_verb_gives_the_same_claims_for_the_same_key(user, at, by):
    from dataclasses import replace

    def issue(when, ttl_seconds=900):
        return issue_token(
            user=user, service_key_id="pk-1", scopes=None, ttl_seconds=ttl_seconds, traits={},
            nonce=None, request=b"{}", at=when, by=replace(by, idempotency_key="k"),
        )  # fmt: skip

    first = issue(at)

    assert issue(at + timedelta(minutes=5)).claims == first.claims
    assert first.expires_at == at + timedelta(minutes=15)


@pytest.mark.parametrize("status", ["disabled", "deleted"])
def test_user_out_of_service_gets_no_new_token(api, realm, at, by, status):
    first = issued(api, key="k-1")
    change_user(user=ada_of(realm), status=status, at=at, by=by)

    # The repeat of a success is the same success; the token opens nothing any more.
    again = issued(api, key="k-1")

    assert again["access_token"] == first["access_token"]
    assert as_bearer(again["access_token"], realm).status_code == 403
    assert refusal(api.post("token/issue", ADA, "k-2")) == (
        403,
        "AUTH.BILLING_USER_DISABLED",
        None,
    )


@pytest.mark.parametrize(
    ("minutes_ago", "left"), [(0, 900), (14, 60), (15, 0), (99, 0)]
)
def test_repeat_tells_what_is_left_of_the_lifetime(
    api, realm, account, service_key, by, minutes_ago, left
):
    body = json.dumps({"principal_id": "acme", "user_id": "u-1"}).encode()
    user = ensure_user(account=account, business_user_id="u-1", at=now(), by=by)
    issue_token(
        user=user,
        service_key_id=service_key.pk,
        scopes=None,
        ttl_seconds=900,
        traits={},
        nonce=None,
        request=body,
        at=now() - timedelta(minutes=minutes_ago),
        by=replace(by, idempotency_key="k-1"),
    )

    answer = api.request("POST", "token/issue", key="k-1", raw=body)

    assert answer.status_code == 200, answer.content
    assert max(left - 3, 0) <= answer.json()["data"]["expires_in"] <= left


def test_refused_token_leaves_no_account_behind(api, realm, at, by):
    full_by_default(realm, at, by)

    answer = api.post("token/issue", ADA)

    assert refusal(answer) == (403, "SEAT.CAPACITY_EXCEEDED", None)
    assert not BillingAccount.objects.in_realm(realm).exists()


def test_new_user_of_a_full_account_gets_no_token(api, realm, at, by):
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)
    set_seat_limit(account=account, seat_limit=0, at=at, by=by)

    assert refusal(api.post("token/issue", ADA)) == (
        403,
        "SEAT.CAPACITY_EXCEEDED",
        None,
    )


def test_limited_key_gets_tokens_of_its_accounts_only(limited_api, account, realm):
    own = limited_api.post("token/issue", ADA)
    other = limited_api.post("token/issue", {**ADA, "principal_id": "globex"})

    assert own.status_code == 200
    assert refusal(other) == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)
    assert [a.billing_principal_id for a in BillingAccount.objects.in_realm(realm)] == [
        "acme"
    ]


def test_key_needs_the_runtime_scope(realm, at, by):
    with_scope, without = (
        SignedClient(
            realm, create_service_key(realm=realm, scopes=scopes, at=at, by=by)
        )
        for scopes in ([Scope.RUNTIME], [])
    )

    assert with_scope.post("token/issue", ADA).status_code == 200
    assert refusal(without.post("token/issue", ADA)) == (
        403,
        "AUTH.INSUFFICIENT_SCOPE",
        None,
    )


# Reading with a token


def test_token_reads_its_own_state(api, realm):
    data = issued(api)

    state = read(as_bearer(data["access_token"], realm), wire.BillingStateEnvelope)

    assert (state["view_scope"], state["user_id"], state["billing_user_id"]) == (
        "user",
        "ada",
        data["billing_user_id"],
    )
    assert state["plans"]["base"]["plan_code"] == "default_billing_plan"


@pytest.mark.parametrize("name", ["user_id", "billing_user_id"])
def test_token_cannot_name_another_user(api, realm, at, by, name):
    token = issued(api)["access_token"]
    account = BillingAccount.objects.in_realm(realm).get()
    bob = ensure_user(account=account, business_user_id="bob", at=at, by=by)

    answer = as_bearer(
        token, realm, **{name: {"user_id": "bob", "billing_user_id": str(bob.pk)}[name]}
    )

    assert refusal(answer) == invalid(name)


def test_token_of_a_disabled_user_reads_nothing(api, realm):
    token = issued(api)["access_token"]
    user = ada_of(realm)
    api.post(f"billing-users/{user.pk}/disable")

    assert refusal(as_bearer(token, realm)) == (403, "AUTH.BILLING_USER_DISABLED", None)


def test_token_of_another_realm_reads_nothing(api, other_realm):
    token = issued(api)["access_token"]

    assert refusal(as_bearer(token, other_realm))[:2] == (
        403,
        "AUTH.TOKEN_REALM_MISMATCH",
    )


def test_token_does_not_open_the_management_surface(api, realm):
    token = issued(api)["access_token"]

    answer = Client(raise_request_exception=False).get(
        "/mgt/v1/billing-accounts",
        headers={"X-Realm-Id": realm.pk, "Authorization": f"Bearer {token}"},
    )

    assert refusal(answer)[:2] == (403, "AUTH.INSUFFICIENT_SCOPE")


def everybody(realm):
    accounts = BillingAccount.objects.in_realm(realm)
    users = BillingUser.objects.in_realm(realm)
    return (
        accounts.count(),
        users.count(),
        PlatformToken.objects.in_realm(realm).count(),
    )


def test_key_of_another_body_creates_nobody(api, realm):
    issued(api, key="k")
    before = everybody(realm)

    for other in ({"principal_id": "globex"}, {"user_id": "bob"}):
        assert refusal(api.post("token/issue", {**ADA, **other}, "k")) == (
            409,
            "WRITE.INVALID_PAYLOAD",
            None,
        )
    assert everybody(realm) == before


def test_headers_that_name_another_account_are_refused_and_create_nobody(
    api, realm, at, by
):
    globex = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    mismatch = (403, "AUTH.INSUFFICIENT_SCOPE", "billing_account_id")
    before = everybody(realm)

    for named in (
        {"principal_id": "globex"},
        {"billing_account_id": str(globex.pk)},
        {"billing_account_id": "x"},
    ):
        assert refusal(api.bound(**named).post("token/issue", ADA)) == mismatch
    assert everybody(realm) == before

    account_id = issued(api)["billing_account_id"]
    for named in ({"principal_id": "globex"}, {"billing_account_id": str(globex.pk)}):
        assert refusal(api.bound(**named).post("token/issue", ADA)) == mismatch
    issued(api.bound(principal_id="acme", billing_account_id=account_id))


def test_traits_fit_into_a_header(api):
    """`{"note": ""}` is 12 bytes, each é two."""
    fits, over = "é" * 2042, "é" * 2042 + "x"

    issued(api, {"traits": {"note": fits}})
    answer = api.post("token/issue", {**ADA, "traits": {"note": over}})

    assert refusal(answer) == (422, "VALIDATION.INVALID_INPUT", "traits")
    assert "4097 bytes as JSON; the most is 4096." in answer.json()["message"]


def test_expired_token_reads_nothing(user, realm, at, by):
    from config.tenancy.tokens import sign_token

    old = issue_token(
        user=user, service_key_id="pk-1", scopes=None, ttl_seconds=60, traits={}, nonce=None,
        request=b"", at=now() - timedelta(seconds=61), by=by,
    )  # fmt: skip

    assert refusal(as_bearer(sign_token(old.claims, realm), realm))[:2] == (
        401,
        "AUTH.UNAUTHORIZED",
    )
