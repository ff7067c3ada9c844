"""Whom a call acts for: the mapping lives on the server, a client only names itself."""

import pytest

from billing.models import BillingAccount, BillingUser
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.users import change_user, ensure_user
from config.kernel.ids import new_id
from config.tenancy import signing
from config.tenancy.services.service_keys import secret_of
from tests.billing.answers import refusal
from tests.billing.people import full_by_default
from tests.billing.races import race

WALLET = "wallet/balance"
"""A read at user level."""


def everybody(realm):
    accounts = BillingAccount.objects.in_realm(realm).order_by("billing_principal_id")
    users = BillingUser.objects.in_realm(realm).order_by("business_user_id")
    return (
        [account.billing_principal_id for account in accounts],
        [user.business_user_id for user in users],
    )


@pytest.fixture
def globex(realm, at, by):
    account = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    ensure_user(account=account, business_user_id="hank", at=at, by=by)
    return account


def test_new_principal_and_user_are_created(api, realm):
    answer = api.bound(principal_id="acme", user_id="ada").get(WALLET)

    assert answer.status_code == 200
    assert everybody(realm) == (["acme"], ["ada"])


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"principal_id": "acme"},
        {"user_id": "ada"},
        {"billing_account_id": str(new_id()), "user_id": "ada"},
    ],
)
def test_unnamed_account_or_user_is_refused_and_creates_nothing(api, realm, named):
    answer = api.bound(**named).get(WALLET)

    assert refusal(answer) == (401, "AUTH.MISSING_RUNTIME_BINDINGS", None)
    assert everybody(realm) == ([], [])


def test_account_id_of_another_principal_is_refused_and_creates_nothing(
    api, realm, globex
):
    for principal in ("acme", "ACME"):
        bound = api.bound(
            principal_id=principal, user_id="ada", billing_account_id=str(globex.pk)
        )

        assert refusal(bound.get(WALLET))[:2] == (403, "AUTH.BILLING_ACCOUNT_MISMATCH")
    assert everybody(realm) == (["globex"], ["hank"])


def test_unknown_account_id_is_refused_and_creates_nothing(
    api, realm, other_realm, at, by
):
    elsewhere = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)

    for account_id in (str(elsewhere.pk), str(new_id()), "acme"):
        bound = api.bound(
            principal_id="acme", user_id="ada", billing_account_id=account_id
        )

        assert refusal(bound.get(WALLET))[:2] == (404, "AUTH.BILLING_ACCOUNT_NOT_FOUND")
    assert everybody(realm) == ([], [])


def test_account_id_of_the_principal_passes(api, globex):
    bound = api.bound(
        principal_id="globex", user_id="hank", billing_account_id=str(globex.pk).upper()
    )

    assert bound.get(WALLET).status_code == 200


@pytest.mark.parametrize(
    ("claimed", "status", "code"),
    [
        ("hank", 403, "AUTH.BILLING_USER_MISMATCH"),
        ("nobody", 404, "AUTH.BILLING_USER_NOT_FOUND"),
    ],
)
def test_user_id_of_another_user_is_refused_and_creates_nothing(
    api, realm, globex, claimed, status, code
):
    known = {"hank": BillingUser.objects.get(account=globex).pk, "nobody": new_id()}
    bound = api.bound(principal_id="globex", user_id="ada")

    answer = signed_as_user(bound, known[claimed])

    assert refusal(answer)[:2] == (status, code)
    assert everybody(realm) == (["globex"], ["hank"])


def signed_as_user(api, billing_user_id):
    """Send a GET that also signs X-Billing-User-Id, which the official client does not."""
    path = f"/mgt/v1/{WALLET}"
    signed = api.sign("GET", path, b"")
    headers = {name.lower(): value for name, value in signed.items()}
    headers["x-billing-user-id"] = str(billing_user_id)
    credentials = signing.parse_authorization(headers["authorization"])
    text = signing.signed_text(
        method="GET", path_and_query=path, credentials=credentials, headers=headers
    )
    sig = signing.sign(secret_of(api.key), text)
    authorization = headers["authorization"].replace(credentials.sig, sig)
    return api.client.get(
        path,
        headers={**headers, "authorization": authorization},
        CONTENT_TYPE=headers["content-type"],
    )


