"""The list of an account's users."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.services.users import (
    change_user,
    create_user,
)
from tests.billing.answers import invalid, paged, queries_of, read, refusal
from tests.billing.people import users_named


@pytest.fixture
def five(account, at, by):
    people = (
        ("u-1", "Ada"),
        ("u-2", "Bob"),
        ("u-3", "Cy"),
        ("v-1", "Di"),
        ("v-2", "Ed"),
    )
    found = [
        create_user(
            account=account,
            business_user_id=name,
            metadata={"display_name": person, "email": f"{person}@acme.example"},
            at=at,
            by=by,
        )
        for name, person in people
    ]
    change_user(user=found[1], status="disabled", at=at, by=by)
    change_user(user=found[2], status="deleted", at=at, by=by)
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["v-2", "v-1", "u-3", "u-2", "u-1"]),
        ({"q": "U-"}, ["u-3", "u-2", "u-1"]),
        ({"q": "ada"}, ["u-1"]),
        ({"q": "@ACME"}, ["v-2", "v-1", "u-3", "u-2", "u-1"]),
        ({"user_id": "v-1"}, ["v-1"]),
        ({"business_user_id": "v-1"}, ["v-1"]),
        ({"user_id": "v-1", "business_user_id": "v-2"}, []),
        ({"status": "active"}, ["v-2", "v-1", "u-1"]),
        ({"status": "disabled&status=deleted"}, ["u-3", "u-2"]),
        ({"status[]": "disabled"}, ["u-2"]),
        ({"limit": "1"}, ["v-2"]),
    ],
)
def test_user_list_filters(api, users, five, query, expected):
    data = read(api.get(users, **query), wire.BillingUserListEnvelope)

    assert [row["user_id"] for row in data["items"]] == expected


def test_user_pages_lose_and_repeat_nothing(api, users, five):
    assert paged(api, users, "user_id") == ["v-2", "v-1", "u-3", "u-2", "u-1"]


def test_bad_user_filter_is_refused(api, users):
    assert refusal(api.get(users, status="gone")) == invalid("status.0")


def test_list_needs_the_same_queries_for_one_and_three_rows(
    api, users, account, at, by
):
    users_named(account, at, by, "u-1")
    api.get(users)
    for_one = queries_of(lambda: api.get(users))
    users_named(account, at, by, "u-2", "u-3")

    assert queries_of(lambda: api.get(users)) == for_one
