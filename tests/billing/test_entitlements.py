"""What plans entitle to."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import PlanEntitlement
from billing.selectors.effective import billing_state, entitled_features
from billing.services.assignments import Identity, assign_plan
from billing.services.entitlements import (
    Target,
    allow_everything,
    append_entitlements,
    remove_entitlement,
)
from config.kernel.errors import Invalid, NotFound
from config.kernel.ids import new_id
from config.kernel.windows import Window
from config.tenancy.models import DomainEvent
from tests.billing.answers import explained, invalid, paged, queries_of, read, refusal
from tests.billing.races import race
from tests.catalog.make import make_family, make_feature


@pytest.fixture
def pro(realm, at, by, make_plan):
    make_feature(realm, at, by, "chat.gpt")
    make_feature(realm, at, by, "chat.claude")
    make_family(realm, at, by, "video")
    return make_plan("pro")


@pytest.fixture
def rules(pro):
    """The address of the plan's entitlements."""
    return f"billing-plans/{pro.pk}/entitlements"


def stated(data):
    return [
        (row["effect"], row["feature_code"] or row["feature_family_code"])
        for row in data["items"]
    ]


def write(api, address, mode, *items, status=201):
    answer = api.post(address, {"mode": mode, "items": list(items)})
    return stated(read(answer, wire.BillingPlanEntitlementListEnvelope, status))


def test_entitlements_are_appended_in_order(api, rules):
    first = write(api, rules, "append", {"feature_code": "chat.gpt", "effect": "deny"})
    both = write(
        api,
        rules,
        "append",
        {"feature_family_code": " VIDEO "},
        {"feature_code": "chat.claude"},
    )

    assert first == [("deny", "chat.gpt")]
    assert both == [("deny", "chat.gpt"), ("allow", "video"), ("allow", "chat.claude")]
    assert (
        stated(read(api.get(rules), wire.BillingPlanEntitlementListEnvelope))
        == both[::-1]
    )


def test_same_target_again_changes_the_effect(api, rules, pro):
    write(api, rules, "append", {"feature_code": "chat.gpt"})
    before = PlanEntitlement.objects.get(plan=pro)

    found = write(api, rules, "append", {"feature_code": "chat.gpt", "effect": "deny"})

    assert found == [("deny", "chat.gpt")]
    assert PlanEntitlement.objects.get(plan=pro).pk == before.pk


def test_last_of_two_rules_for_a_target_counts(api, rules):
    found = write(
        api,
        rules,
        "append",
        {"feature_code": "chat.gpt", "effect": "deny"},
        {"feature_code": "chat.gpt", "effect": "allow"},
    )

    assert found == [("allow", "chat.gpt")]


def test_replacing_keeps_what_stays(api, rules, pro, at, by):
    allow_everything(plan=pro, at=at, by=by)
    write(
        api,
        rules,
        "append",
        {"feature_code": "chat.gpt"},
        {"feature_code": "chat.claude"},
    )
    kept = pro.entitlements.get(feature__feature_code="chat.gpt")

    found = write(
        api,
        rules,
        "replace",
        {"feature_code": "chat.gpt"},
        {"feature_family_code": "video"},
        status=200,
    )

    assert found == [("allow", "chat.gpt"), ("allow", "video")]
    assert PlanEntitlement.objects.filter(pk=kept.pk).exists()
    assert kept.history.count() == 1


def test_replacing_with_nothing_leaves_nothing(api, rules):
    write(api, rules, "append", {"feature_code": "chat.gpt"})

    assert write(api, rules, "replace", status=200) == []


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_unchanged_rules_are_not_announced(api, rules, pro, mode):
    write(api, rules, "append", {"feature_code": "chat.gpt"})
    news = DomainEvent.objects.filter(subject_id=str(pro.pk), kind="plan.changed")
    before = news.count()

    write(
        api,
        rules,
        mode,
        {"feature_code": "chat.gpt"},
        status=201 if mode == "append" else 200,
    )

    assert news.count() == before


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({}, "items.1"),
        ({"feature_code": "chat.gpt", "feature_family_code": "video"}, "items.1"),
        ({"feature_code": "nowhere"}, "items.1.feature_code"),
        ({"feature_family_code": "nowhere"}, "items.1.feature_family_code"),
        ({"feature_code": ""}, "items.1.feature_code"),
        ({"feature_code": "chat.gpt", "effect": "maybe"}, "items.1.effect"),
        ({"feature_code": "chat.gpt", "effect": None}, "items.1.effect"),
        ({"feature_id": str(new_id())}, "items.1.feature_id"),
    ],
)
def test_bad_rule_is_refused_and_nothing_is_written(api, rules, pro, mode, item, field):
    answer = api.post(
        rules, {"mode": mode, "items": [{"feature_code": "chat.claude"}, item]}
    )

    assert refusal(answer) == invalid(field)
    assert not pro.entitlements.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "mode"),
        ({"mode": "merge", "items": []}, "mode"),
        ({"mode": "append"}, "items"),
    ],
)
def test_bad_body_is_refused(api, rules, body, field):
    assert refusal(api.post(rules, body)) == invalid(field)


def test_feature_of_another_realm_is_unknown(api, rules, other_realm, at, by):
    make_feature(other_realm, at, by, "secret.feature")

    answer = api.post(
        rules, {"mode": "append", "items": [{"feature_code": "secret.feature"}]}
    )

    assert refusal(answer) == invalid("items.0.feature_code")


