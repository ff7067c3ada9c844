"""Platform tokens: what a valid one is, and every way one may be forged or stale."""

import base64
import json
import time
import warnings
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from django.conf import settings
from django.test import Client

from billing.models import PlatformToken
from billing.services.users import change_user
from config.tenancy import tokens
from config.tenancy.services.realms import set_realm_status
from config.tenancy.services.service_keys import create_service_key

pytestmark = pytest.mark.django_db

WALLET = "/api/v1/wallet/balance"


def issue(api, **changes):
    """Issue a token; return the answer's data."""
    answer = api.post(
        "token/issue", {"principal_id": "acme", "user_id": "u-1", **changes}
    )
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def call(token, realm, *, path=WALLET, method="GET", header=None):
    """Call with a token; return status and code."""
    headers = {"x-realm-id": realm if isinstance(realm, str) else realm.pk}
    if token is not None:
        headers["authorization"] = header or f"Bearer {token}"
    answer = Client(raise_request_exception=False).generic(
        method, path, headers=headers
    )
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def token(api):
    return issue(api)["access_token"]


@pytest.fixture
def claims(token):
    return jwt.decode(token, options={"verify_signature": False})


def forged(realm, claims, *, key=None, algorithm="HS256", without=()):
    """A token of these claims, signed with the realm's own secret unless told otherwise."""
    kept = {name: value for name, value in claims.items() if name not in without}
    secret = tokens._secret(realm.pk) if key is None else key
    with warnings.catch_warnings(action="ignore"):
        return jwt.encode(kept, secret, algorithm=algorithm)


# --- a valid one --------------------------------------------------------------


def test_issued_token_is_accepted(token, realm):
    assert call(token, realm) == (200, "OK")


def test_claims_are_those_described(api, realm, claims, service_key):
    user = PlatformToken.objects.in_realm(realm).get().user
    header = jwt.get_unverified_header(issue(api)["access_token"])

    assert header == {"alg": "HS256", "typ": "JWT", "kid": f"plt:v1:realm:{realm.pk}"}
    assert claims == {
        "iss": f"{settings.TOKEN_ISSUER}/realms/{realm.pk}", "aud": settings.TOKEN_AUDIENCE, "sub": "u-1",
        "scope": "billing:read billing:write", "realm_id": realm.pk, "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk), "billing_principal_id": "acme", "business_user_id": "u-1",
        "plt_scopes": ["checkout", "portal"], "plt_traits": {}, "token_use": "platform", "tu": "plt", "tv": 1,
        "ib": service_key.pk, "jti": str(PlatformToken.objects.in_realm(realm).order_by("id").first().pk), "iat": claims["iat"], "exp": claims["iat"] + 900,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "lives"),
    [
        (60, 60),
        (59, 60),
        (0, 60),
        (-5, 60),
        (3600, 3600),
        (3601, 3600),
        (2**31 - 1, 3600),
        (900, 900),
    ],
)
def test_life_of_a_token_is_clamped(api, asked, lives):
    data = issue(api, session_ttl_sec=asked)

    claims = jwt.decode(data["access_token"], options={"verify_signature": False})
    assert data["expires_in"] == lives
    assert claims["exp"] - claims["iat"] == lives


@pytest.mark.parametrize(
    ("asked", "granted", "scope"),
    [
        (["checkout"], ["checkout"], "billing:read billing:write"), (["portal"], ["portal"], "billing:read"),
        ([], [], "billing:read"), (["root", "portal"], ["portal"], "billing:read"), (["realm:admin"], [], "billing:read"),
    ],
)  # fmt: skip
def test_scopes_beyond_those_offered_are_ignored(api, asked, granted, scope):
    claims = jwt.decode(
        issue(api, scopes=asked)["access_token"], options={"verify_signature": False}
    )

    assert (claims["plt_scopes"], claims["scope"]) == (granted, scope)


def test_token_itself_is_not_stored(api, token):
    stored = json.dumps(
        [list(map(str, row)) for row in PlatformToken.objects.values_list()]
    )

    assert token not in stored
    assert token.rpartition(".")[2] not in stored


# --- forged and stale ones ----------------------------------------------------


def none_token(claims):
    def part(document):
        return (
            base64.urlsafe_b64encode(json.dumps(document).encode())
            .rstrip(b"=")
            .decode()
        )

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


REQUIRED = [
    "exp", "iat", "iss", "aud", "sub", "scope", "realm_id", "jti", "billing_account_id", "billing_user_id",
    "billing_principal_id", "business_user_id",
]  # fmt: skip


FORGERIES = {
    "no algorithm": lambda realm, claims: none_token(claims),
    "no algorithm, two parts": lambda realm, claims: none_token(claims)[:-1],
    "another secret": lambda realm, claims: forged(realm, claims, key="another secret of thirty-two bytes"),
    "the master key": lambda realm, claims: forged(realm, claims, key=settings.MASTER_KEY),
    "another algorithm": lambda realm, claims: forged(realm, claims, algorithm="HS512"),
    "another issuer": lambda realm, claims: forged(realm, claims | {"iss": "https://elsewhere"}),
    "another audience": lambda realm, claims: forged(realm, claims | {"aud": "another"}),
    "expired": lambda realm, claims: forged(realm, claims | {"exp": int(time.time()) - 1}),
    "expiry in words": lambda realm, claims: forged(realm, claims | {"exp": "soon"}),
    "expiry true": lambda realm, claims: forged(realm, claims | {"exp": True}),
    "one letter more": lambda realm, claims: forged(realm, claims) + "A",
    "five parts": lambda realm, claims: "..".join(forged(realm, claims).split(".")),
    "cut short": lambda realm, claims: forged(realm, claims)[:-10],
    "other claims": lambda realm, claims: "eyJhbGciOiJIUzI1NiJ9.W10." + forged(realm, claims).rpartition(".")[2],
    "words": lambda realm, claims: "not a token",
    "no ASCII": lambda realm, claims: "é",
    "100 kB": lambda realm, claims: "A" * 100_000,
    **{f"without {name}": (lambda realm, claims, name=name: forged(realm, claims, without={name})) for name in REQUIRED},
    **{f"null {name}": (lambda realm, claims, name=name: forged(realm, claims | {name: None})) for name in set(REQUIRED) - {"iss"}},
}  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_forged_token_is_refused(realm, claims, forge):
    assert call(forge(realm, claims), realm) == (401, "AUTH.UNAUTHORIZED")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", 5),
        ("scope", ["billing:read"]),
        ("billing_user_id", 5),
        ("billing_user_id", "x"),
        ("billing_account_id", {}),
        ("exp", -1),
        ("sub", ["u"]),
    ],
)
def test_signed_token_with_odd_claims_never_breaks(realm, claims, name, value):
    """Only we can sign one; even so it is no more than refused."""
    status, code = call(forged(realm, claims | {name: value}), realm)

    assert status in {401, 403}, code


