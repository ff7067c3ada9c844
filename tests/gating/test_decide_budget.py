"""What a budget does to an admission and to a commit, decided on paper."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vlunaai.generated.gate_models import Hint

from config.kernel.money import INT64_MAX
from gating.decide import decide
from gating.evidence import decision_document, read_ask, read_budget, read_facts
from gating.explanations import explain
from gating.facts import Funding, UnitPrice
from gating.settle import settle
from tests.gating.build import (
    BUDGET,
    FREE,
    NOON,
    ask,
    budget,
    commit,
    facts,
    held,
    prepaid,
    quota,
)

TEN = prepaid(price=UnitPrice(10, 1))
MOMENT = timedelta(microseconds=1)


def hints(told):
    for hint in told.hints:
        Hint.model_validate(hint)
    return {hint["type"]: hint for hint in told.hints}


def named(estimate=None, known=None, **changes):
    changes.setdefault("funding", TEN)
    return decide(ask(estimate, budget="trip"), facts(budget=known, **changes))


# Who is turned away


def test_a_budget_that_the_user_does_not_have_is_not_found():
    denial = named(75).denial

    assert (denial.status, denial.code, denial.reason) == (
        422,
        "RESOURCE.NOT_FOUND",
        "budget_not_found",
    )
    assert denial.sentence == "there is no budget trip."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"closed_at": NOON}, "budget trip was closed at 2026-03-10 12:00:00 UTC."),
        (
            {"window_start": NOON + MOMENT},
            "budget trip begins only at 2026-03-10 12:00:00 UTC.",
        ),
        ({"window_end": NOON}, "budget trip ended at 2026-03-10 12:00:00 UTC."),
        (
            {"feature_codes": ("draw", "sing")},
            "budget trip is for draw, sing, not for chat.",
        ),
    ],
)
def test_a_budget_that_does_not_hold_is_not_found_and_says_why(changes, sentence):
    denial = named(75, budget(**changes)).denial

    assert (denial.code, denial.reason) == ("RESOURCE.NOT_FOUND", "budget_not_found")
    assert denial.sentence == sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"window_start": NOON},
        {"window_end": NOON + MOMENT},
        {"feature_codes": ("chat",)},
        {"limit": None},
        {"limit": INT64_MAX},
    ],
)
def test_a_budget_that_holds_admits(changes):
    assert named(75, budget(**changes)).allowed


@pytest.mark.parametrize(
    ("known", "estimate", "allowed", "shortfall"),
    [
        (budget(750), 75, True, None),
        (budget(749), 75, False, 1),
        (budget(1500, consumed=750), 75, True, None),
        (budget(1500, consumed=700, reserved=51), 75, False, 1),
        (budget(100, consumed=400), 75, False, 750),
        (budget(10), None, True, None),
        (budget(9), None, False, 1),
        (budget(1), 0, True, None),
        (budget(0), 0, False, 10),
    ],
)
def test_prepaid_use_is_admitted_while_the_budget_covers_it(
    known, estimate, allowed, shortfall
):
    verdict = named(estimate, known)

    assert verdict.allowed is allowed
    if not allowed:
        denial = verdict.denial
        assert (denial.status, denial.code) == (402, "BUDGET.EXHAUSTED")
        assert hints(denial) == {
            "budget.shortfall": {
                "type": "budget.shortfall",
                "budget_id": str(BUDGET),
                "shortfall_xusd": shortfall,
            }
        }


def test_the_refusal_tells_the_numbers():
    denial = named(75, budget(5000, consumed=4000, reserved=500)).denial

    assert denial.sentence == (
        "budget trip: $0.004 of $0.005 consumed and $0.0005 held; $0.00075 needed for "
        "75."
    )


def test_the_budget_is_looked_at_before_the_balance():
    denial = named(75, budget(0), funding=prepaid(0, price=UnitPrice(10, 1))).denial

    assert denial.reason == "budget_exhausted"


@pytest.mark.parametrize("mode", ["postpaid", "hybrid"])
def test_what_is_paid_later_is_never_stopped_and_not_told(mode):
    verdict = named(75, budget(0), funding=Funding(mode, 0, UnitPrice(10, 1)))

    assert verdict.allowed
    assert (verdict.wallet_xusd, list(verdict.hints)) == (0, [])


def test_a_free_feature_needs_nothing_of_a_budget():
    assert named(75, budget(0), funding=FREE).allowed


def test_an_optimistic_quota_admits_and_hints_what_the_budget_covers():
    verdict = named(75, budget(100), quotas=(quota(mode="optimistic"),))

    assert verdict.wallet_xusd == 0
    assert hints(verdict)["budget.shortfall"]["shortfall_xusd"] == 650
    assert hints(verdict)["quota.remaining"]["max_quantity_minor"] == 10


# How it is told


def test_a_decision_on_a_budget_is_explained_and_made_again():
    request, known = ask(75, budget="trip"), facts(budget=budget(700), funding=TEN)
    document = decision_document(request, known, decide(request, known))

    again = explain(read_ask(document["ask"]), read_facts(document["facts"]))

    check = next(check for check in again.checks if check.name == "budget")
    assert (check.outcome, list(check.sentences)) == (
        "failed",
        ["Budget trip: $0.00 of $0.0007 consumed; $0.00075 needed for 75."],
    )


@pytest.mark.parametrize(
    ("funding", "sentence"),
    [
        (
            TEN,
            "$0.00075 more held.",
        ),
        (
            Funding("postpaid", 0, UnitPrice(10, 1)),
            "postpaid usage may pass its limit.",
        ),
    ],
)
def test_an_admission_tells_how_the_budget_stands(funding, sentence):
    known = facts(budget=budget(5000, 1000, 500), funding=funding)

    checks = explain(ask(75, budget="trip"), known).checks

    (check,) = [check for check in checks if check.name == "budget"]
    state = "Budget trip: $0.001 of $0.005 consumed and $0.0005 held"
    assert list(check.sentences) == [f"{state}; {sentence}"]


def test_an_unlimited_budget_is_told_as_such():
    checks = explain(ask(75, budget="trip"), facts(budget=budget(None))).checks

    (check,) = [check for check in checks if check.name == "budget"]
    assert check.sentences[0].startswith("Budget trip: $0.00 of unlimited consumed;")


def test_evidence_from_before_there_were_budgets_is_still_read():
    document = decision_document(ask(75), facts(), decide(ask(75), facts()))
    del document["facts"]["budget"]

    assert read_facts(document["facts"]).budget is None
    assert read_budget(None) is None


# What a commit does to it


def settled(quantity, known, **changes):
    windows = changes.pop("windows", (held(limit=None),))
    return settle(commit(quantity, *windows, budget=known, held_xusd=750, **changes))


def test_a_commit_consumes_what_is_applied():
    found = settled(75, budget(10_000, reserved=750))

    assert (found.amount_xusd, found.budget_xusd) == (750, 750)
    assert (found.status, list(found.reasons)) == ("applied", ["budget_consumed"])
    assert list(found.hints) == []


@pytest.mark.parametrize(
    ("limit", "headroom"), [(2250, 1500), (2251, None), (1000, 250), (750, 0)]
)
def test_a_budget_nearly_used_up_hints(limit, headroom):
    found = hints(settled(75, budget(limit, reserved=750)))

    if headroom is None:
        assert found == {}
    else:
        assert found["budget.low_headroom"] == {
            "type": "budget.low_headroom",
            "budget_id": str(BUDGET),
            "headroom_xusd": headroom,
            "threshold_xusd": 1500,
        }


def test_a_small_commit_hints_from_a_thousand_on():
    found = hints(settled(1, budget(1010, reserved=750)))

    assert found["budget.low_headroom"]["threshold_xusd"] == 1000


def test_prepaid_overshoot_is_clipped_by_the_budget():
    found = settled(100, budget(900, reserved=750))

    assert (found.status, found.quantity_minor) == ("applied_clipped", 100)
    assert (found.amount_xusd, found.budget_xusd) == (900, 900)
    assert list(found.reasons) == ["overshoot", "budget_consumed"]
    assert hints(found)["budget.shortfall"]["shortfall_xusd"] == 100
    assert "funding.xusd_shortfall" not in hints(found)


def test_prepaid_overshoot_of_both_purses_tells_what_each_lacks():
    found = settled(200, budget(900, reserved=750), available_xusd=200)

    assert found.amount_xusd == 900
    assert hints(found)["funding.xusd_shortfall"]["shortfall_xusd"] == 1050
    assert hints(found)["budget.shortfall"]["shortfall_xusd"] == 1100


@pytest.mark.parametrize("mode", ["postpaid", "hybrid"])
def test_what_is_paid_later_counts_in_full_beyond_the_limit(mode):
    found = settle(
        commit(75, held(limit=None), budget=budget(1000, 600), billing_mode=mode)
    )

    assert (found.status, found.amount_xusd, found.budget_xusd) == ("applied", 750, 750)
    assert list(found.reasons) == ["budget_limit_exceeded"]
    assert hints(found)["budget.shortfall"]["shortfall_xusd"] == 350
    assert hints(found)["budget.low_headroom"]["headroom_xusd"] == 0


def test_quarantined_usage_consumes_nothing():
    found = settled(75, budget(0, reserved=0), not_allowed=["other"])

    assert (found.status, found.budget_xusd) == ("quarantined", 0)
    assert list(found.reasons) == ["meter_not_allowed_for_feature"]
    assert set(hints(found)) == {"feature.meter_not_allowed"}


def test_usage_that_costs_nothing_consumes_nothing():
    found = settled(75, budget(1000, reserved=750), amount_xusd=0)

    assert (list(found.reasons), list(found.hints)) == ([], [])


def test_a_budget_never_passes_64_bits():
    known = budget(None, consumed=INT64_MAX - 100)

    found = settle(commit(75, held(limit=None), budget=known, billing_mode="postpaid"))

    assert (found.amount_xusd, found.budget_xusd) == (750, 100)


amounts = st.integers(0, 40)


@given(
    st.sampled_from(["prepaid", "postpaid", "hybrid"]),
    st.none() | amounts,
    amounts,
    amounts,
    amounts,
    st.integers(1, 10),
)
def test_prepaid_use_stays_within_what_is_left(
    mode, limit, consumed, others, own, quantity
):
    known = budget(limit, consumed, others + own)
    within = limit is None or consumed + others + own <= limit

    found = settle(
        commit(
            quantity,
            held(limit=None),
            budget=known,
            billing_mode=mode,
            held_xusd=own,
        )
    )

    assert found.budget_xusd == found.amount_xusd <= quantity * 10
    if mode == "prepaid" and within and limit is not None:
        assert consumed + found.budget_xusd + others <= limit
