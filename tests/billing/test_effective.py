"""Which plan governs: tables for the rules, Hypothesis for what must always hold."""

from datetime import timedelta
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.policies.effective import (
    by_precedence,
    effective_plans,
    next_change_at,
    plans_by_kind,
)
from tests.billing.facts import (
    INSTANTS,
    PLANS,
    assigned,
    day,
    distinct,
)


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


def test_strongest_base_plan_is_the_base_and_the_rest_stand_beside():
    weak_base, base = assigned(1), assigned(2, priority=5)
    addon, promo = assigned(3, kind="addon"), assigned(4, kind="promo", priority=9)

    view = plans_by_kind(by_precedence([weak_base, base, addon, promo]))

    assert (view.base, view.add_ons, view.promotions) == (base, [addon], [promo])


def test_no_plan_gives_an_empty_view():
    view = plans_by_kind([])

    assert (view.base, list(view.add_ons), list(view.promotions)) == (None, [], [])


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
