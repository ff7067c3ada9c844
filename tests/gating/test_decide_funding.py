from dataclasses import replace

import pytest
from vlunaai.generated.gate_models import Hint

from config.kernel.money import INT64_MAX
from gating.decide import decide
from gating.facts import Funding, UnitPrice
from tests.gating.build import FREE, ask, facts, prepaid, quota


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
