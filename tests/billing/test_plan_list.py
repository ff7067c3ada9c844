"""The list of plans."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import Plan
from tests.billing.answers import invalid, paged, queries_of, read, refusal
from tests.catalog.make import make_family, make_feature


@pytest.fixture
def five(realm, at, by, make_plan):
    make_family(realm, at, by, "chat")
    make_feature(realm, at, by, "chat.gpt")
    return [
        make_plan(
            "basic", name="Same", metadata={"gate_bundle_key": "__default_bundle__"}
        ),
        make_plan("pro", name="Same", priority=5, feature_codes=["chat.gpt"]),
        make_plan(
            "max", name="Zed", priority=5, active=False, feature_family_codes=["chat"]
        ),
        make_plan(
            "seats",
            name="Add",
            kind="addon",
            metadata={
                "billing_defaults": {
                    "period": {
                        "billing_mode": "hybrid",
                        "issue_anchor": "binding_start",
                    }
                }
            },
        ),
        make_plan(
            "spring",
            name="Élan",
            kind="promo",
            priority=-1,
            metadata={"grants": [{"grant_program_code": "bonus", "amount_xusd": "1"}]},
        ),
    ]


def codes(answer):
    data = read(answer, wire.BillingPlanListEnvelope)
    return [row["plan_code"] for row in data["items"]]


NEWEST = ["spring", "seats", "max", "pro", "basic", "default_billing_plan"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, NEWEST),
        ({"kind": "base"}, ["max", "pro", "basic", "default_billing_plan"]),
        ({"active": "false"}, ["max"]),
        ({"active": "true", "kind": "promo"}, ["spring"]),
        ({"plan_code": "pro"}, ["pro"]),
        ({"plan_id": "pro"}, []),
        ({"q": "SAME"}, ["pro", "basic"]),
        ({"q": "sea"}, ["seats"]),
        ({"feature_code": "chat.gpt"}, ["pro"]),
        ({"feature_family_code": "chat"}, ["max"]),
        ({"gate_bundle_key": "__default_bundle__"}, ["basic"]),
        ({"grant_program_code": "bonus"}, ["spring"]),
        ({"billing_mode": "hybrid"}, ["seats"]),
        ({"issue_anchor": "binding_start"}, ["seats"]),
        ({"issue_anchor": "calendar_start"}, []),
        (
            {"sort": "priority", "order": "desc"},
            ["pro", "max", "seats", "basic", "default_billing_plan", "spring"],
        ),
        (
            {"sort": "plan_code"},
            ["basic", "default_billing_plan", "max", "pro", "seats", "spring"],
        ),
        ({"order": "asc"}, NEWEST[::-1]),
    ],
)
def test_plan_list_filters_and_sorts(api, five, query, expected):
    found = codes(api.get("billing-plans", **query))

    assert (
        sorted(found) == sorted(expected)
        if query.get("sort") == "priority"
        else found == expected
    )


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    "sort", ["created_at", "updated_at", "name", "plan_code", "priority"]
)
def test_plan_pages_lose_and_repeat_nothing(api, five, sort, order):
    whole = paged(api, "billing-plans", "plan_code", limit=50, sort=sort, order=order)

    for limit in (1, 2, 3):
        assert (
            paged(
                api, "billing-plans", "plan_code", limit=limit, sort=sort, order=order
            )
            == whole
        )
    assert sorted(whole) == sorted(NEWEST)


@pytest.mark.parametrize("name", ["é" * 100, "表" * 100, "x" * 255])
def test_page_ends_at_a_long_name(api, make_plan, name):
    make_plan("one", name=name)
    make_plan("two", name=name)

    found = paged(api, "billing-plans", "plan_code", limit=1, sort="name", order="desc")

    assert sorted(found) == ["default_billing_plan", "one", "two"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sort": "metadata"}, "sort"),
        ({"order": "up"}, "order"),
        ({"kind": "trial"}, "kind"),
        ({"active": "yes"}, "active"),
        ({"code": "pro"}, "code"),
    ],
)
def test_bad_plan_filter_is_refused(api, query, field):
    assert refusal(api.get("billing-plans", **query)) == invalid(field)


def test_cursor_of_another_order_is_refused(api, five):
    cursor = api.get("billing-plans", limit="2", sort="name").json()["data"][
        "next_cursor"
    ]

    answer = api.get("billing-plans", cursor=cursor, sort="plan_code")

    assert refusal(answer) == invalid("cursor")


def test_entitlements_are_included_on_request(api, five):
    (plan,) = read(
        api.get("billing-plans", plan_code="pro", include="entitlements"),
        wire.BillingPlanListEnvelope,
    )["items"]
    (bare,) = read(
        api.get("billing-plans", plan_code="pro"), wire.BillingPlanListEnvelope
    )["items"]

    assert [
        (rule["feature_code"], rule["effect"]) for rule in plan["entitlements"]
    ] == [("chat.gpt", "allow")]
    assert "entitlements" not in bare


def test_list_needs_the_same_queries_for_one_and_three_rows(
    api, realm, at, by, make_plan
):
    make_feature(realm, at, by, "chat.gpt")

    def listed():
        return api.get("billing-plans", q="plan-", include="entitlements")

    make_plan("plan-1", feature_codes=["chat.gpt"])
    listed()
    for_one = queries_of(listed)
    make_plan("plan-2", feature_codes=["chat.gpt"], feature_family_codes=["chat"])
    make_plan("plan-3", feature_family_codes=["chat"])

    assert queries_of(listed) == for_one


def test_grants_read_as_a_list_of_digits_however_they_were_written(api, make_plan):
    """And are found: the answers are read with the official client's models."""
    lone = {"grant_program_code": "welcome", "amount_xusd": 1}
    make_plan("loose", metadata={"gate_bundle_key": "Pro", "grants": lone})
    make_plan("listed", metadata={"grants": [{**lone, "effect": "deny"}]})
    make_plan("none", metadata={"grants": []})

    assert codes(api.get("billing-plans", gate_bundle_key="pro")) == ["loose"]
    answer = api.get("billing-plans", grant_program_code="welcome", sort="plan_code")
    assert codes(answer) == ["listed", "loose"]
    assert [row["metadata"]["grants"] for row in answer.json()["data"]["items"]] == [
        [{"grant_program_code": "welcome", "amount_xusd": "1", "effect": "deny"}],
        [{"grant_program_code": "welcome", "amount_xusd": "1"}],
    ]
    assert Plan.objects.get(plan_code="loose").metadata["grants"] == lone
