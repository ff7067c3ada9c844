"""`expand` and `include` name what there is; lists sort the newest first."""

import pytest

from billing.services.plans import upsert_plan
from tests.billing.answers import refusal


@pytest.mark.parametrize(
    ("path", "name", "allowed"),
    [
        ("billing-accounts", "expand", "seat_summary, billing_details"),
        ("billing-plans", "include", "entitlements"),
    ],
)
@pytest.mark.parametrize(
    "asked", ["nothing", "nothing,{}", "{},nothing", "Entitlements"]
)
def test_unknown_name_is_refused_with_those_there_are(api, path, name, allowed, asked):
    text = asked.format(allowed.split(",")[0])

    answer = api.get(path, **{name: text})

    assert refusal(answer) == (422, "VALIDATION.INVALID_INPUT", name)
    assert f"allowed is {allowed}." in answer.json()["message"]


@pytest.mark.parametrize("asked", ["seat_summary,billing_details", "seat_summary", ""])
def test_known_names_are_added(api, account, asked):
    [found] = api.get("billing-accounts", expand=asked).json()["data"]["items"]

    assert {"seat_summary", "billing_details"} & set(found) == set(
        filter(None, asked.split(","))
    )


def test_sort_by_an_instant_puts_the_newest_first_unless_told(api, realm, at, by):
    for number, code in enumerate(("b", "a")):
        upsert_plan(
            realm=realm, plan_code=code, name="x", kind="addon", at=at, by=by,
            priority=number,
        )  # fmt: skip

    def listed(**query):
        items = api.get("billing-plans", kind="addon", **query).json()["data"]["items"]
        return [item["plan_code"] for item in items]

    assert listed(sort="updated_at") == ["a", "b"]
    assert listed(sort="updated_at", order="asc") == ["b", "a"]
    assert listed(sort="plan_code") == ["a", "b"]
    assert listed(sort="plan_code", order="desc") == ["b", "a"]