def test_token_of_another_realm_is_refused(token, other_realm):
    assert call(token, other_realm) == (403, "AUTH.TOKEN_REALM_MISMATCH")


@pytest.mark.parametrize("named", ["{other}", "nowhere", 5, [], None, "\ud800"])
def test_token_that_only_says_it_is_of_another_realm_is_not_valid(
    realm, other_realm, claims, named
):
    if named == "{other}":
        named = other_realm.pk

    assert call(forged(realm, claims | {"realm_id": named}), realm) == (
        401,
        "AUTH.UNAUTHORIZED",
    )


def test_token_does_not_open_the_door_of_backends(token, realm, claims):
    path = "/mgt/v1/meters"

    assert call(token, realm, path=path) == (403, "AUTH.INSUFFICIENT_SCOPE")
    assert call(forged(realm, claims | {"exp": 1}), realm, path=path) == (
        401,
        "AUTH.INVALID_SERVICE_SIGNATURE",
    )


def test_token_signed_by_another_realm_for_this_one_is_refused(
    realm, other_realm, claims
):
    assert call(forged(other_realm, claims), realm) == (401, "AUTH.UNAUTHORIZED")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer", 401),
        ("Bearer ", 401),
        ("bearer {}", 401),
        ("Token {}", 401),
        ("{}", 401),
        ("Bearer {} x", 401),
        ("Basic dXNlcjpwYXNz", 401),
    ],
)
def test_other_authorization_is_refused(token, realm, header, status):
    assert call(token, realm, header=header.format(token)) == (
        status,
        "AUTH.UNAUTHORIZED",
    )


def test_absent_authorization_is_refused(realm):
    assert call(None, realm) == (401, "AUTH.UNAUTHORIZED")


@pytest.mark.parametrize(
    ("realm_id", "expected"),
    [("", (400, "VALIDATION.INVALID_INPUT")), ("nowhere", (404, "AUTH.UNKNOWN_REALM"))],
)
def test_realm_is_checked_first(token, realm_id, expected):
    assert call(token, realm_id) == expected


def test_token_in_a_suspended_realm_is_refused(token, realm, at, by):
    set_realm_status(realm=realm, status="suspended", at=at, by=by)

    assert call(token, realm) == (403, "AUTH.REALM_INACTIVE")


def test_token_expires_at_its_instant(realm, claims):
    token = forged(realm, claims)
    expiry = datetime.fromtimestamp(claims["exp"], UTC)

    assert (
        tokens.read_token(token, realm, at=expiry - timedelta(microseconds=1))["sub"]
        == "u-1"
    )
    with pytest.raises(tokens.Unauthenticated, match="expired"):
        tokens.read_token(token, realm, at=expiry)


@pytest.mark.parametrize("status", ["disabled", "deleted"])
def test_token_of_a_user_no_longer_active_is_refused(token, realm, at, by, status):
    user = (
        PlatformToken.objects.in_realm(realm).select_related("user__account").get().user
    )
    change_user(user=user, status=status, at=at, by=by)

    assert call(token, realm) == (403, "AUTH.BILLING_USER_DISABLED")


def test_token_without_the_scope_is_refused(realm, claims):
    assert call(forged(realm, claims | {"scope": ""}), realm) == (
        403,
        "AUTH.INSUFFICIENT_SCOPE",
    )
    assert call(forged(realm, claims | {"scope": "billing:write"}), realm) == (
        403,
        "AUTH.INSUFFICIENT_SCOPE",
    )


def test_claim_to_administer_is_worth_nothing(realm, claims):
    """A scope of service keys in a token, which only we could have signed."""
    token = forged(realm, claims | {"scope": "realm:admin"})

    assert call(token, realm, path="/mgt/v1/meters")[0] == 403


def test_headers_do_not_move_a_token_to_another_user(api, token, realm):
    other = issue(api, principal_id="globex", user_id="u-9")
    headers = {
        "x-realm-id": realm.pk, "authorization": f"Bearer {token}", "x-principal-id": "globex", "x-user-id": "u-9",
        "x-billing-account-id": other["billing_account_id"], "x-billing-user-id": other["billing_user_id"],
    }  # fmt: skip

    answer = Client().get(WALLET, headers=headers).json()["data"]

    assert answer["billing_user_id"] != other["billing_user_id"]
    assert answer["billing_account_id"] != other["billing_account_id"]


def test_another_process_with_the_same_key_reads_it(realm, claims, at, by):
    """Nothing but the master key and the realm goes into the secret."""
    create_service_key(realm=realm, at=at, by=by)

    assert call(forged(realm, claims), realm) == (200, "OK")
