"""Signed requests: what is signed, what is refused, in which order, and only once."""

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.test import RequestFactory

from config.kernel.errors import Unauthenticated
from config.tenancy import authentication, signed_requests, signing
from config.tenancy.models import ServiceKey, ServiceKeyNonce
from config.tenancy.services.realms import set_realm_status
from config.tenancy.services.service_keys import (
    create_service_key,
    rotate_service_key,
    secret_of,
    set_service_key_status,
)  # fmt: skip
from tests.tools.signer import JSON, RawClient, authorization, digest

METERS = "/mgt/v1/meters"
BODY = json.dumps({"meter_code": "tokens"}).encode()
INVALID, NOT_FOUND, DISABLED, EXPIRED, REALM, ACCOUNT = (
    f"AUTH.{code}"
    for code in (
        "INVALID_SERVICE_SIGNATURE", "SERVICE_KEY_NOT_FOUND", "SERVICE_KEY_DISABLED", "SERVICE_KEY_EXPIRED",
        "SERVICE_KEY_REALM_FORBIDDEN", "SERVICE_KEY_ACCOUNT_FORBIDDEN",
    )
)  # fmt: skip

VECTOR = {
    "secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "method": "POST",
    "path": "/mgt/v1/gate/authorize",
    "body": b'{"feature_code": "openai.gpt-4o"}',
    "ts": "2026-01-10T00:00:00.000000+00:00",
    "nonce": "00112233445566778899aabbccddeeff",
    "headers": {
        "content-digest": "sha-256=:yBkM5RDYrGiODOPDzYfXJeiKQ87NoA9Hp9dhrbrDkoA=:",
        "content-type": JSON,
        "x-realm-id": "demo-realm-1",
        "x-principal-id": "customer_123",
        "x-user-id": "user_456",
        "idempotency-key": "ik_authorize_0001",
    },
    "sig": "9SL7Lqm3kocdxATyYWKhk1p5mOyAhJD83v1YB6/Y/YE=",
}


def outcome(response):
    """Return status and code; the refusals of this module carry the whole envelope."""
    document = response.json()
    if response.status_code >= 400:
        assert set(document) == {"ok", "code", "message", "trace_id", "meta", "error"}
        assert document["meta"]["status"] == response.status_code
    return response.status_code, document["code"]


@pytest.fixture
def raw(realm, service_key):
    """A client that signs by hand."""
    return RawClient(realm, service_key)


# --- the vector ---------------------------------------------------------------


def test_vector_of_the_description():
    credentials = signing.Credentials(
        "pk-test", VECTOR["sig"], VECTOR["ts"], VECTOR["nonce"]
    )

    text = signing.signed_text(
        method="post",
        path_and_query=VECTOR["path"],
        credentials=credentials,
        headers=VECTOR["headers"],
    )

    assert signing.content_digest(VECTOR["body"]) == VECTOR["headers"]["content-digest"]
    assert text.count(b"\n") == 11
    assert signing.sign(bytes(range(32)), text) == VECTOR["sig"]
    assert base64.b64decode(VECTOR["secret"]) == bytes(range(32))


def test_digest_of_nothing():
    assert (
        signing.content_digest(b"")
        == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
    )


def test_tests_sign_as_the_vector():
    header = authorization(
        bytes(range(32)),
        "pk-test",
        VECTOR["method"],
        VECTOR["path"],
        VECTOR["headers"],
        ts=VECTOR["ts"],
        nonce=VECTOR["nonce"],
    )

    assert header == (
        f"SVC-AUTH keyId=pk-test,sig={VECTOR['sig']},ts={VECTOR['ts']},nonce={VECTOR['nonce']},alg=HMAC-SHA256"
    )
    assert digest(VECTOR["body"]) == VECTOR["headers"]["content-digest"]


# --- what is accepted ---------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"{METERS}?limit=5", f"{METERS}?q=a%20b&active=true", f"{METERS}?q=a+b", f"{METERS}?q=%C3%A9", f"{METERS}?q=%7B",
        f"{METERS}?q={{",
    ],
)  # fmt: skip
def test_query_is_signed_as_sent(raw, path):
    assert raw.request("GET", path).status_code == 200


