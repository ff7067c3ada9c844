"""Plans: definitions by code."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import Plan, PlanEntitlement
from billing.services.plans import change_plan_definition, upsert_plan
from config.kernel.errors import Conflict, Invalid
from config.kernel.ids import new_id
from config.tenancy.models import DomainEvent
from tests.billing.answers import explained, invalid, paged, queries_of, read, refusal
from tests.billing.races import race
from tests.catalog.make import make_family, make_feature

PRO = {"plan_code": "pro", "name": "Pro", "kind": "base"}


# Upsert


def test_plan_is_created_with_defaults(api):
    data = read(api.post("billing-plans", PRO), wire.BillingPlanEnvelope, 201)

    assert {name: data[name] for name in data if not name.endswith(("_at", "_id"))} == {
        "plan_code": "pro",
        "name": "Pro",
        "kind": "base",
        "priority": 0,
        "active": True,
        "metadata": {},
        "feature_codes": [],
        "feature_family_codes": [],
    }
    assert (
        read(api.get(f"billing-plans/{data['plan_id']}"), wire.BillingPlanEnvelope)
        == data
    )


def test_upsert_overwrites_with_defaults(api):
    full = {**PRO, "priority": -3, "active": False, "metadata": {"team": 1}}
    first = read(api.post("billing-plans", full), wire.BillingPlanEnvelope, 201)

    again = read(
        api.post("billing-plans", {**PRO, "kind": "addon"}),
        wire.BillingPlanEnvelope,
        200,
    )

    assert (first["priority"], first["active"], first["metadata"]) == (
        -3,
        False,
        {"team": 1},
    )
    assert again["plan_id"] == first["plan_id"]
    assert (again["kind"], again["priority"], again["active"], again["metadata"]) == (
        "addon",
        0,
        True,
        {},
    )


def test_same_upsert_again_writes_nothing(realm, at, by):
    def upsert(when):
        return upsert_plan(
            realm=realm, plan_code="pro", name="Pro", kind="base", at=when, by=by
        )

    plan, created = upsert(at)
    again, created_again = upsert(at + timedelta(days=1))

    assert (created, created_again, again) == (True, False, plan)
    assert explained(plan) == [(by.operator, by.reason, by.ticket_id, at)]
    assert (
        DomainEvent.objects.in_realm(realm).filter(subject_id=str(plan.pk)).count() == 1
    )


def test_true_is_not_one(make_plan):
    make_plan("pro", metadata={"beta": 1})

    plan = make_plan("pro", metadata={"beta": True})

    plan.refresh_from_db()
    assert plan.metadata["beta"] is True


def test_official_client_writes_a_priority(api):
    request = wire.BillingPlanUpsertRequest(**PRO, priority=10)

    answer = api.post(
        "billing-plans", request.model_dump(mode="json", exclude_none=True)
    )

    assert read(answer, wire.BillingPlanEnvelope, 201)["priority"] == 10


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"plan_code": ""}, "plan_code"),
        ({"plan_code": "a b"}, "plan_code"),
        ({"plan_code": "p" * 129}, "plan_code"),
        ({"plan_code": None}, "plan_code"),
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
        ({"kind": "trial"}, "kind"),
        ({"priority": 1.5}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 2**31}, "priority"),
        ({"priority": None}, "priority"),
        ({"active": "yes"}, "active"),
        ({"active": 1}, "active"),
        ({"metadata": []}, "metadata"),
        ({"metadata": None}, "metadata"),
        ({"metadata": {"gate_bundle_key": 7}}, "metadata.gate_bundle_key"),
        ({"metadata": {"seat_limit": -1}}, "metadata.seat_limit"),
        (
            {"metadata": {"billing_defaults": {"period": {"billing_mode": "free"}}}},
            "metadata.billing_defaults.period.billing_mode",
        ),
        (
            {
                "metadata": {
                    "grants": [{"grant_program_code": "a"}, {"amount_xusd": "1"}]
                }
            },
            "metadata.grants.1.grant_program_code",
        ),
        ({"feature_codes": ["chat", "nowhere"]}, "feature_codes.1"),
        ({"feature_family_codes": ["nowhere"]}, "feature_family_codes.0"),
        ({"feature_codes": "chat"}, "feature_codes"),
        ({"color": "red"}, "color"),
    ],
)
def test_bad_plan_is_refused(api, realm, at, by, changes, field):
    make_feature(realm, at, by, "chat")

    answer = api.post("billing-plans", {**PRO, **changes})

    assert refusal(answer) == invalid(field)
    assert (
        not Plan.objects.in_realm(realm)
        .exclude(plan_code="default_billing_plan")
        .exists()
    )


def test_code_in_other_case_is_refused(api, make_plan):
    make_plan("pro")

    answer = api.post("billing-plans", {**PRO, "plan_code": "PRO"})

    assert refusal(answer) == (409, "CONFLICT", "plan_code")


def test_verb_refuses_an_unknown_kind(realm, at, by):
    with pytest.raises(Invalid, match="base, addon, promo") as refused:
        upsert_plan(
            realm=realm, plan_code="pro", name="Pro", kind="trial", at=at, by=by
        )

    assert refused.value.field == "kind"


def test_upserts_at_once_make_one_plan(committed_api, committed_realm):
    statuses = race(lambda _: committed_api.post("billing-plans", PRO).status_code)

    assert sorted(statuses) == [200] * 15 + [201]
    assert Plan.objects.in_realm(committed_realm).filter(plan_code="pro").count() == 1


def test_upserts_of_two_cases_at_once_make_one_plan(committed_realm, at, by):
    def attempt(number):
        code = ("pro", "PRO")[number % 2]
        try:
            upsert_plan(
                realm=committed_realm,
                plan_code=code,
                name="x",
                kind="base",
                at=at,
                by=by,
            )
        except Conflict:
            return None
        return code

    kept = set(race(attempt)) - {None}

    plans = Plan.objects.in_realm(committed_realm).filter(plan_code__iexact="pro")
    assert [plan.plan_code for plan in plans] == list(kept)


def test_nearly_known_keys_are_warned_of(api):
    sent = {
        **PRO,
        "metadata": {"gate_bundel_key": "x", "billing_mode": "prepaid", "team": 1},
    }

    answer = api.post("billing-plans", sent)

    assert answer.status_code == 201
    assert answer.json()["data"]["metadata"] == sent["metadata"]
    assert answer.json()["meta"]["warnings"] == [
        {
            "path": "metadata.gate_bundel_key",
            "key": "gate_bundel_key",
            "did_you_mean": "gate_bundle_key",
        },
        {
            "path": "metadata.billing_mode",
            "key": "billing_mode",
            "did_you_mean": "billing_defaults.period.billing_mode",
        },
    ]


def test_new_realm_has_a_default_plan_that_allows_everything(realm):
    plan = Plan.objects.in_realm(realm).get()

    rule = PlanEntitlement.objects.get(plan=plan)
    assert (plan.plan_code, plan.kind, plan.priority, plan.active) == (
        "default_billing_plan",
        "base",
        0,
        True,
    )
    assert (rule.effect, rule.feature, rule.feature_family) == ("allow", None, None)


# Change


@pytest.fixture
def pro(realm, at, by, make_plan):
    make_feature(realm, at, by, "chat.gpt")
    make_feature(realm, at, by, "search.web")
    return make_plan(
        "pro", priority=5, metadata={"team": 1}, feature_codes=["chat.gpt"]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"plan_code": "pro"},
        {"name": "Professional"},
        {"kind": "promo"},
        {"priority": 9},
        {"active": False},
        {"metadata": {}},
        {"feature_codes": []},
        {"feature_codes": ["search.web"]},
    ],
)
def test_patch_changes_what_it_names(api, pro, changes):
    before = read(api.get(f"billing-plans/{pro.pk}"), wire.BillingPlanEnvelope)

    after = read(
        api.patch(f"billing-plans/{pro.pk}", changes), wire.BillingPlanEnvelope
    )

    before.pop("updated_at")
    after.pop("updated_at")
    assert after == {**before, **changes}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"plan_code": "premium"}, "plan_code"),
        ({"name": None}, "name"),
        ({"kind": None}, "kind"),
        ({"priority": None}, "priority"),
        ({"active": None}, "active"),
        ({"metadata": None}, "metadata"),
        ({"feature_codes": None}, "feature_codes"),
        ({"feature_codes": ["nowhere"]}, "feature_codes.0"),
        ({"metadata": {"gate_bundle_key": ""}}, "metadata.gate_bundle_key"),
    ],
)
def test_bad_patch_is_refused(api, pro, changes, field):
    answer = api.patch(f"billing-plans/{pro.pk}", changes)

    assert refusal(answer) == invalid(field)
    pro.refresh_from_db()
    assert (pro.name, pro.priority, pro.metadata) == ("Pro", 5, {"team": 1})


def test_naming_codes_replaces_every_entitlement(api, pro, realm, at, by):
    family = make_family(realm, at, by, "video")
    api.post(
        f"billing-plans/{pro.pk}/entitlements",
        {"mode": "append", "items": [{"feature_code": "search.web", "effect": "deny"}]},
    )

    data = read(
        api.patch(f"billing-plans/{pro.pk}", {"feature_family_codes": ["video"]}),
        wire.BillingPlanEnvelope,
    )

    rules = PlanEntitlement.objects.filter(plan=pro)
    assert (data["feature_codes"], data["feature_family_codes"]) == ([], ["video"])
    assert [(rule.feature_family, rule.effect) for rule in rules] == [(family, "allow")]


def test_unchanged_patch_writes_nothing(pro, at, by):
    changes = {"name": "Pro", "priority": 5, "metadata": {"team": 1}}
    change_plan_definition(plan=pro, changes=changes, at=at, by=by)

    assert pro.history.count() == 1


def test_patch_is_explained(api, pro):
    audit = {
        "operator": "ada",
        "reason": "price list 2027",
        "ticket_id": "T-7",
        "effective_at": "2026-04-01T00:00:00Z",
    }

    api.patch(f"billing-plans/{pro.pk}", {"priority": 6, "audit": audit})

    operator, reason, ticket, effective_at = explained(pro)[-1]
    assert (operator, reason, ticket) == ("ada", "price list 2027", "T-7")
    assert effective_at.isoformat() == "2026-04-01T00:00:00+00:00"


@pytest.mark.parametrize("rest", ["", "/entitlements"])
def test_unknown_plan_is_not_found(api, other_realm, rest):
    elsewhere = Plan.objects.in_realm(other_realm).get()

    for plan_id in (elsewhere.pk, new_id(), "pro"):
        answer = api.get(f"billing-plans/{plan_id}{rest}")
        assert refusal(answer) == (404, "RESOURCE.NOT_FOUND", None)


# The list


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
