"""The wallet and the credits through HTTP, signed as the official client signs."""

import json
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from vlunaai.generated.billing_models import WalletBalanceWithBreakdownEnvelope

from config.kernel.ids import new_id
from config.tenancy.models import Scope
from config.tenancy.services.service_keys import create_service_key
from config.tenancy.tokens import sign_token
from grants.models import CreditBalance, CreditEntry
from grants.services.funding import reserve, settle
from tests.tools.client import SignedClient

INT64_MAX = 2**63 - 1


def path_of(user):
    return f"billing-users/{user.pk}/credits"


def body(**changed):
    return {"amount_xusd": "500", "source_ref": "inv-1", **changed}


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
    balance = CreditBalance.objects.get(user=user)
    reserve(balance, amount_xusd=300, at=at)
    settle(balance, reserved_xusd=100, spend_xusd=120, source_ref="lease:1", at=at)

    answer = api.bound(principal_id="acme", user_id="u-1").get("wallet/balance")

    assert answer.status_code == 200
    envelope = WalletBalanceWithBreakdownEnvelope.model_validate(answer.json())
    assert envelope.data.billing_user_id == str(user.pk)
    assert envelope.data.billing_account_id == str(user.account_id)
    assert envelope.data.available_balance.xusd == "180"
    assert envelope.data.outstanding_balance.xusd == "0"
    assert envelope.data.conversion.usd_per_xusd == "0.000001"
    assert envelope.data.conversion.as_of == envelope.data.as_of
    assert envelope.data.grants == []
    sums = {name: answer.json()["data"][name]["xusd"] for name in ("granted", "spent", "reserved")}
    assert sums == {"granted": "500", "spent": "120", "reserved": "200"}


def test_balance_of_a_new_user_is_zero_and_makes_no_balance(api, realm):
    answer = api.bound(principal_id="newcomer", user_id="u-9").get("wallet/balance")

    assert answer.status_code == 200
    assert answer.json()["data"]["available_balance"] == {"xusd": "0"}
    assert not CreditBalance.objects.in_realm(realm).exists()


def test_balance_of_a_known_user_writes_the_nonce_and_nothing_else(api, user):
    client = api.bound(principal_id="acme", user_id="u-1")
    client.get("wallet/balance")

    with CaptureQueriesContext(connection) as queries:
        answer = client.get("wallet/balance")

    writes = [q["sql"] for q in queries if q["sql"].split()[0] not in {"SELECT", "SAVEPOINT", "RELEASE"}]
    assert answer.status_code == 200
    assert [sql.split()[2] for sql in writes] == ["service_key_nonces"]


@pytest.mark.parametrize("bindings", [{}, {"principal_id": "acme"}, {"user_id": "u-1"}])
def test_balance_without_a_bound_user(api, user, bindings):
    answer = api.bound(**bindings).get("wallet/balance")

    assert (answer.status_code, answer.json()["code"]) == (401, "AUTH.MISSING_RUNTIME_BINDINGS")


def test_balance_in_another_realm_is_that_realms_own(api, user, credit, other_realm, at, by):
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

    assert (answer.status_code, answer.json()["code"]) == (403, "AUTH.INSUFFICIENT_SCOPE")


def test_token_of_another_realm(other_realm, token):
    answer = read_with(token(), other_realm)

    assert answer.status_code == 403


def test_credit_answers_201_then_200(api, user):
    first = api.post(path_of(user), body())
    again = api.post(path_of(user), body())

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["data"] == first.json()["data"]
    assert CreditBalance.objects.get(user=user).granted_xusd == 500


def test_credit_shows_its_entry(api, user, service_key):
    audit = {
        "operator": "grace@example.com",
        "reason": "goodwill",
        "ticket_id": "T-77",
        "effective_at": "2026-01-02T03:04:05Z",
    }

    answer = api.post(path_of(user), body(audit=audit))

    entry = CreditEntry.objects.get(user=user)
    shown = answer.json()["data"]
    assert shown.pop("occurred_at").endswith("Z")
    assert shown == {
        "credit_entry_id": str(entry.pk),
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "kind": "credit",
        "amount_xusd": "500",
        "source_ref": "inv-1",
        "actor": f"service_key:{service_key.pk}",
        "operator": "grace@example.com",
        "reason": "goodwill",
        "ticket_id": "T-77",
        "trace_id": answer.json()["trace_id"],
        "effective_at": "2026-01-02T03:04:05.000000Z",
    }


