"""Budgets at the gate: held by authorize, consumed by commit, given back by the rest."""

from datetime import timedelta

import pytest

from gating.facts import Ask
from gating.models import Lease
from gating.selectors.decisions import decision_of
from gating.services.admissions import AuthorizeRequest
from gating.services.batches import authorize_batch, commit_batch
from gating.services.commits import CommitRequest
from gating.services.leases import expire_leases
from gating.services.subjects import Subject
from tests.gating.gate import row_counts
from tests.gating.refusals import refusal

OVERDUE = timedelta(hours=12, seconds=61)


def hint(admission, kind):
    (found,) = [hint for hint in admission.hints if hint["type"] == kind]
    return found


@pytest.fixture
def budgeted(gate):
    """A gate with a feature of 10 XUSD each, a balance of 10,000, a budget of 5,000."""
    gate.feature(price=10, cost=4)
    gate.credit(10_000)
    gate.quota(None)
    gate.budget(5000)
    return gate


@pytest.fixture
def later_paid(gate):
    gate.feature(price=10)
    gate.plan(mode="postpaid")
    gate.quota(None)
    gate.budget(500)
    return gate


def test_authorize_holds_the_price_on_balance_and_budget(budgeted):
    answer = budgeted.authorize(75, budget="trip")

    assert budgeted.on_budget() == (0, 750)
    assert budgeted.balance() == (9250, 750, 0)
    budget_id = answer.data["budget_id"]
    row = budgeted.row(answer.data["lease"])
    assert (row.budget, str(row.budget_id)) == ("trip", budget_id)


def test_a_repeat_is_the_same_answer_whatever_became_of_the_budget(budgeted):
    first = budgeted.authorize(75, budget="trip", key="k")
    budgeted.close_budget()

    again = budgeted.authorize(75, budget="trip", key="k")

    assert again.replayed
    assert (again.data, list(again.hints)) == (first.data, list(first.hints))
    assert budgeted.on_budget() == (0, 750)


def test_preflight_says_the_same_and_writes_nothing(budgeted):
    budgeted.lease(400, budget="trip")
    before = row_counts()

    sure = budgeted.preflight(100, budget="trip")
    denied = refusal(budgeted.preflight, 101, budget="trip")

    assert (
        sure.data["budget_id"] == budgeted.authorize(1, budget="trip").data["budget_id"]
    )
    assert (denied.status, denied.code) == (402, "BUDGET.EXHAUSTED")
    assert denied.hints[0]["shortfall_xusd"] == 10
    assert row_counts() == before | {"gate_leases": before["gate_leases"] + 1}


def test_what_is_left_is_not_admitted_twice(budgeted):
    budgeted.lease(400, budget="trip")

    denied = refusal(budgeted.authorize, 101, budget="trip")

    assert (denied.status, denied.code, denied.meta["reason"]) == (
        402,
        "BUDGET.EXHAUSTED",
        "budget_exhausted",
    )
    assert budgeted.on_budget() == (0, 4000)
    assert budgeted.authorize(100, budget="trip")


def test_a_commit_consumes_and_gives_the_rest_back(budgeted):
    lease = budgeted.lease(400, budget="trip")

    done = budgeted.commit(lease, 60)

    assert done.data["budget_consumed_delta_xusd"] == "600"
    assert done.data["budget_remaining_xusd"] == "4400"
    assert done.data["reason_codes"] == ["budget_consumed"]
    assert budgeted.on_budget() == (600, 0)
    assert budgeted.balance() == (9400, 0, 600)
    assert str(budgeted.rating(done).budget_id) == done.data["budget_id"]


def test_a_repeated_commit_consumes_once_and_answers_the_same(budgeted):
    lease = budgeted.lease(400, budget="trip")
    first = budgeted.commit(lease, 60, key="k")
    budgeted.commit(budgeted.lease(10, budget="trip"), 10)

    again = budgeted.commit(lease, 60, key="k")

    assert again.replayed
    assert (again.data, list(again.hints)) == (first.data, list(first.hints))
    assert budgeted.on_budget() == (700, 0)


