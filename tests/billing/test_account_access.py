"""Who may see and change an account, and which ones the list shows."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.services.users import ensure_user
from config.kernel.ids import new_id
from tests.billing.answers import invalid, paged, queries_of, read, refusal
from tests.billing.people import accounts_named


def address_of(account, *rest):
    return "/".join([f"billing-accounts/{getattr(account, 'pk', account)}", *rest])


@pytest.mark.parametrize(
    "rest",
    [(), ("seat-summary",), ("billing-state",), ("users",), ("billing-details",)],
)
def test_unknown_account_is_not_found(api, other_realm, at, by, rest):
    (elsewhere,) = accounts_named(other_realm, at, by, "acme")

    for account in (elsewhere.pk, new_id(), "acme", "0"):
        answer = api.get(address_of(account, *rest))
        assert refusal(answer) == (404, "RESOURCE.NOT_FOUND", None)


@pytest.mark.parametrize(
    "rest",
    [(), ("seat-summary",), ("billing-state",), ("users",), ("billing-details",)],
)
def test_account_outside_the_keys_list_is_forbidden(limited_api, realm, at, by, rest):
    (other,) = accounts_named(realm, at, by, "globex")

    answer = limited_api.get(address_of(other, *rest))

    assert refusal(answer) == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)


@pytest.mark.parametrize(
    "named",
    [{"principal_id": "globex"}, {"billing_account_id": "OTHER"}],
    ids=["principal", "account"],
)
def test_write_to_another_account_than_the_headers_name_is_forbidden(
    api, realm, account, at, by, named
):
    (other,) = accounts_named(realm, at, by, "globex")
    named = {
        name: value.replace("OTHER", str(other.pk)) for name, value in named.items()
    }

    answer = api.bound(**named).patch(address_of(account), {"seat_limit": 1})

    assert refusal(answer)[:2] == (403, "AUTH.INSUFFICIENT_SCOPE")
    account.refresh_from_db()
    assert account.seat_limit is None


def test_write_to_the_account_that_the_headers_name_passes(api, account):
    bound = api.bound(principal_id="acme", billing_account_id=str(account.pk).upper())

    assert bound.patch(address_of(account), {"seat_limit": 1}).status_code == 200


def test_key_of_some_accounts_knows_them_in_any_spelling(limited_api, account):
    for spelling in (str(account.pk), str(account.pk).upper()):
        bound = limited_api.bound(billing_account_id=spelling)
        assert bound.get(address_of(account)).status_code == 200
    for foreign in (str(new_id()), "acme", "None"):
        answer = limited_api.bound(billing_account_id=foreign).get(address_of(account))
        assert refusal(answer) == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)


@pytest.fixture
def five(realm, at, by):
    return accounts_named(
        realm, at, by, "acme", "acme-eu", "globex", "initech", "umbrella"
    )


def principals(answer):
    data = read(answer, wire.BillingAccountListEnvelope)
    return [row["billing_principal_id"] for row in data["items"]]


def test_accounts_are_listed_newest_first(api, five):
    assert principals(api.get("billing-accounts")) == [
        "umbrella",
        "initech",
        "globex",
        "acme-eu",
        "acme",
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "ACME"}, ["acme-eu", "acme"]),
        ({"q": "%25"}, []),
        ({"billing_principal_id": "acme"}, ["acme"]),
        ({"billing_principal_id": "nobody"}, []),
        (
            {"sort_order": "asc", "q": "e"},
            ["acme", "acme-eu", "globex", "initech", "umbrella"],
        ),
        ({"created_after": "2000-01-01T00:00:00Z", "q": "glob"}, ["globex"]),
        ({"created_after": "2999-01-01T00:00:00Z"}, []),
        ({"created_before": "2000-01-01T00:00:00Z"}, []),
        ({"limit": "2"}, ["umbrella", "initech"]),
        ({"limit": "0"}, ["umbrella", "initech", "globex", "acme-eu", "acme"]),
    ],
)
def test_account_list_filters(api, five, query, expected):
    assert principals(api.get("billing-accounts", **query)) == expected


def test_account_list_takes_several_ids(api, five):
    wanted = "&billing_account_id=".join([str(five[0].pk), "nonsense", str(five[3].pk)])

    assert principals(api.get("billing-accounts", billing_account_id=wanted)) == [
        "initech",
        "acme",
    ]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_account_pages_lose_and_repeat_nothing(api, five, order):
    found = paged(api, "billing-accounts", "billing_principal_id", sort_order=order)

    names = [account.billing_principal_id for account in five]
    assert found == (names if order == "asc" else names[::-1])


def test_cursor_of_another_list_is_refused(api, five):
    cursor = api.get("billing-accounts", limit="2").json()["data"]["next_cursor"]

    for query in ({"q": "acme"}, {"sort_order": "asc"}):
        answer = api.get("billing-accounts", cursor=cursor, **query)
        assert refusal(answer) == invalid("cursor")
    assert refusal(api.get("billing-accounts", cursor="x")) == invalid("cursor")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sort_by": "seat_limit"}, "sort_by"),
        ({"sort_order": "up"}, "sort_order"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"name": "acme"}, "name"),
    ],
)
def test_bad_account_filter_is_refused(api, query, field):
    assert refusal(api.get("billing-accounts", **query)) == invalid(field)


def test_limited_key_lists_its_accounts_only(limited_api, five):
    assert principals(limited_api.get("billing-accounts")) == ["acme"]


def test_list_of_one_realm_shows_no_other(api, account, other_realm, at, by):
    accounts_named(other_realm, at, by, "elsewhere")

    assert principals(api.get("billing-accounts")) == ["acme"]


@pytest.mark.parametrize(
    "expand", ["seat_summary,billing_details", "seat_summary&expand=billing_details"]
)
def test_list_is_expanded(api, account, user, expand):
    api.patch(address_of(account, "billing-details"), {"legal_name": "Acme Inc."})

    data = read(
        api.get("billing-accounts", expand=expand), wire.BillingAccountListEnvelope
    )

    (row,) = data["items"]
    assert row["seat_summary"]["active_user_count"] == 1
    assert row["billing_details"]["legal_name"] == "Acme Inc."


def test_list_needs_the_same_queries_for_one_and_three_rows(api, realm, at, by):
    def listed():
        return api.get("billing-accounts", expand="seat_summary,billing_details")

    accounts_named(realm, at, by, "acme")
    listed()
    for_one = queries_of(listed)
    for account in accounts_named(realm, at, by, "globex", "initech"):
        ensure_user(account=account, business_user_id="u", at=at, by=by)
        api.patch(address_of(account, "billing-details"), {"legal_name": "x"})

    assert queries_of(listed) == for_one