def test_credit_with_the_same_key_is_the_same_answer(api, user):
    first = api.post(path_of(user), body(), key="ik-1")
    again = api.post(path_of(user), body(), key="ik-1")
    other = api.post(path_of(user), body(amount_xusd="501"), key="ik-1")

    assert (again.status_code, again.content) == (201, first.content)
    assert again["Idempotency-Replayed"] == "true"
    assert other.status_code == 409


def test_credit_of_a_source_with_another_amount(api, user):
    api.post(path_of(user), body())

    answer = api.post(path_of(user), body(amount_xusd="501"))

    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert answer.json()["meta"]["field"] == "source_ref"
    assert CreditBalance.objects.get(user=user).granted_xusd == 500


def test_credit_beyond_64_bits_in_total(api, user):
    api.post(path_of(user), body(amount_xusd=str(INT64_MAX)))

    answer = api.post(path_of(user), body(source_ref="inv-2", amount_xusd="1"))

    assert (answer.status_code, answer.json()["meta"]["field"]) == (422, "amount_xusd")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        *(
            ({"amount_xusd": bad}, "amount_xusd")
            for bad in (0, "0", -1, "-1", "-0", str(INT64_MAX + 1), "9" * 400, "1_000", "+1", "١", " 5 ", 1.0, True, None, [], {})
        ),
        *(
            ({"source_ref": bad}, "source_ref")
            for bad in ("", "  ", "x" * 256, "a\u0000b", "a\nb", "\u202eb", 5, None, [])
        ),
        ({"audit": {"effective_at": "2026-01-01"}}, "audit.effective_at"),
        ({"audit": {"effective_at": "9999-01-01T00:00:00Z"}}, "audit.effective_at"),
        ({"audit": {"operator": ""}}, "audit.operator"),
        ({"audit": []}, "audit"),
        ({"granted_xusd": "1"}, "granted_xusd"),
        ({"kind": "correction"}, "kind"),
        ({"realm_id": "elsewhere"}, "realm_id"),
    ],
)
def test_credit_with_bad_input(api, user, changed, field):
    answer = api.post(path_of(user), body(**changed))

    assert answer.status_code in {400, 422}
    assert answer.json()["meta"]["field"] == field
    assert not CreditBalance.objects.filter(user=user).exists()


@pytest.mark.parametrize("missing", ["amount_xusd", "source_ref"])
def test_credit_that_lacks_a_field(api, user, missing):
    document = body()
    del document[missing]

    answer = api.post(path_of(user), document)

    assert (answer.status_code, answer.json()["meta"]["field"]) == (422, missing)


@pytest.mark.parametrize(
    "raw", [b"[]", b"null", b'{"amount_xusd": 1e999, "source_ref": "a"}', b"{", b"\xff", b'{"amount_xusd":1,"amount_xusd":2,"source_ref":"a"}']
)
def test_credit_with_an_unreadable_body(api, user, raw):
    answer = api.request("POST", f"/mgt/v1/{path_of(user)}", raw=raw)

    assert answer.status_code in {400, 422}
    assert not CreditBalance.objects.filter(user=user).exists()


def test_credit_needs_the_admin_scope(realm, user, at, by):
    key = create_service_key(realm=realm, scopes=[Scope.RUNTIME], at=at, by=by)
    client = SignedClient(realm, key)

    assert client.post(path_of(user), body()).status_code == 403
    assert client.get(path_of(user)).status_code == 403
    assert not CreditBalance.objects.filter(user=user).exists()


def test_key_limited_to_other_accounts(realm, user, at, by):
    key = create_service_key(realm=realm, allowed_accounts=[str(new_id())], at=at, by=by)
    client = SignedClient(realm, key)

    for answer in (client.post(path_of(user), body()), client.get(path_of(user))):
        assert (answer.status_code, answer.json()["code"]) == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")