def test_verb_refuses_an_unknown_effect(pro, at, by):
    with pytest.raises(Invalid) as refused:
        append_entitlements(
            plan=pro, targets=[Target("maybe", "chat.gpt")], at=at, by=by
        )

    assert refused.value.field == "items.effect"


def test_rule_is_removed_and_returned(api, rules, pro):
    write(
        api,
        rules,
        "append",
        {"feature_code": "chat.gpt"},
        {"feature_family_code": "video"},
    )
    rule = pro.entitlements.get(feature__feature_code="chat.gpt")

    removed = read(
        api.delete(f"{rules}/{rule.pk}"), wire.BillingPlanEntitlementEnvelope
    )

    assert (removed["bpe_id"], removed["feature_code"]) == (str(rule.pk), "chat.gpt")
    assert [r.feature_family.feature_family_code for r in pro.entitlements.all()] == [
        "video"
    ]
    assert [known.history_type for known in rule.history.order_by("history_id")] == [
        "+",
        "-",
    ]
    assert len(explained(rule)) == 2


def test_rule_of_another_plan_is_not_found(api, rules, make_plan):
    other = make_plan("other", feature_codes=["chat.gpt"])
    stranger = other.entitlements.get()

    for rule_id in (stranger.pk, new_id(), "x"):
        assert refusal(api.delete(f"{rules}/{rule_id}")) == (
            404,
            "RESOURCE.NOT_FOUND",
            None,
        )
    assert other.entitlements.exists()


def test_rule_removed_meanwhile_is_not_found(pro, at, by):
    append_entitlements(plan=pro, targets=[Target("allow", "chat.gpt")], at=at, by=by)
    rule = pro.entitlements.get()
    remove_entitlement(entitlement=pro.entitlements.get(), at=at, by=by)

    with pytest.raises(NotFound):
        remove_entitlement(entitlement=rule, at=at, by=by)


def test_everything_is_allowed_once(pro, at, by):
    first = allow_everything(plan=pro, at=at, by=by)

    assert allow_everything(plan=pro, at=at, by=by) == first
    assert pro.entitlements.count() == 1


def test_appends_at_once_make_each_rule_once(committed_realm, committed_api, at, by):
    make_feature(committed_realm, at, by, "chat.gpt")
    plan_id = committed_api.post(
        "billing-plans", {"plan_code": "pro", "name": "Pro", "kind": "base"}
    ).json()["data"]["plan_id"]

    def attempt(_):
        return committed_api.post(
            f"billing-plans/{plan_id}/entitlements",
            {"mode": "append", "items": [{"feature_code": "chat.gpt"}]},
        ).status_code

    assert race(attempt) == [201] * 16
    assert PlanEntitlement.objects.filter(plan=plan_id).count() == 1


def test_entitlement_pages_lose_and_repeat_nothing(api, rules):
    write(
        api, rules, "append",
        {"feature_code": "chat.gpt"}, {"feature_code": "chat.claude"}, {"feature_family_code": "video"},
    )  # fmt: skip

    found = paged(api, rules, "bpe_id", limit=1)

    assert len(found) == len(set(found)) == 3


def test_list_needs_the_same_queries_for_one_and_three_rows(api, rules):
    write(api, rules, "append", {"feature_code": "chat.gpt"})
    for_one = queries_of(lambda: api.get(rules))
    write(
        api,
        rules,
        "append",
        {"feature_code": "chat.claude"},
        {"feature_family_code": "video"},
    )

    assert queries_of(lambda: api.get(rules)) == for_one


def test_effective_plans_tell_what_they_say_about_features(
    realm, account, pro, at, by, make_plan
):
    make_feature(realm, at, by, "free.stuff", entitlement_required=False)
    stop = make_plan("stop", kind="addon", priority=9)
    append_entitlements(
        plan=pro,
        targets=[Target("allow", "chat.gpt"), Target("allow", "chat.claude")],
        at=at,
        by=by,
    )
    append_entitlements(
        plan=stop, targets=[Target("deny", "chat.claude")], at=at, by=by
    )
    for plan in (pro, stop):
        assign_plan(
            identity=Identity(account, None, plan, "ops.manual", "s"),
            window=Window(at),
            at=at,
            by=by,
        )

    found = entitled_features(billing_state(account=account, at=at))

    assert found == {"chat.gpt": "included in Pro", "chat.claude": "denied by Stop"}


def test_features_of_the_past_follow_the_rules_of_then(account, pro, at, by):
    append_entitlements(
        plan=pro, targets=[Target("allow", feature_code="chat.gpt")], at=at, by=by
    )
    assign_plan(
        identity=Identity(account, None, pro, "ops.manual", "c-1"),
        window=Window(at, None),
        at=at,
        by=by,
    )
    later = at + timedelta(days=30)
    append_entitlements(
        plan=pro, targets=[Target("deny", feature_code="chat.gpt")], at=later, by=by
    )

    present = later + timedelta(days=1)
    then = billing_state(account=account, as_of=at + timedelta(days=1), at=present)
    now = billing_state(account=account, at=present)

    assert entitled_features(then) == {"chat.gpt": f"included in {pro.name}"}
    assert entitled_features(now) == {"chat.gpt": f"denied by {pro.name}"}
