"""Bundles, billing mode and issue anchor of the effective plans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.policies.effective import (
    BundleProjection,
    billing_mode,
    bundle_key_of,
    by_precedence,
    issue_anchor,
    project_bundles,
)
from tests.billing.facts import (
    assigned,
    distinct,
)


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
