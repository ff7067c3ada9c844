"""Giving credit through HTTP."""

import json

import pytest

from billing.services.accounts import ensure_account
from config.kernel.ids import new_id
from config.tenancy.models import Scope
from config.tenancy.services.service_keys import create_service_key
from grants.models import GrantLot
from grants.services.funding import settle
from grants.services.ledger import MOST_XUSD
from tests.tools.client import SignedClient
from tests.tools.purse import purse

INT64_MAX = 2**63 - 1


def path_of(user):
    return f"billing-users/{user.pk}/credits"


def body(**changed):
    return {"amount_xusd": "500", "source_ref": "inv-1", **changed}


def test_credit_answers_201_then_200(api, user):
    first = api.post(path_of(user), body())
    again = api.post(path_of(user), body())

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["data"] == first.json()["data"]
    assert purse(user).granted_xusd == 500


def test_credit_shows_its_lot_and_is_explained_in_the_ledger(api, user, service_key):
    audit = {
        "operator": "grace@example.com",
        "reason": "goodwill",
        "ticket_id": "T-77",
        "effective_at": "2026-01-02T03:04:05Z",
    }

    answer = api.post(path_of(user), body(audit=audit))

    lot = GrantLot.objects.get(user=user)
    shown = answer.json()["data"]
    assert shown.pop("given_at").endswith("Z")
    assert shown == {
        "grant_id": str(lot.pk),
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "amount_xusd": "500",
        "consumed_xusd": "0",
        "reserved_xusd": "0",
        "source_ref": "inv-1",
        "status": "ready",
    }
    posting = lot.entries.first().posting
    assert (posting.actor_kind, posting.actor_id) == (
        "service_key",
        str(service_key.pk),
    )
    assert (posting.operator, posting.explanation, posting.ticket_id) == (
        "grace@example.com",
        "goodwill",
        "T-77",
    )
    assert posting.trace_id == answer.json()["trace_id"]


def test_credits_are_listed_newest_first_page_by_page(api, user, credit, at):
    for number in range(1, 5):
        credit(user, number, f"inv-{number}")
    settle(user=user, spend_xusd=6, source_ref="lease:1", at=at)

    pages, cursor = [], None
    while True:
        found = api.get(
            path_of(user), limit=3, **({"cursor": cursor} if cursor else {})
        ).json()["data"]
        pages.append([(i["amount_xusd"], i["consumed_xusd"]) for i in found["items"]])
        cursor = found.get("next_cursor")
        if cursor is None:
            break

    assert pages == [[("4", "0"), ("3", "3"), ("2", "2")], [("1", "1")]]


@pytest.mark.parametrize("query", ["kind=credit", "cursor=forged", "from=yesterday"])
def test_list_with_a_bad_query(api, user, query):
    answer = api.get(f"{path_of(user)}?{query}")

    assert (answer.status_code, answer.json()["meta"]["field"].split(".")[0]) == (
        422,
        query.split("=")[0],
    )


def test_cursor_of_another_user(api, user, make_user, realm, credit):
    other = make_user(realm, "u-2")
    for who in (user, other):
        credit(who, 1, "inv-1")
        credit(who, 2, "inv-2")
    cursor = api.get(path_of(user), limit=1).json()["data"]["next_cursor"]

    answer = api.get(path_of(other), limit=1, cursor=cursor)

    assert (answer.status_code, answer.json()["meta"]["field"]) == (422, "cursor")


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
    assert purse(user).granted_xusd == 500


def test_credit_beyond_64_bits_in_total(api, user):
    api.post(path_of(user), body(amount_xusd=str(MOST_XUSD)))

    answer = api.post(path_of(user), body(source_ref="inv-2", amount_xusd="1"))

    assert (answer.status_code, answer.json()["meta"]["field"]) == (422, "amount_xusd")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        *(
            ({"amount_xusd": bad}, "amount_xusd")
            for bad in (
                0,
                "0",
                -1,
                "-1",
                "-0",
                str(INT64_MAX + 1),
                "9" * 400,
                "1_000",
                "+1",
                "\u0661",
                " 5 ",
                1.0,
                True,
                None,
                [],
                {},
            )
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
    assert not GrantLot.objects.filter(user=user).exists()


@pytest.mark.parametrize("missing", ["amount_xusd", "source_ref"])
def test_credit_that_lacks_a_field(api, user, missing):
    document = body()
    del document[missing]

    answer = api.post(path_of(user), document)

    assert (answer.status_code, answer.json()["meta"]["field"]) == (422, missing)


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"null",
        b'{"amount_xusd": 1e999, "source_ref": "a"}',
        b"{",
        b'{"amount_xusd":1,"amount_xusd":2,"source_ref":"a"}',
    ],
)
def test_credit_with_an_unreadable_body(api, user, raw):
    answer = api.request("POST", f"/mgt/v1/{path_of(user)}", raw=raw)

    assert answer.status_code in {400, 422}
    assert not GrantLot.objects.filter(user=user).exists()


def test_credit_needs_the_admin_scope(realm, user, at, by):
    key = create_service_key(realm=realm, scopes=[Scope.RUNTIME], at=at, by=by)
    client = SignedClient(realm, key)

    assert client.post(path_of(user), body()).status_code == 403
    assert client.get(path_of(user)).status_code == 403
    assert not GrantLot.objects.filter(user=user).exists()


def test_key_limited_to_other_accounts(realm, user, at, by):
    other = ensure_account(realm=realm, principal_id="other", at=at, by=by)
    key = create_service_key(
        realm=realm, allowed_accounts=[str(other.pk)], at=at, by=by
    )
    client = SignedClient(realm, key)

    for answer in (client.post(path_of(user), body()), client.get(path_of(user))):
        assert (answer.status_code, answer.json()["code"]) == (
            403,
            "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN",
        )


def test_users_of_another_realm_and_unknown_ones_look_the_same(
    api, make_user, other_realm, credit
):
    stranger = make_user(other_realm)
    credit(stranger, 500)
    unknown = new_id()
    answers = [
        call(f"billing-users/{who}/credits")
        for who in (stranger.pk, unknown, "not-an-id")
        for call in (api.get, lambda path: api.post(path, body()))
    ]

    assert [answer.status_code for answer in answers] == [404] * 6
    assert {answer.json()["code"] for answer in answers} == {"RESOURCE.NOT_FOUND"}
    assert purse(stranger).granted_xusd == 500


def test_answers_are_plain_json_with_a_trace_id(api, user):
    answer = api.post(path_of(user), body())

    assert answer["Content-Type"] == "application/json"
    assert json.loads(answer.content)["trace_id"] == answer["X-Trace-Id"]
