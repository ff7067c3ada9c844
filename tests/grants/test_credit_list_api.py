"""Listing the movements of a balance through HTTP."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from grants.models import CreditBalance
from grants.services.funding import settle


def path_of(user):
    return f"billing-users/{user.pk}/credits"


def test_list_pages_through_every_movement_newest_first(api, user, credit, at):
    for number in range(1, 5):
        credit(user, number, f"inv-{number}")
    settle(
        CreditBalance.objects.get(user=user),
        reserved_xusd=0,
        spend_xusd=6,
        source_ref="lease:1",
        at=at,
    )

    pages, cursor = [], None
    while True:
        found = api.get(
            path_of(user), limit=2, **({"cursor": cursor} if cursor else {})
        ).json()["data"]
        pages.append([item["amount_xusd"] for item in found["items"]])
        cursor = found.get("next_cursor")
        if cursor is None:
            break

    assert pages == [["-6", "4"], ["3", "2"], ["1"]]


def test_list_shows_a_spend_without_audit_facts(api, user, credit, at):
    credit(user, 10)
    settle(
        CreditBalance.objects.get(user=user),
        reserved_xusd=0,
        spend_xusd=6,
        source_ref="lease:1",
        at=at,
    )

    (spend,) = api.get(path_of(user), kind="spend").json()["data"]["items"]

    assert (spend["kind"], spend["amount_xusd"], spend["source_ref"]) == (
        "spend",
        "-6",
        "lease:1",
    )
    assert [
        spend[name] for name in ("actor", "operator", "reason", "ticket_id", "trace_id")
    ] == [None] * 5


def test_list_filters_by_several_kinds(api, user, credit, at):
    credit(user, 10)
    settle(
        CreditBalance.objects.get(user=user),
        reserved_xusd=0,
        spend_xusd=6,
        source_ref="lease:1",
        at=at,
    )

    both = api.get(path_of(user) + "?kind[]=credit&kind[]=spend").json()["data"][
        "items"
    ]
    corrections = api.get(path_of(user), kind="correction").json()["data"]["items"]

    assert [item["kind"] for item in both] == ["spend", "credit"]
    assert corrections == []


@pytest.mark.parametrize("query", ["kind=gift", "cursor=forged", "from=yesterday"])
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
