"""What the effective plans entitle to: priority, then deny, then specificity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.policies.effective import (
    by_precedence,
    decide_entitlement,
)
from tests.billing.facts import (
    FAMILY,
    FEATURE,
    OTHER_FEATURE,
    assigned,
    rule,
)


def verdict(*plans_and_rules, required=True):
    """Decide on FEATURE for pairs (plan, rules of it); return verdict and plan code."""
    plans = by_precedence(plan for plan, _rules in plans_and_rules)
    rules = [rule for _plan, rules in plans_and_rules for rule in rules]
    found = decide_entitlement(
        plans, rules, feature_id=FEATURE, family_id=FAMILY, required=required
    )
    return found.verdict, found.plan and found.plan.plan_code


def stated(number, *effects, **facts):
    """Return a plan with its rules; effects such as "deny family"."""
    plan = assigned(number, **facts)
    return plan, [rule(plan, *effect.split(" ", 1)) for effect in effects]


ENTITLEMENTS = [
    ("nothing said", [stated(1)], "missing", None),
    ("nobody", [], "missing", None),
    ("another feature", [stated(1, "allow other feature")], "missing", None),
    ("another family", [stated(1, "deny other family")], "missing", None),
    ("feature", [stated(1, "allow feature")], "allowed", "plan-1"),
    ("family", [stated(1, "allow family")], "allowed", "plan-1"),
    ("everything", [stated(1, "allow everything")], "allowed", "plan-1"),
    ("deny", [stated(1, "deny feature")], "denied", "plan-1"),
    (
        "priority before specificity",
        [stated(1, "deny family", priority=2), stated(2, "allow feature", priority=1)],
        "denied",
        "plan-1",
    ),
    (
        "priority before deny",
        [stated(1, "allow everything", priority=2), stated(2, "deny feature")],
        "allowed",
        "plan-1",
    ),
    (
        "deny beats allow at equal priority",
        [stated(1, "allow feature"), stated(2, "deny feature")],
        "denied",
        "plan-2",
    ),
    (
        "deny of the family beats allow of the feature",
        [stated(1, "allow feature"), stated(2, "deny family")],
        "denied",
        "plan-2",
    ),
    (
        "deny beats allow inside one plan",
        [stated(1, "allow feature", "deny everything")],
        "denied",
        "plan-1",
    ),
    (
        "the more specific rule names the attribution",
        [stated(1, "allow feature"), stated(2, "allow family")],
        "allowed",
        "plan-1",
    ),
    (
        "family before everything",
        [stated(1, "allow family"), stated(2, "allow everything")],
        "allowed",
        "plan-1",
    ),
    (
        "then plan precedence names the attribution",
        [stated(1, "allow feature", scope="user"), stated(2, "allow feature")],
        "allowed",
        "plan-1",
    ),
    (
        "a promotion entitles too",
        [stated(1, "allow feature", kind="promo")],
        "allowed",
        "plan-1",
    ),
]


@pytest.mark.parametrize(
    ("plans", "expected", "attributed"),
    [case[1:] for case in ENTITLEMENTS],
    ids=[case[0] for case in ENTITLEMENTS],
)
def test_entitlement_is_decided_by(plans, expected, attributed):
    assert verdict(*plans) == (expected, attributed)


def test_feature_that_needs_no_plan_is_not_attributed():
    assert verdict(stated(1, "deny feature"), required=False) == ("not_required", None)


def test_rules_of_plans_not_in_effect_do_not_count():
    absent = assigned(2)

    found = decide_entitlement(
        [assigned(1)],
        [rule(absent, "allow")],
        feature_id=FEATURE,
        family_id=FAMILY,
        required=True,
    )

    assert found.verdict == "missing"


RULED = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(
            st.sampled_from(
                [
                    f"{effect} {target}"
                    for effect in ("allow", "deny")
                    for target in ("feature", "family", "everything", "other feature")
                ]
            ),
            max_size=3,
        ),
    ),
    max_size=4,
)


@given(RULED)
def test_entitlement_is_that_of_the_strongest_priority_that_speaks(ruled):
    plans = [
        stated(number, *effects, priority=priority)
        for number, (priority, effects) in enumerate(ruled, start=1)
    ]
    spoken = [
        (plan.priority, r.effect)
        for plan, rules in plans
        for r in rules
        if r.feature_id != OTHER_FEATURE
    ]

    found, _plan = verdict(*plans)

    top = {effect for priority, effect in spoken if priority == max(spoken)[0]}
    assert found == ("missing" if not top else "denied" if "deny" in top else "allowed")


@given(RULED, st.randoms())
def test_entitlement_does_not_depend_on_the_order_of_rules(ruled, shuffle):
    plans = [
        stated(number, *effects, priority=priority)
        for number, (priority, effects) in enumerate(ruled, start=1)
    ]
    shuffled = [(plan, shuffle.sample(rules, len(rules))) for plan, rules in plans]
    shuffle.shuffle(shuffled)

    assert verdict(*shuffled) == verdict(*plans)
