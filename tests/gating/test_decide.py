from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vlunaai.generated.gate_models import Hint

from config.kernel.money import INT64_MAX
from gating.decide import decide
from gating.evidence import decision_document, read_ask, read_facts
from gating.facts import Facts, Funding, UnitPrice
from tests.gating.build import CHAT, FREE, NOON, ask, facts, prepaid, quota, rate, seats


def denial(request, known):
    verdict = decide(request, known)
    assert not verdict.allowed
    assert not verdict.holds and not verdict.increments and not verdict.wallet_xusd
    return verdict.denial


def hint(verdict_or_denial, kind):
    found = [h for h in verdict_or_denial.hints if h["type"] == kind]
    for item in found:
        Hint.model_validate(item)
    assert len(found) == 1, verdict_or_denial.hints
    return found[0]


# Each check, and the order of checks


@pytest.mark.parametrize(
    ("request_", "known", "status", "code", "reason"),
    [
        (ask(), Facts(NOON), 422, "RESOURCE.NOT_FOUND", "feature_not_found"),
        (
            ask(),
            facts(feature=replace(CHAT, active=False)),
            422,
            "RESOURCE.NOT_FOUND",
            "feature_inactive",
        ),
        (
            ask(feature_family_code="other"),
            facts(),
            422,
            "RESOURCE.NOT_FOUND",
            "feature_in_other_family",
        ),
        (
            ask(),
            facts(entitlement="missing"),
            403,
            "ENTITLEMENT.REQUIRED",
            "entitlement_required",
        ),
        (
            ask(),
            facts(entitlement="denied"),
            403,
            "ENTITLEMENT.DENIED",
            "entitlement_denied",
        ),
        (
            ask(),
            facts(bundle_missing=True),
            500,
            "SERVER.CONFIG",
            "default_bundle_missing",
        ),
        (
            ask(),
            replace(facts(), quotas=()),
            422,
            "RESOURCE.NOT_FOUND",
            "policy_not_found",
        ),
        (
            ask(),
            replace(facts(), quotas=(), rates=(rate(),)),
            500,
            "SERVER.CONFIG",
            "quota_missing",
        ),
        (
            ask(),
            facts(seats=(seats(5, 5),)),
            403,
            "SEAT.CAPACITY_EXCEEDED",
            "seats_taken",
        ),
        (ask(), facts(quota(10, 10)), 402, "QUOTA.EXHAUSTED", "quota_exhausted"),
        (
            ask(),
            facts(rates=(rate(10, 10),)),
            429,
            "LIMIT.RATE_EXCEEDED",
            "rate_exceeded",
        ),
        (ask(budget="b"), facts(), 422, "RESOURCE.NOT_FOUND", "budget_not_found"),
        (
            ask(),
            facts(funding=prepaid(0)),
            402,
            "FUNDING.EXHAUSTED",
            "funding_exhausted",
        ),
    ],
)
def test_denies_with_its_own_code(request_, known, status, code, reason):
    found = denial(request_, known)

    assert (found.status, found.code, found.reason) == (status, code, reason)


CHECKS = [
    ("feature_inactive", {"feature": replace(CHAT, active=False)}, {"feature": CHAT}),
    ("entitlement_required", {"entitlement": "missing"}, {"entitlement": "allowed"}),
    ("seats_taken", {"seats": (seats(5, 5),)}, {"seats": ()}),
    ("quota_exhausted", {"quotas": (quota(10, 10),)}, {"quotas": (quota(),)}),
    ("rate_exceeded", {"rates": (rate(10, 10),)}, {"rates": ()}),
    ("funding_exhausted", {"funding": prepaid(0)}, {"funding": FREE}),
]


def test_the_first_failing_check_in_order_decides():
    known = facts(**{k: v for _, bad, _ in CHECKS for k, v in bad.items()})

    for reason, _, good in CHECKS:
        assert denial(ask(), known).reason == reason
        known = replace(known, **good)
    assert decide(ask(), known).allowed


# Quota


