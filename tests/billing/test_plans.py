"""Plans: definitions by code."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import Plan, PlanEntitlement
from billing.services.plans import upsert_plan
from config.kernel.errors import Conflict, Invalid
from config.tenancy.models import DomainEvent
from tests.billing.answers import explained, invalid, read, refusal
from tests.billing.races import race
from tests.catalog.make import make_feature

PRO = {"plan_code": "pro", "name": "Pro", "kind": "base"}


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


@pytest.mark.parametrize(
    ("grants", "field"),
    [
        ([{"grant_program_code": "a"}], "metadata.grants.0.amount_xusd"),
        ({"grant_program_code": "a"}, "metadata.grants.0.amount_xusd"),
        (
            [
                {"grant_program_code": "a", "amount_xusd": 1},
                {"grant_program_code": "b", "effect": "deny"},
            ],
            "metadata.grants.1.amount_xusd",
        ),
    ],
)
def test_grant_that_the_official_client_cannot_read_is_refused(api, grants, field):
    answer = api.post("billing-plans", {**PRO, "metadata": {"grants": grants}})

    assert refusal(answer) == invalid(field)