def test_right_user_id_passes(api, globex):
    hank = BillingUser.objects.get(account=globex)
    bound = api.bound(principal_id="globex", user_id="hank")

    assert signed_as_user(bound, hank.pk).status_code == 200


@pytest.mark.parametrize("status", ["disabled", "deleted"])
def test_user_out_of_service_is_refused_and_stays_so(api, globex, at, by, status):
    hank = BillingUser.objects.get(account=globex)
    change_user(user=hank, status=status, at=at, by=by)

    answer = api.bound(principal_id="globex", user_id="hank").get(WALLET)

    assert refusal(answer)[:2] == (403, "AUTH.BILLING_USER_DISABLED")
    hank.refresh_from_db()
    assert hank.status == status


def test_new_user_of_a_full_account_is_refused(api, realm, globex, at, by):
    set_seat_limit(account=globex, seat_limit=1, at=at, by=by)

    answer = api.bound(principal_id="globex", user_id="ada").get(WALLET)

    assert refusal(answer)[:2] == (403, "SEAT.CAPACITY_EXCEEDED")
    assert everybody(realm) == (["globex"], ["hank"])


def test_limited_key_creates_no_account(limited_api, realm, account):
    answer = limited_api.bound(principal_id="globex", user_id="ada").get(WALLET)

    assert refusal(answer)[:2] == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")
    assert everybody(realm) == (["acme"], [])


def test_limited_key_acts_for_its_account(limited_api, account):
    assert (
        limited_api.bound(principal_id="acme", user_id="ada").get(WALLET).status_code
        == 200
    )


def get_as(api, principal_id, user_id):
    """Read the wallet with names outside ASCII, as a server receives their bytes."""
    named = {"x-principal-id": principal_id, "x-user-id": user_id}
    received = {name: text.encode().decode("latin-1") for name, text in named.items()}
    bound = api.bound(principal_id=principal_id, user_id=user_id)
    return bound.request("GET", WALLET, headers=received)


def test_two_spellings_of_one_name_are_one_user(api, realm):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"

    for name in (composed, decomposed):
        assert get_as(api, f"Caf\u00e9 {name}", name).status_code == 200
    issued = api.post(
        "token/issue",
        {"principal_id": f"Caf\u00e9 {decomposed}", "user_id": decomposed},
    )

    assert issued.status_code == 200
    assert everybody(realm) == ([f"Caf\u00e9 {composed}"], [composed])


def test_first_requests_at_once_make_one_account_and_one_user(
    committed_api, committed_realm
):
    bound = committed_api.bound(principal_id="acme", user_id="ada")

    statuses = race(lambda _: bound.get(WALLET).status_code)

    assert statuses == [200] * 16
    assert everybody(committed_realm) == (["acme"], ["ada"])


def test_first_requests_of_many_users_at_once_make_each_once(
    committed_api, committed_realm
):
    def attempt(number):
        return (
            committed_api.bound(principal_id="acme", user_id=f"u-{number % 4}")
            .get(WALLET)
            .status_code
        )

    assert race(attempt) == [200] * 16
    assert everybody(committed_realm) == (["acme"], ["u-0", "u-1", "u-2", "u-3"])


def test_refused_user_leaves_no_account_behind(api, realm, at, by):
    full_by_default(realm, at, by)

    answer = api.bound(principal_id="newcomer", user_id="ada").get(WALLET)

    assert refusal(answer)[:2] == (403, "SEAT.CAPACITY_EXCEEDED")
    assert everybody(realm) == ([], [])