@pytest.mark.parametrize(
    ("estimate", "limit", "used", "reserved", "allowed"),
    [
        (75, 75, 0, 0, True),
        (76, 75, 0, 0, False),
        (75, 500, 350, 75, True),
        (76, 500, 350, 75, False),
        (None, 500, 499, 0, True),
        (None, 500, 499, 1, False),
        (0, 500, 499, 0, True),
        (0, 500, 500, 0, False),
        (1, 0, 0, 0, False),
        (10**18, None, 10**15, 10**15, True),
        (INT64_MAX, None, 0, 0, True),
        (INT64_MAX, None, 1, 0, False),
        (1, 100, 150, 0, False),
    ],
)
def test_reserve_admits_what_fits(estimate, limit, used, reserved, allowed):
    verdict = decide(ask(estimate), facts(quota(limit, used, reserved)))

    assert verdict.allowed is allowed
    if allowed:
        assert [h.quantity_minor for h in verdict.holds] == (
            [] if estimate == 0 else [estimate or 1]
        )


@pytest.mark.parametrize(
    ("used", "allowed"), [(0, True), (499, True), (500, False), (501, False)]
)
def test_optimistic_admits_while_anything_is_left(used, allowed):
    verdict = decide(ask(10_000), facts(quota(500, used, mode="optimistic")))

    assert verdict.allowed is allowed
    assert list(verdict.holds) == []


def test_optimistic_hints_when_the_estimate_is_more_than_is_left():
    verdict = decide(ask(10_000), facts(quota(500, 100, mode="optimistic")))

    assert hint(verdict, "quota.remaining")["max_quantity_minor"] == 400


def test_quota_sentence_names_policy_rule_and_numbers():
    known = facts(quota(10_000, 10_000))

    assert denial(ask(75), known).sentence == (
        "Quota api_calls: 10,000 of 10,000 used in the window that ends "
        "2026-03-11T00:00:00Z; 75 asked."
    )


def test_quota_sentence_tells_what_is_held():
    assert (
        "9,000 of 10,000 used and 990 held in"
        in denial(ask(75), facts(quota(10_000, 9_000, 990))).sentence
    )


def test_quota_hint_is_the_least_that_is_left_of_any():
    found = denial(ask(75), facts(quota(100, 90), quota(500, 0, key="month")))

    assert hint(found, "quota.remaining")["max_quantity_minor"] == 10


def test_the_window_told_is_that_of_the_tightest_quota():
    day, month = quota(100, name="day"), quota(3000, name="month", key="month")

    assert decide(ask(), facts(month, day)).window == day


def test_policies_of_one_counter_hold_on_it_once_under_the_least_limit():
    verdict = decide(ask(5), facts(quota(100), quota(50, name="other")))

    assert [(h.quantity_minor, h.limit) for h in verdict.holds] == [(5, 50)]


def test_each_counter_holds_the_estimate():
    verdict = decide(
        ask(5),
        facts(
            quota(100),
            quota(None, key="month"),
            quota(9, key="free", mode="optimistic"),
        ),
    )

    assert [(h.counter.key, h.quantity_minor, h.limit) for h in verdict.holds] == [
        ("calls", 5, 100),
        ("month", 5, None),
    ]


@pytest.mark.parametrize(
    ("estimate", "quotas", "cap"),
    [
        (75, (quota(),), 75),
        (None, (quota(500, 20), quota(90, 10, key="x")), 80),
        (None, (quota(None),), None),
    ],
)
def test_cap_is_the_estimate_or_the_least_left(estimate, quotas, cap):
    assert decide(ask(estimate), facts(*quotas)).cap_minor == cap


# Rate


def test_every_rate_counts_the_admission():
    verdict = decide(
        ask(), facts(rates=(rate(10), rate(100, key="hour", seconds=3600)))
    )

    assert [(h.counter.key, h.quantity_minor, h.limit) for h in verdict.increments] == [
        ("hour", 1, 100),
        ("minute", 1, 10),
    ]


@pytest.mark.parametrize(("used", "remaining"), [(5, None), (6, 3), (7, 2), (9, 0)])
def test_rate_hints_when_three_or_fewer_are_left(used, remaining):
    verdict = decide(ask(), facts(rates=(rate(10, used),)))

    if remaining is None:
        assert list(verdict.hints) == []
    else:
        assert hint(verdict, "rate.limit")["remaining"] == remaining