def test_users_of_another_realm_and_unknown_ones_look_the_same(api, make_user, other_realm, credit):
    stranger = make_user(other_realm)
    credit(stranger, 500)
    unknown = new_id()
    answers = [
        call(f"billing-users/{who}/credits")
        for who in (stranger.pk, unknown, "not-an-id", "%00")
        for call in (api.get, lambda path: api.post(path, body()))
    ]

    assert [answer.status_code for answer in answers] == [404] * 8
    assert {answer.json()["code"] for answer in answers} == {"RESOURCE.NOT_FOUND"}
    assert CreditBalance.objects.get(user=stranger).granted_xusd == 500


def test_list_pages_through_every_movement_newest_first(api, user, credit, at):
    for number in range(1, 5):
        credit(user, number, f"inv-{number}")
    settle(CreditBalance.objects.get(user=user), reserved_xusd=0, spend_xusd=6, source_ref="lease:1", at=at)

    pages, cursor = [], None
    while True:
        found = api.get(path_of(user), limit=2, **({"cursor": cursor} if cursor else {})).json()["data"]
        pages.append([item["amount_xusd"] for item in found["items"]])
        cursor = found.get("next_cursor")
        if cursor is None:
            break

    assert pages == [["-6", "4"], ["3", "2"], ["1"]]


def test_list_shows_a_spend_without_audit_facts(api, user, credit, at):
    credit(user, 10)
    settle(CreditBalance.objects.get(user=user), reserved_xusd=0, spend_xusd=6, source_ref="lease:1", at=at)

    (spend,) = api.get(path_of(user), kind="spend").json()["data"]["items"]

    assert (spend["kind"], spend["amount_xusd"], spend["source_ref"]) == ("spend", "-6", "lease:1")
    assert [spend[name] for name in ("actor", "operator", "reason", "ticket_id", "trace_id")] == [None] * 5


def test_list_filters_by_several_kinds(api, user, credit, at):
    credit(user, 10)
    settle(CreditBalance.objects.get(user=user), reserved_xusd=0, spend_xusd=6, source_ref="lease:1", at=at)

    both = api.get(path_of(user) + "?kind[]=credit&kind[]=spend").json()["data"]["items"]
    corrections = api.get(path_of(user), kind="correction").json()["data"]["items"]

    assert [item["kind"] for item in both] == ["spend", "credit"]
    assert corrections == []


@pytest.mark.parametrize("query", ["kind=gift", "cursor=forged", "from=yesterday"])
def test_list_with_a_bad_query(api, user, query):
    answer = api.get(f"{path_of(user)}?{query}")

    assert (answer.status_code, answer.json()["meta"]["field"].split(".")[0]) == (422, query.split("=")[0])


def test_cursor_of_another_user(api, user, make_user, realm, credit):
    other = make_user(realm, "u-2")
    for who in (user, other):
        credit(who, 1, "inv-1")
        credit(who, 2, "inv-2")
    cursor = api.get(path_of(user), limit=1).json()["data"]["next_cursor"]

    answer = api.get(path_of(other), limit=1, cursor=cursor)

    assert (answer.status_code, answer.json()["meta"]["field"]) == (422, "cursor")


def queries_of_the_list(api, user):
    with CaptureQueriesContext(connection) as queries:
        answer = api.get(path_of(user))
    return len(queries), len(answer.json()["data"]["items"])


def test_list_takes_as_many_statements_for_one_entry_as_for_three(api, user, credit):
    credit(user, 1, "inv-1")
    api.get(path_of(user))
    with_one, one = queries_of_the_list(api, user)
    credit(user, 2, "inv-2")
    credit(user, 3, "inv-3")

    with_three, three = queries_of_the_list(api, user)

    assert (one, three) == (1, 3)
    assert with_one == with_three


def test_answers_are_plain_json_with_a_trace_id(api, user):
    answer = api.post(path_of(user), body())

    assert answer["Content-Type"] == "application/json"
    assert json.loads(answer.content)["trace_id"] == answer["X-Trace-Id"]