def test_question_mark_without_a_query_is_not_signed(raw):
    assert (
        raw.send("GET", f"{METERS}?", headers=raw.signed("GET", METERS)).status_code
        == 200
    )


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a%20b",
        "a%2520b",
        "%C3%A9",
        "{x}",
        "%7Bx%7D",
        "[x]",
        "a|b",
        "a^b",
        "~a",
        "a'b(c)",
        "a,b;c=d",
        "a:b@c",
        "a%3Fb",
        "%23",
    ],
)
def test_path_is_accepted_as_clients_write_it(raw, name):
    response = raw.request("GET", f"{METERS}/{name}")

    assert outcome(response) == (404, "RESOURCE.NOT_FOUND")


def test_empty_content_type_is_signed_as_empty(raw):
    assert raw.request("GET", METERS, content_type=None).status_code == 200


def test_headers_beyond_ascii_are_signed_as_utf8(raw):
    response = raw.bound(principal_id="ÅKE", user_id="Ünï").request(
        "GET", "/mgt/v1/wallet/balance"
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%dT%H:%M:%S+00:00",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%dT%H:%M:%S.%f+00:00",
        "%Y-%m-%dT%H:%M:%S.%fZ",
    ],
)
def test_instant_is_signed_as_written(raw, form):
    assert (
        raw.request("GET", METERS, ts=datetime.now(UTC).strftime(form)).status_code
        == 200
    )


# --- the grammar --------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda header: "",
        lambda header: header.removeprefix("SVC-AUTH "),
        lambda header: header.replace("SVC-AUTH", "svc-auth"),
        lambda header: header.replace("SVC-AUTH", "Bearer"),
        lambda header: header.replace("SVC-AUTH ", "SVC-AUTH  "),
        lambda header: header.replace(",sig=", ", sig="),
        lambda header: header.replace("alg=HMAC-SHA256", "alg=none"),
        lambda header: header.replace("alg=HMAC-SHA256", "alg=HMAC-SHA512"),
        lambda header: header.replace(",alg=HMAC-SHA256", ""),
        lambda header: header + ",alg=HMAC-SHA256",
        lambda header: header + " ",
        lambda header: header + "\x00",
        lambda header: header.replace("nonce=", "nonce=xyz"),
        lambda header: header[: header.index("nonce=") + 12] + ",alg=HMAC-SHA256",
        lambda header: header.replace("keyId=", "keyid="),
        lambda header: header.replace("keyId=", "keyId=é"),
        lambda header: (
            "SVC-AUTH "
            + ",".join(reversed(header.removeprefix("SVC-AUTH ").split(",")))
        ),
        lambda header: f"{header},{header}",
        lambda header: header.replace("ts=", "ts=yesterday "),
        lambda header: header.replace("keyId=pk", "keyId=" + "p" * 300),
    ],
    ids=range(20),
)
def test_header_outside_the_grammar_is_refused(raw, change):
    headers = raw.signed("GET", METERS)

    response = raw.send(
        "GET",
        METERS,
        headers={**headers, "authorization": change(headers["authorization"])},
    )

    status, code = outcome(response)
    assert (status, code) in {(401, INVALID), (400, "VALIDATION.INVALID_INPUT")}


def test_missing_authorization_is_refused(raw):
    headers = raw.signed("GET", METERS)
    del headers["authorization"]

    assert outcome(raw.send("GET", METERS, headers=headers)) == (401, INVALID)


# --- each step, and the order of the steps ------------------------------------