def test_rate_denial_says_how_long_to_wait():
    found = denial(ask(), facts(rates=(rate(10, 10),)))

    assert found.retry_after == 30
    assert hint(found, "rate.limit") == {
        "type": "rate.limit",
        "seconds": 30,
        "remaining": 0,
        "until": "2026-03-10T12:00:30.000000Z",
    }
    assert found.sentence.endswith("2026-03-10T12:00:30Z; ask again in 30 seconds.")


# Seats


@pytest.mark.parametrize(
    ("limit", "taken", "holds", "allowed"),
    [
        (5, 4, False, True),
        (5, 5, False, False),
        (5, 5, True, True),
        (5, 9, True, True),
        (None, 99, False, True),
        (0, 0, False, False),
    ],
)
def test_seats_admit_holders_and_while_one_is_free(limit, taken, holds, allowed):
    window = seats(limit, taken, holds=holds)
    verdict = decide(ask(), facts(seats=(window,)))

    assert verdict.allowed is allowed
    assert list(verdict.seats) == ([window] if allowed and not holds else [])


# Funding


PER_MILLION = UnitPrice(3_600_000, 1_000_000)


@pytest.mark.parametrize(
    ("price", "estimate", "wallet"),
    [
        (UnitPrice(10, 1), 75, 750),
        (UnitPrice(10, 1), None, 10),
        (UnitPrice(10, 1), 0, 0),
        (PER_MILLION, 12_345, 44_442),
        (PER_MILLION, 1, 4),
        (UnitPrice(0, 1), 75, 0),
        (UnitPrice(100, 1000, whole_blocks=True), 1, 100),
        (UnitPrice(100, 1000, whole_blocks=True), 1001, 200),
    ],
)
def test_prepaid_holds_the_price_rounded_up(price, estimate, wallet):
    verdict = decide(ask(estimate), facts(quota(None), funding=prepaid(price=price)))

    assert verdict.wallet_xusd == wallet


@pytest.mark.parametrize(
    ("available", "estimate", "allowed", "shortfall"),
    [
        (750, 75, True, None),
        (749, 75, False, 1),
        (0, 75, False, 750),
        (10, None, True, None),
        (9, None, False, 1),
        (1, 0, True, None),
        (0, 0, False, 10),
    ],
)
def test_prepaid_admits_what_the_balance_covers(
    available, estimate, allowed, shortfall
):
    verdict = decide(
        ask(estimate), facts(funding=prepaid(available, price=UnitPrice(10, 1)))
    )

    assert verdict.allowed is allowed
    if not allowed:
        assert (
            hint(verdict.denial, "funding.xusd_shortfall")["shortfall_xusd"]
            == shortfall
        )


def test_a_shortfall_beyond_64_bits_is_told_as_64_bits():
    known = facts(quota(None), funding=prepaid(0, price=UnitPrice(10**18, 1)))

    assert (
        hint(denial(ask(10**18), known), "funding.xusd_shortfall")["shortfall_xusd"]
        == INT64_MAX
    )


@pytest.mark.parametrize("mode", ["postpaid", "hybrid"])
def test_nobody_else_needs_or_holds_a_balance(mode):
    verdict = decide(ask(75), facts(funding=Funding(mode, 0, UnitPrice(10, 1))))

    assert verdict.allowed
    assert verdict.wallet_xusd == 0
    assert list(verdict.hints) == []


def test_a_free_feature_needs_no_balance():
    verdict = decide(ask(75), facts(funding=replace(FREE, unpriced=("chat",))))

    assert verdict.wallet_xusd == 0
    assert hint(verdict, "pricing.not_configured")["meters"] == ["chat"]


def test_optimistic_prepaid_holds_no_money_and_hints_what_is_covered():
    verdict = decide(
        ask(75),
        facts(quota(mode="optimistic"), funding=prepaid(100, price=UnitPrice(10, 1))),
    )

    assert verdict.wallet_xusd == 0
    assert hint(verdict, "funding.xusd_shortfall")["shortfall_xusd"] == 650
    assert hint(verdict, "quota.remaining")["max_quantity_minor"] == 10