def test_a_second_commit_of_the_lease_consumes_nothing(budgeted):
    lease = budgeted.lease(400, budget="trip")
    budgeted.commit(lease, 60)

    second = budgeted.commit(lease, 60)

    assert second.data["application_status"] == "quarantined"
    assert second.data["budget_consumed_delta_xusd"] == "0"
    assert second.data["budget_remaining_xusd"] == "4400"
    assert budgeted.on_budget() == (600, 0)


def test_prepaid_overshoot_stays_within_the_budget(budgeted):
    lease = budgeted.lease(400, budget="trip")
    budgeted.lease(50, budget="trip")

    done = budgeted.commit(lease, 470)

    assert done.data["application_status"] == "applied_clipped"
    assert (done.data["amount_xusd"], done.data["budget_consumed_delta_xusd"]) == (
        "4500",
        "4500",
    )
    assert hint(done, "budget.shortfall")["shortfall_xusd"] == 200
    assert budgeted.on_budget() == (4500, 500)
    assert budgeted.balance() == (5000, 500, 4500)


def test_what_is_paid_later_passes_the_limit_and_says_so(later_paid):
    lease = later_paid.lease(75, budget="trip")
    assert later_paid.on_budget() == (0, 0)

    done = later_paid.commit(lease, 75)
    more = later_paid.commit(later_paid.lease(1, budget="trip"), 1)

    assert done.data["reason_codes"] == [
        "budget_limit_exceeded",
        "cash_funding_applied",
    ]
    assert done.data["budget_remaining_xusd"] == "-250"
    assert hint(done, "budget.shortfall")["shortfall_xusd"] == 250
    assert more.data["budget_remaining_xusd"] == "-260"
    assert later_paid.on_budget() == (760, 0)


def test_an_unlimited_budget_counts_and_has_no_remainder(budgeted):
    budgeted.budget(None, "open")

    done = budgeted.commit(budgeted.lease(75, budget="open"), 75)

    assert done.data["budget_consumed_delta_xusd"] == "750"
    assert "budget_remaining_xusd" not in done.data
    assert budgeted.on_budget("open") == (750, 0)


def test_quarantined_usage_gives_the_hold_back_and_consumes_nothing(budgeted):
    lease = budgeted.lease(400, budget="trip")

    done = budgeted.commit(lease, 60, meters=[("elsewhere", 60)])

    assert done.data["application_status"] == "quarantined"
    assert done.data["budget_consumed_delta_xusd"] == "0"
    assert budgeted.on_budget() == (0, 0)


def test_cancel_gives_the_hold_back(budgeted):
    lease = budgeted.lease(400, budget="trip")

    assert budgeted.cancel(lease).canceled
    assert budgeted.on_budget() == (0, 0)


def test_expiry_gives_the_hold_back(budgeted):
    budgeted.lease(400, budget="trip")
    budgeted.lease(50, budget="trip")

    assert expire_leases(at=budgeted.at + OVERDUE) == 2
    assert budgeted.on_budget() == (0, 0)


def test_an_overdue_commit_gives_the_hold_back(budgeted):
    lease = budgeted.lease(400, budget="trip")
    late = budgeted.at_instant(budgeted.at + OVERDUE)

    done = late.commit(lease, 400)

    assert done.data["application_status"] == "quarantined"
    assert budgeted.on_budget() == (0, 0)


def test_the_next_authorize_has_what_overdue_leases_held(budgeted):
    budgeted.lease(400, budget="trip")
    late = budgeted.at_instant(budgeted.at + OVERDUE)

    assert late.preflight(500, budget="trip")
    assert budgeted.on_budget() == (0, 4000)
    assert late.authorize(500, budget="trip")
    assert budgeted.on_budget() == (0, 5000)


def test_a_closed_budget_admits_nothing_and_settles_what_it_held(budgeted):
    lease = budgeted.lease(75, budget="trip")
    budgeted.close_budget()

    denied = refusal(budgeted.authorize, 1, budget="trip")
    done = budgeted.commit(lease, 75)

    assert (denied.status, denied.code) == (422, "RESOURCE.NOT_FOUND")
    assert "was closed at" in denied.message
    assert done.data["budget_consumed_delta_xusd"] == "750"
    assert budgeted.on_budget() == (750, 0)