@pytest.fixture
def faults(realm, other_realm, service_key, raw, at, by):
    """By verification step, in order: how to make it fail, and what it answers."""

    def update(**columns):
        def change(request):
            ServiceKey.objects.filter(pk=service_key.pk).update(**columns)

        return change

    def header(name, value):
        def change(request):
            request[name] = value

        return change

    def replaced(old, new):
        def change(request):
            request["authorization"] = request["authorization"].replace(old, new)

        return change

    def stale(request):
        request["authorization"] = raw.signed("GET", METERS, ts="2020-01-01T00:00:00Z")[
            "authorization"
        ]

    return [
        ("realm absent", header("x-realm-id", ""), (400, "VALIDATION.INVALID_INPUT")),
        ("realm unknown", header("x-realm-id", "nowhere"), (404, "AUTH.UNKNOWN_REALM")),
        ("grammar", replaced("SVC-AUTH", "SVC"), (401, INVALID)),
        ("key unknown", replaced(service_key.pk, "pk-unknown"), (401, NOT_FOUND)),
        ("key disabled", update(status="disabled"), (403, DISABLED)),
        ("key expired", update(expires_at=at.replace(year=2025)), (403, EXPIRED)),
        ("realm not the key's", update(allowed_realms=[other_realm.pk]), (403, REALM)),
        ("account not the key's", lambda request: (update(allowed_accounts=["a"])(request), header("x-billing-account-id", "b")(request)), (403, ACCOUNT)),
        ("clock", stale, (401, INVALID)),
        ("digest", header("content-digest", "sha-256=:AAAA:"), (401, INVALID)),
        ("signature", header("idempotency-key", "another"), (401, INVALID)),
    ]  # fmt: skip


SENTENCES = {
    "grammar": "not a SVC-AUTH signature",
    "clock": "away from the server's clock",
    "digest": "Content-Digest does not match",
    "signature": "signature does not match the request",
}


def with_faults(raw, faults, at, by):
    """Send one request with all these faults at once."""
    from config.tenancy.history import auditing

    headers = raw.signed("GET", METERS)
    with auditing(by, at=at):
        # Later steps first, so that what an earlier one writes stays.
        for _, change, _ in reversed(faults):
            change(headers)
    return raw.send("GET", METERS, headers=headers)


@pytest.mark.parametrize("step", range(11))
def test_each_step_has_its_code(raw, faults, at, by, step):
    name, _, expected = faults[step]

    response = with_faults(raw, [faults[step]], at, by)

    assert outcome(response) == expected
    assert SENTENCES.get(name, "") in response.json()["message"]


@pytest.mark.parametrize("step", range(11))
def test_earlier_step_answers_first(raw, faults, at, by, step):
    """With this step and every later one failing, this one is told."""
    name, _, expected = faults[step]

    response = with_faults(raw, faults[step:], at, by)

    assert outcome(response) == expected
    assert SENTENCES.get(name, "") in response.json()["message"]


def test_unknown_realm_tells_which_to_forget(raw):
    headers = raw.signed("GET", METERS) | {"x-realm-id": "nowhere"}

    answer = raw.send("GET", METERS, headers=headers).json()

    assert answer["meta"] == {
        "status": 404,
        "realm_id": "nowhere",
        "clear_cached_realm": True,
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("suspended", (403, "AUTH.REALM_INACTIVE")),
        ("deleted", (404, "AUTH.UNKNOWN_REALM")),
        ("active", (200, "OK")),
    ],
)
def test_realm_status_counts_at_the_next_request(raw, realm, at, by, status, expected):
    assert raw.request("GET", METERS).status_code == 200

    set_realm_status(realm=realm, status=status, at=at, by=by)

    assert outcome(raw.request("GET", METERS)) == expected


# --- the clock ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "accepted"),
    [
        (0, True),
        (-280, True),
        (300, True),
        (-301, False),
        (301.5, False),
        (-86_400, False),
        (86_400, False),
    ],
)
def test_skew_over_the_wire(raw, seconds, accepted):
    ts = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()

    response = raw.request("GET", METERS, ts=ts)

    assert outcome(response) == ((200, "OK") if accepted else (401, INVALID))