# What holds for every request

small = st.integers(0, 6)
modes = st.sampled_from(["reserve", "optimistic"])
quotas = st.lists(
    st.builds(
        quota,
        limit=st.none() | small,
        used=small,
        reserved=small,
        mode=modes,
        key=st.sampled_from("ab"),
        scope=st.sampled_from(["user", "account"]),
    ),
    max_size=3,
)
rates = st.lists(
    st.builds(rate, limit=small, used=small, key=st.sampled_from("ab")), max_size=2
)
prices = st.none() | st.builds(
    UnitPrice,
    price_xusd=small,
    quantity_minor=st.integers(1, 4),
    whole_blocks=st.booleans(),
)
fundings = st.builds(
    Funding,
    billing_mode=st.sampled_from(["prepaid", "postpaid", "hybrid"]),
    available_xusd=small,
    price=prices,
    zero_cost=st.booleans(),
    unpriced=st.sampled_from([(), ("chat",)]),
)
known_facts = st.builds(
    lambda **parts: replace(facts(), **parts),
    quotas=quotas.map(tuple),
    rates=rates.map(tuple),
    seats=st.lists(
        st.builds(seats, limit=st.none() | small, taken=small, holds=st.booleans()),
        max_size=1,
    ).map(tuple),
    funding=fundings,
    entitlement=st.sampled_from(
        ["allowed", "not_required", "allowed", "missing", "denied"]
    ),
    bundle_missing=st.sampled_from([False, False, False, True]),
)
asks = st.builds(
    ask, estimate=st.none() | small, budget=st.sampled_from([None, None, None, "b"])
)


@given(asks, known_facts)
def test_nothing_is_taken_that_the_facts_do_not_cover(request_, known):
    verdict = decide(request_, known)

    for item in verdict.holds:
        sharing = [w for w in known.quotas if w.counter == item.counter]
        assert all(
            item.quantity_minor <= w.room_minor
            for w in sharing
            if w.enforcement == "reserve"
        )
    for item in verdict.increments:
        assert all(w.room_minor >= 1 for w in known.rates if w.counter == item.counter)
    assert verdict.wallet_xusd <= max(0, known.funding.available_xusd)
    assert len({item.counter for item in verdict.holds}) == len(verdict.holds)


@given(asks, known_facts)
def test_a_stored_decision_is_made_again_alike(request_, known):
    verdict = decide(request_, known)
    document = decision_document(request_, known, verdict)

    assert decide(read_ask(document["ask"]), read_facts(document["facts"])) == verdict


@given(asks, known_facts, st.integers(1, 3))
def test_more_room_never_turns_an_admission_into_a_denial(request_, known, more):
    if not decide(request_, known).allowed:
        return
    wider = [
        replace(w, limit=None if w.limit is None else w.limit + more)
        for w in known.quotas
    ]

    assert decide(request_, replace(known, quotas=tuple(wider))).allowed


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 9),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_what_is_held_covers_any_remainder_carried_in(price, carried, divisor, parts):
    from config.kernel.money import floor_div_carry

    carried %= divisor
    total_held = sum(UnitPrice(price, divisor).at_most(part) for part in parts)
    total, remainder = 0, carried
    for part in parts:
        amount, remainder = floor_div_carry(part, price, divisor, remainder)
        assert amount <= UnitPrice(price, divisor).at_most(part)
        total += amount
    assert total <= total_held


@given(st.integers(1, 50), st.integers(1, 9), st.booleans(), st.integers(0, 100))
def test_the_affordable_quantity_is_the_greatest_that_is(
    price, divisor, blocks, available
):
    unit = UnitPrice(price, divisor, blocks)
    most = unit.affordable(available)

    assert unit.at_most(most) <= available < unit.at_most(most + 1)


def test_seconds_left_are_rounded_up():
    known = replace(
        facts(rates=(rate(1, 1),)), at=NOON + timedelta(seconds=29, microseconds=1)
    )

    assert denial(ask(), known).retry_after == 1