def test_a_budget_of_another_user_is_unknown(budgeted):
    other = budgeted.of_user("u-2")
    other.credit(10_000)

    denied = refusal(other.authorize, 1, budget="trip")

    assert denied.message == "there is no budget trip."


def test_a_budget_holds_in_its_window_only(priced):
    start = priced.at + timedelta(hours=1)
    priced.budget(window_start=start, window_end=start + timedelta(hours=1))

    assert "begins only" in refusal(priced.authorize, 1, budget="trip").message
    assert priced.at_instant(start).authorize(1, budget="trip")
    after = priced.at_instant(start + timedelta(hours=1))
    assert "ended at" in refusal(after.authorize, 1, budget="trip").message


def test_a_budget_of_some_features_is_for_no_other(priced):
    priced.feature("draw", price=1)
    priced.budget(scope_kind="feature", feature_codes=["draw"])

    assert "is for draw" in refusal(priced.authorize, 1, budget="trip").message
    assert priced.authorize(1, feature="draw", budget="trip")


def test_the_evidence_of_admission_and_denial_makes_the_decision_again(budgeted):
    lease = budgeted.row(budgeted.lease(400, budget="trip"))
    refusal(budgeted.authorize, 101, budget="trip")
    budgeted.commit(lease.lease, 400)
    budgeted.close_budget()

    admitted = decision_of(budgeted.realm, str(lease.pk))
    (denial,) = budgeted.denials()
    denied = decision_of(budgeted.realm, str(denial.pk))

    assert (admitted.agrees, admitted.stored) == (True, "")
    assert (denied.agrees, denied.stored) == (True, "budget_exhausted")
    told = {check.name: check.sentences for check in admitted.explanation.checks}
    assert told["budget"] == [
        "Budget trip: $0.00 of $0.005 consumed; $0.004 more held."
    ]
    assert denied.explanation.headline.endswith(
        "budget trip: $0.00 of $0.005 consumed and $0.004 held; $0.00101 needed for 101."
    )


def test_a_batch_holds_and_consumes_item_by_item(budgeted, by):
    subject = Subject.of(budgeted.account, budgeted.user)
    asked = [
        (
            AuthorizeRequest(Ask("chat", estimate_minor=200, budget=name), f"l-{n}"),
            f"k-{n}",
        )
        for n, name in enumerate(["trip", "trip", "trip", None, "trip"])
    ]

    held = authorize_batch(subject, asked, at=budgeted.at, by=by)

    codes = [getattr(outcome, "code", "admitted") for outcome in held]
    assert codes == [
        "admitted",
        "admitted",
        "BUDGET.EXHAUSTED",
        "admitted",
        "BUDGET.EXHAUSTED",
    ]
    assert budgeted.on_budget() == (0, 4000)

    used = [(CommitRequest(f"l-{n}", "chat", 220), f"c-{n}") for n in (0, 1)]
    done = commit_batch(subject, used, at=budgeted.at, by=by)

    assert [outcome.data["budget_consumed_delta_xusd"] for outcome in done] == [
        "2200",
        "2200",
    ]
    assert [outcome.data["budget_remaining_xusd"] for outcome in done] == [
        "2800",
        "600",
    ]
    assert budgeted.on_budget() == (4400, 0)


def test_a_batch_that_repeats_a_key_consumes_once(budgeted, by):
    subject = Subject.of(budgeted.account, budgeted.user)
    lease = budgeted.lease(100, budget="trip")
    other = budgeted.lease(100, budget="trip")
    used = [
        (CommitRequest(lease, "chat", 10), "c-1"),
        (CommitRequest(lease, "chat", 10), "c-1"),
        (CommitRequest(other, "chat", 10), "c-2"),
    ]

    done = commit_batch(subject, used, at=budgeted.at, by=by)

    assert [outcome.replayed for outcome in done] == [False, True, False]
    assert done[1].data == done[0].data
    assert budgeted.on_budget() == (200, 0)


def test_no_lease_names_a_budget_that_was_not_asked_for(budgeted):
    lease = budgeted.row(budgeted.lease(75))

    assert (lease.budget, lease.budget_id, lease.budget_seen) == (None, None, None)
    assert budgeted.on_budget() == (0, 0)
    assert Lease.objects.filter(budget_id__isnull=False).count() == 0