@pytest.mark.parametrize(
    ("skew", "accepted"),
    [
        (timedelta(seconds=300), True), (timedelta(seconds=-300), True), (timedelta(0), True),
        (timedelta(seconds=300, microseconds=1), False), (timedelta(seconds=-300, microseconds=-1), False),
        (timedelta(seconds=301), False), (timedelta(seconds=-301), False),
    ],
)  # fmt: skip
def test_skew_to_the_microsecond(raw, service_key, at, skew, accepted):
    headers = raw.signed("GET", METERS, ts=(at + skew).isoformat())
    request = RequestFactory().get(
        METERS, headers=headers, content_type=JSON, CONTENT_TYPE=JSON
    )
    credentials = signing.parse_authorization(headers["authorization"])

    def check():
        signed_requests.check_signature(request, credentials, service_key, at=at)

    if accepted:
        check()
    else:
        with pytest.raises(Unauthenticated, match="seconds away"):
            check()


@pytest.mark.parametrize(
    "ts",
    [
        "2026-03-10",
        "2026-03-10T12:00:00",
        "T",
        "9999-99-99T99:99:99Z",
        "2026-02-30T00:00:00Z",
        "+00:00",
    ],
)
def test_ts_that_is_no_instant_is_refused(raw, ts):
    assert outcome(raw.request("GET", METERS, ts=ts)) == (401, INVALID)


# --- what the signature covers ------------------------------------------------


ALTERATIONS = {
    "method": lambda r: r | {"method": "DELETE"},
    "path": lambda r: r | {"path": "/mgt/v1/features?limit=5"},
    "longer path": lambda r: r | {"path": "/mgt/v1/meters/x?limit=5"},
    "query": lambda r: r | {"path": f"{METERS}?limit=6"},
    "no query": lambda r: r | {"path": METERS},
    "more query": lambda r: r | {"path": f"{METERS}?limit=5&limit=500"},
    "body": lambda r: r | {"body": b'{"meter_code": "Tokens"}'},
    "body, digest too": lambda r: r | {"body": b"{}", "headers": r["headers"] | {"content-digest": digest(b"{}")}},
    "body by one byte": lambda r: r | {"body": r["body"] + b" "},
    "content type": lambda r: r | {"headers": r["headers"] | {"content-type": "application/json"}},
    "digest form": lambda r: r | {"headers": r["headers"] | {"content-digest": r["headers"]["content-digest"].replace("sha-256", "SHA-256")}},
    **{
        name: (lambda r, name=name: r | {"headers": r["headers"] | {name: "other"}})
        for name in ("x-principal-id", "x-user-id", "x-billing-user-id", "idempotency-key")
    },
    "x-billing-account-id": lambda r: r | {"headers": r["headers"] | {"x-billing-account-id": "01890000-0000-7000-8000-000000000000"}},
    "principal taken away": lambda r: r | {"headers": {k: v for k, v in r["headers"].items() if k != "x-principal-id"}},
    "principal made user": lambda r: r | {"headers": r["headers"] | {"x-principal-id": "", "x-user-id": "acme\nx-user-id:u-1"}},
    "ts": lambda r: r | {"headers": r["headers"] | {"authorization": r["headers"]["authorization"].replace("+00:00", "Z")}},
    "nonce": lambda r: r | {"headers": r["headers"] | {"authorization": r["headers"]["authorization"].replace("nonce=", "nonce=0")}},
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERATIONS)
def test_altered_request_is_refused(raw, name):
    path = f"{METERS}?limit=5"
    client = raw.bound(principal_id="acme", user_id="u-1")
    request = {
        "method": "POST",
        "path": path,
        "body": BODY,
        "headers": client.signed("POST", path, BODY),
    }

    changed = ALTERATIONS[name](request)
    response = client.send(
        changed["method"], changed["path"], changed["body"], changed["headers"]
    )

    expected = (
        (400, "VALIDATION.INVALID_INPUT")
        if name == "principal made user"
        else (401, INVALID)
    )
    assert outcome(response) == expected
    # The control: unaltered it is taken.
    assert client.send("POST", path, BODY, request["headers"]).status_code in {200, 201}


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("x?limit=5", "x%3Flimit=5"), ("x%3Flimit=5", "x?limit=5"), ("a%20b", "a%2520b"), ("%7Bx%7D", "%257Bx%257D"),
        ("a%23b", "a%2523b"), ("a%0Ab", "a%0A%0Ab"), ("[a]", "%255Ba%255D"),
    ],
)  # fmt: skip
def test_signature_of_one_path_is_none_of_another(raw, signed, sent):
    headers = raw.signed("GET", f"{METERS}/{signed}")

    assert outcome(raw.send("GET", f"{METERS}/{sent}", headers=headers)) == (
        401,
        INVALID,
    )


