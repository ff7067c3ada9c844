"""Recorded decisions, made again under a draft: which verdicts flip."""


import pytest

from tests.gating.gate import row_counts
from tests.gating.refusals import refusal
from tests.gating.simulating import SAME, changed, counts, run


@pytest.fixture
def story(gate):
    """Six holds of 75 against 500, two of them committed, and a seventh denied."""
    gate.feature(price=10)
    gate.credit(100_000)
    gate.plan("pro", bundle="pro", mode="prepaid")
    gate.bundle("pro")
    gate.policy_of_day = gate.quota(500, bundle=gate.bundle("pro"), name="calls")
    leases = [gate.later(minutes=n).lease(75) for n in range(6)]
    gate.later(minutes=7).commit(leases[0], 75)
    gate.later(minutes=8).commit(leases[1], 5)
    refusal(gate.later(minutes=9).authorize, 200)
    gate.leases = leases
    return gate


def test_without_a_draft_everything_comes_out_as_recorded(story):
    before = row_counts()

    results = run(story, SAME)

    assert counts(results) == (0, 0, 7)
    assert (results.total.decisions, results.total.reproduced) == (7, 7)
    assert not results.not_reproduced
    assert row_counts() == before


@pytest.mark.parametrize("mode", ["replay", "independent"])
def test_the_bundle_as_it_stands_changes_nothing(story, mode):
    results = run(story, changed(story, story.policy_of_day), mode=mode)

    assert counts(results) == (0, 0, 7)
    assert not results.not_judged


def test_a_lowered_quota_denies_what_no_longer_fits_and_no_more(story):
    """150 hold two of 75; what the denied would have held is free for no one else."""
    results = run(story, changed(story, story.policy_of_day, limit_minor=150))

    assert counts(results) == (4, 0, 7)
    (group,) = results.ranked()
    assert group.counts.reasons["admitted_to_denied"] == {"quota_exhausted": 4}
    first = group.examples[0]
    assert first.decision_id == story.row(story.leases[2]).pk
    assert first.was == "Admitted at 2026-03-10T12:02:00Z: chat, 75."
    assert first.would == (
        "Blocked at 2026-03-10T12:02:00Z: Quota calls: 0 of 150 used and 150 held in "
        "the window that ends 2026-03-11T00:00:00Z; 75 asked."
    )


def test_what_a_denied_hold_gives_up_is_there_for_the_next(story):
    """With 300, four of 75 are held; 75 and 5 are used, so 70 more fit at the end."""
    story.later(minutes=10).lease(70)
    last = story.later(minutes=11).lease(1)

    results = run(story, changed(story, story.policy_of_day, limit_minor=300))

    assert counts(results) == (3, 0, 9)
    assert [example.decision_id for example in results.ranked()[0].examples] == [
        story.row(story.leases[4]).pk,
        story.row(story.leases[5]).pk,
        story.row(last).pk,
    ]


def test_independent_judges_each_on_the_numbers_it_saw(story):
    results = run(
        story, changed(story, story.policy_of_day, limit_minor=300), mode="independent"
    )

    assert counts(results) == (2, 0, 7)


def test_a_raised_quota_admits_what_was_denied(story):
    results = run(story, changed(story, story.policy_of_day, limit_minor=1000))

    assert counts(results) == (0, 1, 7)
    (group,) = results.ranked()
    assert group.counts.reasons["denied_to_admitted"] == {"quota_exhausted": 1}
    assert group.examples[0].would == "Admitted at 2026-03-10T12:09:00Z: chat, 200."


def test_what_only_the_draft_admits_counts_as_used(gate):
    gate.feature()
    policy = gate.quota(10)
    for minute in range(6):
        refusal(gate.later(minutes=minute).authorize, 30)

    results = run(gate, changed(gate, policy, limit_minor=100))

    assert counts(results) == (0, 3, 6)


def test_denials_that_were_only_counted_are_told_and_not_judged(gate):
    gate.feature()
    policy = gate.quota(10)
    for _ in range(5):
        refusal(gate.authorize, 30)

    results = run(gate, changed(gate, policy, limit_minor=1000))

    assert counts(results) == (0, 1, 1)
    assert results.total.decisions == 5
    assert results.not_judged == results.not_reproduced == {"counted_only": 4}
