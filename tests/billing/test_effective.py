"""Which plan governs: tables for the rules, Hypothesis for what must always hold."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.policies.effective import (
    AssignedPlan,
    BundleProjection,
    EntitlementRule,
    billing_mode,
    bundle_key_of,
    by_precedence,
    decide_entitlement,
    effective_plans,
    issue_anchor,
    next_change_at,
    plans_by_kind,
    project_bundles,
)

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FEATURE, FAMILY = UUID(int=100), UUID(int=200)
OTHER_FEATURE, OTHER_FAMILY = UUID(int=101), UUID(int=201)


def day(number):
    return None if number is None else DAY + timedelta(days=number)


def assigned(number=1, **facts):
    """Return an assignment of plan `number`: active, base, open since day 0."""
    defaults = {
        "assignment_id": UUID(int=number),
        "scope": "account",
        "user_id": None,
        "status": "active",
        "window_start": DAY,
        "window_end": None,
        "source_kind": "ops.manual",
        "source_ref": f"contract-{number}",
        "subscription_item_id": None,
        "metadata": {},
        "plan_id": UUID(int=1000 + number),
        "plan_code": f"plan-{number}",
        "plan_name": f"Plan {number}",
        "kind": "base",
        "priority": 0,
        "plan_active": True,
        "plan_metadata": {},
    }
    return AssignedPlan(**{**defaults, **facts})


def rule(plan, effect, target="everything"):
    targets = {
        "feature": (FEATURE, None),
        "family": (None, FAMILY),
        "everything": (None, None),
        "other feature": (OTHER_FEATURE, None),
        "other family": (None, OTHER_FAMILY),
    }
    feature_id, family_id = targets[target]
    return EntitlementRule(plan.plan_id, effect, feature_id, family_id)


PLANS = st.builds(
    assigned,
    st.integers(1, 4),
    scope=st.sampled_from(["account", "user"]),
    status=st.sampled_from(["active", "paused", "canceled", "expired"]),
    window_start=st.integers(0, 2).map(day),
    window_end=st.sampled_from([None, 3, 4]).map(day),
    kind=st.sampled_from(["base", "addon", "promo"]),
    priority=st.integers(0, 1),
    plan_active=st.booleans(),
)
INSTANTS = st.integers(-1, 5).map(day)


def distinct(plans):
    """Return the plans without a second one of the same assignment."""
    return list({plan.assignment_id: plan for plan in plans}.values())


# Effectiveness


@pytest.mark.parametrize(
    ("start", "end", "at", "covers"),
    [
        (0, None, -1, False),
        (0, None, 0, True),
        (0, None, 9999, True),
        (0, 2, 1, True),
        (0, 2, 2, False),
        (0, 2, 3, False),
    ],
)
def test_window_is_half_open(start, end, at, covers):
    plan = assigned(window_start=day(start), window_end=day(end))

    assert plan.covers(day(at)) is covers


def test_adjacent_windows_cover_every_instant_once():
    old = assigned(1, window_end=day(2))
    new = assigned(2, window_start=day(2))

    for instant in (day(0), day(2) - timedelta(microseconds=1), day(2), day(3)):
        assert [old.covers(instant), new.covers(instant)].count(True) == 1


@pytest.mark.parametrize(
    ("facts", "effective"),
    [
        ({}, True),
        ({"status": "paused"}, False),
        ({"status": "canceled"}, False),
        ({"status": "expired"}, False),
        ({"plan_active": False}, False),
        ({"window_start": day(1)}, False),
        ({"window_end": day(0) + timedelta(microseconds=1)}, True),
        ({"window_start": day(-1), "window_end": day(0)}, False),
    ],
)
def test_plan_is_effective_when_active_in_its_window(facts, effective):
    assert assigned(**facts).is_effective(day(0)) is effective


@given(st.lists(PLANS).map(distinct), INSTANTS)
def test_effective_plans_are_exactly_those_in_effect(plans, at):
    found = effective_plans(plans, at)

    assert {p.assignment_id for p in found} == {
        p.assignment_id
        for p in plans
        if p.status == "active"
        and p.plan_active
        and p.window_start <= at
        and (p.window_end is None or at < p.window_end)
    }


# Precedence

STRONGER = [
    ("priority over scope", {"priority": 1}, {"scope": "user"}),
    ("priority over start", {"priority": 1}, {"window_start": day(5)}),
    ("negative priority is lower", {"priority": 0}, {"priority": -1}),
    ("user scope over account scope", {"scope": "user"}, {}),
    ("user scope over start", {"scope": "user"}, {"window_start": day(5)}),
    ("later start", {"window_start": day(1)}, {"window_start": day(0)}),
]


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [case[1:] for case in STRONGER],
    ids=[case[0] for case in STRONGER],
)
def test_precedence_decides_by(stronger, weaker):
    first, second = assigned(1, **stronger), assigned(2, **weaker)

    assert by_precedence([second, first]) == [first, second]
    assert by_precedence([first, second]) == [first, second]


def test_equal_plans_are_ordered_by_the_greater_id():
    first, second = assigned(2), assigned(1)

    assert by_precedence([second, first]) == [first, second]


@given(st.lists(PLANS, max_size=4).map(distinct))
def test_precedence_is_total_whatever_the_order_of_reading(plans):
    orders = {
        tuple(p.assignment_id for p in by_precedence(order))
        for order in permutations(plans)
    }

    assert len(orders) == 1


@given(PLANS, PLANS)
def test_precedence_is_antisymmetric(one, other):
    above = by_precedence([one, other])[0] is one
    below = by_precedence([other, one])[0] is other

    assert (one.assignment_id == other.assignment_id) or above != below


@given(PLANS, PLANS, PLANS)
def test_precedence_is_transitive(first, second, third):
    def over(one, other):
        return (
            by_precedence([one, other])[0] is one
            and by_precedence([other, one])[0] is one
        )

    if over(first, second) and over(second, third):
        assert over(first, third) or first.assignment_id == third.assignment_id


@given(st.lists(PLANS).map(distinct), INSTANTS)
def test_precedence_of_a_part_is_the_order_of_the_whole(plans, at):
    whole = [p.assignment_id for p in by_precedence(plans)]

    places = [whole.index(p.assignment_id) for p in effective_plans(plans, at)]

    assert places == sorted(places)


# Plans by kind


def test_strongest_base_plan_is_the_base_and_the_rest_stand_beside():
    weak_base, base = assigned(1), assigned(2, priority=5)
    addon, promo = assigned(3, kind="addon"), assigned(4, kind="promo", priority=9)

    view = plans_by_kind(by_precedence([weak_base, base, addon, promo]))

    assert (view.base, view.add_ons, view.promotions) == (base, [addon], [promo])


def test_no_plan_gives_an_empty_view():
    view = plans_by_kind([])

    assert (view.base, list(view.add_ons), list(view.promotions)) == (None, [], [])


# Entitlements


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


# Bundles


def bundled(number, key, **facts):
    return assigned(number, plan_metadata={"gate_bundle_key": key}, **facts)


@pytest.mark.parametrize(
    ("own", "of_plan", "key"),
    [
        ({}, {}, None),
        ({}, {"gate_bundle_key": "p"}, "p"),
        ({"gate_bundle_key": "a"}, {"gate_bundle_key": "p"}, "a"),
        ({"gate_bundle_key": " a "}, {}, "a"),
        ({"gate_bundle_key": " "}, {"gate_bundle_key": "p"}, "p"),
        ({"gate_bundle_key": None}, {"gate_bundle_key": "p"}, "p"),
        ({"gate_bundle_key": 7}, {"gate_bundle_key": ["p"]}, None),
    ],
)
def test_assignment_names_its_bundle_before_the_plan(own, of_plan, key):
    assert bundle_key_of(assigned(metadata=own, plan_metadata=of_plan)) == key


BUNDLES = [
    ("no plan: the default gives both", [], ("default", "default", True)),
    ("no plan names a bundle", [assigned(1)], ("default", "default", True)),
    ("an account bundle gives both", [bundled(1, "a")], ("a", "a", False)),
    (
        "a user bundle gives the user's only",
        [bundled(1, "a", scope="user")],
        (None, "a", False),
    ),
    (
        "each scope gives its own",
        [bundled(1, "a"), bundled(2, "b", scope="user")],
        ("a", "b", False),
    ),
    (
        "the strongest of a scope wins",
        [bundled(1, "a"), bundled(2, "b", priority=1)],
        ("b", "b", False),
    ),
    (
        "a disabled bundle falls through",
        [bundled(1, "a"), bundled(2, "off", priority=1)],
        ("a", "a", False),
    ),
    (
        "per scope",
        [
            bundled(1, "off"),
            bundled(2, "a", priority=-1),
            bundled(3, "off", scope="user"),
        ],
        ("a", "a", False),
    ),
    (
        "nothing active: nothing governs, not the default",
        [bundled(1, "off")],
        (None, None, False),
    ),
    ("add-ons count", [bundled(1, "a", kind="addon")], ("a", "a", False)),
    (
        "promotions do not",
        [bundled(1, "a", kind="promo", priority=9)],
        ("default", "default", True),
    ),
    (
        "a keyless stronger plan does not hide a keyed one",
        [assigned(1, priority=9), bundled(2, "a")],
        ("a", "a", False),
    ),
]


@pytest.mark.parametrize(
    ("plans", "expected"),
    [case[1:] for case in BUNDLES],
    ids=[case[0] for case in BUNDLES],
)
def test_bundles_are_projected(plans, expected):
    found = project_bundles(
        by_precedence(plans), ["a", "b", "default"], default_key="default"
    )

    assert found == BundleProjection(*expected)


def test_disabled_default_bundle_gives_nothing():
    found = project_bundles([assigned(1)], ["a"], default_key="default")

    assert found == BundleProjection(None, None, is_default=True)


KEYED = st.lists(
    st.builds(
        bundled,
        st.integers(1, 5),
        st.sampled_from(["a", "b", "off", ""]),
        scope=st.sampled_from(["account", "user"]),
        kind=st.sampled_from(["base", "addon", "promo"]),
        priority=st.integers(0, 2),
    ),
    max_size=5,
).map(distinct)


@given(KEYED)
def test_projected_bundles_are_active_ones_of_governing_plans(plans):
    found = project_bundles(
        by_precedence(plans), ["a", "b", "default"], default_key="default"
    )

    named = {bundle_key_of(plan) for plan in plans if plan.kind != "promo"} - {None}
    assert found.is_default is (not named)
    assert {found.account_key, found.user_key} - {None} <= (named & {"a", "b"}) | (
        {"default"} if found.is_default else set()
    )


@given(KEYED)
def test_user_bundles_never_govern_the_account(plans):
    own = [plan for plan in plans if plan.scope == "user"]

    found = project_bundles(by_precedence(own), ["a", "b"], default_key="none")

    assert found.account_key is None


# Billing mode and issue anchor


def period(name, value):
    return {"period": {name: value}}


def settled(own=None, of_plan=None, of_realm=None, name="billing_mode"):
    """Return value and source of a setting given at up to three levels."""
    plan = assigned(
        metadata={} if own is None else {"billing": period(name, own)},
        plan_metadata={}
        if of_plan is None
        else {"billing_defaults": period(name, of_plan)},
    )
    realm = {} if of_realm is None else {"billing_defaults": period(name, of_realm)}
    setting = {"billing_mode": billing_mode, "issue_anchor": issue_anchor}[name]
    found = setting([plan], realm)
    assert (found.plan is plan) is (found.source in {"assignment", "plan"})
    return found.value, found.source


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((None, None, None), ("prepaid", "system_default")),
        ((None, None, "hybrid"), ("hybrid", "realm_default")),
        ((None, "postpaid", "hybrid"), ("postpaid", "plan")),
        (("prepaid", "postpaid", "hybrid"), ("prepaid", "assignment")),
        (("free", "postpaid", None), ("postpaid", "plan")),
        (("free", "PREPAID", "hybrid"), ("hybrid", "realm_default")),
        (("free", 7, ["hybrid"]), ("prepaid", "system_default")),
    ],
)
def test_billing_mode_is_merged_and_ignores_invalid_values(levels, expected):
    assert settled(*levels) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((None, None, None), ("calendar_start", "system_default")),
        ((None, None, "binding_start"), ("binding_start", "realm_default")),
        (
            ("subscription_period_start", "binding_start", "calendar_start"),
            ("subscription_period_start", "assignment"),
        ),
        (("first_use", "binding_start", None), ("binding_start", "plan")),
    ],
)
def test_issue_anchor_is_merged_and_ignores_invalid_values(levels, expected):
    assert settled(*levels, name="issue_anchor") == expected


@pytest.mark.parametrize(
    "broken", [{"billing": None}, {"billing": {"period": "x"}}, {"billing": []}]
)
def test_billing_mode_survives_metadata_of_another_shape(broken):
    plan = assigned(
        metadata=broken,
        plan_metadata={"billing_defaults": period("billing_mode", "hybrid")},
    )

    assert billing_mode([plan], {}).value == "hybrid"


def test_only_the_strongest_governing_plan_sets_the_billing_mode():
    silent = assigned(1, priority=2)
    promo = assigned(
        2,
        priority=9,
        kind="promo",
        metadata={"billing": period("billing_mode", "hybrid")},
    )
    weaker = assigned(3, metadata={"billing": period("billing_mode", "postpaid")})

    found = billing_mode(by_precedence([silent, promo, weaker]), {})

    assert (found.value, found.source) == ("prepaid", "system_default")


# The next change


@pytest.mark.parametrize(
    ("plans", "at", "expected"),
    [
        ([], 0, None),
        ([assigned()], 0, None),
        ([assigned()], -1, 0),
        ([assigned(window_end=day(3))], 0, 3),
        ([assigned(window_end=day(3))], 3, None),
        ([assigned(1, window_end=day(3)), assigned(2, window_start=day(2))], 0, 2),
        ([assigned(status="paused", window_end=day(3))], 0, None),
        ([assigned(plan_active=False, window_end=day(3))], 0, None),
    ],
)
def test_next_change_is_the_next_edge_of_a_window(plans, at, expected):
    assert next_change_at(plans, day(at)) == day(expected)


@given(st.lists(PLANS).map(distinct), INSTANTS)
@settings(max_examples=200)
def test_nothing_changes_before_the_next_change(plans, at):
    change = next_change_at(plans, at)

    between = [day(number) for number in range(-1, 6)]
    for earlier, later in pairwise(between):
        if at <= earlier and (change is None or later < change):
            assert effective_plans(plans, earlier) == effective_plans(plans, later)