def test_request_for_another_realm_of_the_key_is_refused(
    raw, realm, other_realm, service_key, at, by
):
    from config.tenancy.history import auditing

    with auditing(by, at=at):
        ServiceKey.objects.filter(pk=service_key.pk).update(
            allowed_realms=[realm.pk, other_realm.pk]
        )
    headers = raw.signed("GET", METERS)

    altered = raw.send("GET", METERS, headers=headers | {"x-realm-id": other_realm.pk})

    assert outcome(altered) == (401, INVALID)
    assert raw.request("GET", METERS, x_realm_id=other_realm.pk).status_code == 200


def test_answer_never_tells_the_right_signature(raw, service_key):
    secret = secret_of(service_key)
    headers = raw.signed("POST", METERS, BODY)
    right = headers["authorization"].partition("sig=")[2].partition(",")[0]
    wrong = base64.b64encode(secrets.token_bytes(32)).decode()

    for altered in (
        headers | {"authorization": headers["authorization"].replace(right, wrong)},
        headers | {"content-digest": "sha-256=:AAAA:"},
    ):
        response = raw.send("POST", METERS, BODY, altered)

        told = response.content.decode() + json.dumps(dict(response.headers))
        assert response.status_code == 401
        for hidden in (
            right,
            base64.b64encode(secret).decode(),
            secret.hex(),
            digest(BODY),
        ):
            assert hidden not in told


# --- once ---------------------------------------------------------------------


def test_repeated_read_is_refused(raw):
    headers = raw.signed("GET", METERS)

    first, again = (raw.send("GET", METERS, headers=headers) for _ in range(2))

    assert first.status_code == 200
    assert outcome(again) == (401, INVALID)
    assert "already used" in again.json()["message"]


def test_same_nonce_in_another_read_is_refused(raw):
    nonce = secrets.token_hex(16)
    raw.request("GET", METERS, nonce=nonce)

    assert outcome(raw.request("GET", "/mgt/v1/features", nonce=nonce)) == (
        401,
        INVALID,
    )


def test_same_nonce_of_another_key_is_accepted(raw, realm, at, by):
    nonce = secrets.token_hex(16)
    other = RawClient(realm, create_service_key(realm=realm, at=at, by=by))
    raw.request("GET", METERS, nonce=nonce)

    assert other.request("GET", METERS, nonce=nonce).status_code == 200


def test_refused_request_spends_no_nonce(raw):
    headers = raw.signed("GET", METERS)
    raw.send("GET", METERS, headers=headers | {"x-user-id": "eve"})

    assert raw.send("GET", METERS, headers=headers).status_code == 200


