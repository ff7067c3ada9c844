from dataclasses import replace
from datetime import timedelta

import pytest
from vlunaai.generated.gate_models import Hint

from config.kernel.money import INT64_MAX
from gating.decide import decide
from gating.facts import Facts
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
        "2026-03-11 00:00:00 UTC; 75 asked."
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
    assert found.sentence.endswith("2026-03-10 12:00:30 UTC; ask again in 30 seconds.")


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


def test_seconds_left_are_rounded_up():
    known = replace(
        facts(rates=(rate(1, 1),)), at=NOON + timedelta(seconds=29, microseconds=1)
    )

    assert denial(ask(), known).retry_after == 1
