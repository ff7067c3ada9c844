"""Changes of a plan."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import Plan, PlanEntitlement
from billing.services.plans import change_plan_definition
from config.kernel.ids import new_id
from tests.billing.answers import explained, invalid, read, refusal
from tests.catalog.make import make_family, make_feature


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