def test_repeated_write_is_answered_again(raw):
    headers = raw.signed("POST", METERS, BODY)

    first, again = (raw.send("POST", METERS, BODY, headers) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Idempotency-Replayed"] == "true"


def test_preflight_is_a_read_by_nonce(raw, realm, account, user):
    client = raw.bound(principal_id="acme", user_id="u-1")
    body = b'{"feature_code": "chat"}'
    headers = client.signed("POST", "/mgt/v1/gate/preflight", body)
    client.send("POST", "/mgt/v1/gate/preflight", body, headers)

    assert outcome(client.send("POST", "/mgt/v1/gate/preflight", body, headers)) == (
        401,
        INVALID,
    )


def test_nonce_is_kept_for_longer_than_a_signature_lives():
    assert authentication.NONCE_KEPT >= 2 * signed_requests.CLOCK_SKEW


@pytest.fixture
def committed_key(committed_realm, at, by):
    return create_service_key(realm=committed_realm, at=at, by=by)


@pytest.mark.parametrize("rounds", [5])
def test_one_of_many_equal_reads_is_answered(committed_realm, committed_key, rounds):
    raw = RawClient(committed_realm, committed_key)
    threads = 16
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            headers, barrier = raw.signed("GET", METERS), Barrier(threads)

            def send(_):
                try:
                    connection.ensure_connection()
                    barrier.wait(timeout=30)
                    return raw.send("GET", METERS, headers=headers).status_code
                finally:
                    connection.close()

            statuses = sorted(pool.map(send, range(threads)))

            assert statuses == [200] + [401] * (threads - 1)
    print(f"\n{rounds} races of {threads}: one answer each")


# --- the key, at the next request ---------------------------------------------


def test_disabled_key_is_refused_and_enabled_again_is_not(raw, service_key, at, by):
    set_service_key_status(key=service_key, status="disabled", at=at, by=by)
    refused = outcome(raw.request("GET", METERS))
    set_service_key_status(key=service_key, status="active", at=at, by=by)

    assert refused == (403, DISABLED)
    assert raw.request("GET", METERS).status_code == 200


def test_rotated_key_has_another_secret(raw, realm, service_key, at, by):
    rotated = rotate_service_key(key=service_key, at=at, by=by)

    assert outcome(raw.request("GET", METERS)) == (401, INVALID)
    assert RawClient(realm, rotated).request("GET", METERS).status_code == 200


def test_key_expires_at_its_instant(realm, at, by):
    key = create_service_key(
        realm=realm, expires_at=datetime.now(UTC) + timedelta(seconds=1), at=at, by=by
    )
    raw = RawClient(realm, key)

    assert raw.request("GET", METERS).status_code == 200
    assert key.is_expired(at=key.expires_at)
    assert not key.is_expired(at=key.expires_at - timedelta(microseconds=1))


def test_key_of_another_realm_is_refused(raw, other_realm):
    assert outcome(raw.request("GET", METERS, x_realm_id=other_realm.pk)) == (
        403,
        REALM,
    )


def test_key_without_realms_may_act_in_none(raw, service_key, at, by):
    from config.tenancy.history import auditing

    with auditing(by, at=at):
        ServiceKey.objects.filter(pk=service_key.pk).update(allowed_realms=[])

    assert outcome(raw.request("GET", METERS)) == (403, REALM)


def test_unsigned_header_makes_nobody_an_administrator(realm, at, by):
    key = create_service_key(realm=realm, scopes=["runtime"], at=at, by=by)
    raw = RawClient(realm, key)

    headers = raw.signed("GET", METERS) | {"x-realm-admin": "true"}

    assert outcome(raw.send("GET", METERS, headers=headers)) == (
        403,
        "AUTH.INSUFFICIENT_SCOPE",
    )


def test_use_of_a_key_is_noted_once_a_minute(raw, service_key):
    before = datetime.now(UTC)
    raw.request("GET", METERS)
    first = ServiceKey.objects.get(pk=service_key.pk).last_used_at
    raw.request("GET", METERS)

    assert first >= before
    assert ServiceKey.objects.get(pk=service_key.pk).last_used_at == first
    assert service_key.history.count() == 1


def test_old_nonces_are_forgotten(db):
    from config.tenancy.jobs import purge_nonces

    now = datetime.now(UTC)
    for age in (0, 599, 601, 10_000):
        ServiceKeyNonce.objects.create(
            key_id="pk-x", nonce=str(age), seen_at=now - timedelta(seconds=age)
        )

    gone = purge_nonces(0)

    left = ServiceKeyNonce.objects.filter(key_id="pk-x").values_list("nonce", flat=True)
    assert gone >= 2
    assert sorted(left) == ["0", "599"]
