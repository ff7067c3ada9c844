"""What was effective at T, as known at K: verbs and SQL against a naive model.

The seed is printed; PLANGATE_SEED replays it.
"""

import os
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Plan, PlanAssignment
from billing.selectors.effective import billing_state
from billing.services import assignment_changes as changes
from billing.services.assignments import Identity, assign_plan, window_of
from config.kernel.windows import Window, tiles
from config.tenancy.history import auditing
from tests.billing.mutants import MUTANTS
from tests.billing.naive import Naive
from tests.billing.stories import (
    AUTHOR,
    ORIGIN,
    first_difference,
    instant,
    offered,
    play,
)
from tests.conftest import make_realm
from tests.tools.verification import note

SEED = os.environ.get("PLANGATE_SEED", "2026")
STORIES = 400
TOLD_TO_MUTANTS = 100
SOAK_STORIES = 12_000
BATCH = 100
VERBS = {
    "assign", "change", "extend", "end", "pause", "resume", "cancel", "upgrade",
    "downgrade", "edit_plan", "edit_rules",
}  # fmt: skip
REFUSALS = {
    ("VALIDATION.INVALID_INPUT", "window_end"),
    ("ASSIGNMENT.STATUS_IN_FUTURE", "audit.effective_at"),
    ("AUDIT.EFFECTIVE_IN_FUTURE", "audit.effective_at"),
    ("ASSIGNMENT.NOT_AN_EXTENSION", "window_end"),
    ("ASSIGNMENT.ALREADY_DONE", "end_at"),
    ("ASSIGNMENT.ALREADY_DONE", "status"),
    ("ASSIGNMENT.OUTSIDE_WINDOW", "end_at"),
    ("ASSIGNMENT.OUTSIDE_WINDOW", "switch_at"),
    ("ASSIGNMENT.NOT_ACTIVE", "status"),
    ("ASSIGNMENT.NOT_ACTIVE", "plan_id"),
    ("ASSIGNMENT.OTHER_KIND", "plan_id"),
    ("ASSIGNMENT.WRONG_DIRECTION", "plan_id"),
    ("ASSIGNMENT.SOURCE_REF_TAKEN", "source_ref"),
}


def played(numbers):
    """Play the stories of those numbers; nothing of them stays in the database."""
    with transaction.atomic():
        realm = make_realm(ORIGIN, AUTHOR)
        offered(realm)
        stories = [play(realm, number, seed=SEED) for number in numbers]
        transaction.set_rollback(True)
    return stories


def answers(stories):
    return Counter(answer for story in stories for _op, (answer, _key) in story.told)


def counted(stories):
    told = answers(stories)
    refused = sum(count for answer, count in told.items() if answer[0] == "refused")
    return Counter(
        sequences=len(stories),
        verbs=told.total(),
        refusals=refused,
        comparisons=sum(len(story.read) for story in stories),
    )


def figures(counts, seconds):
    parts = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"seed {SEED}, {parts}, {seconds:.0f} s"


def differences(stories, model):
    found = ((story.number, first_difference(story, model)) for story in stories)
    return [(f"seed {SEED}, sequence {number}", text) for number, text in found if text]


@pytest.fixture(scope="module")
def first_stories(django_db_setup, django_db_blocker):
    """Return the first so many stories, each played once, and the seconds it took."""
    found = []
    seconds = 0.0

    def first(count):
        nonlocal seconds
        if len(found) < count:
            began = time.monotonic()
            with django_db_blocker.unblock():
                found.extend(played(range(len(found), count)))
                connections.close_all()
            seconds += time.monotonic() - began
        return found[:count], seconds

    return first


def test_effective_plans_are_those_of_the_naive_model(first_stories):
    stories, seconds = first_stories(STORIES)

    note("time travel", figures(counted(stories), seconds))
    assert differences(stories, Naive) == []
    # And the stories are worth comparing: every verb is used, every refusal met.
    verbs = {op.verb for story in stories for op, _answer in story.told}
    refusals = {answer[1:] for answer in answers(stories) if answer[0] == "refused"}

    assert verbs == VERBS
    assert refusals == REFUSALS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_model_with_one_wrong_rule_is_caught(first_stories, mutant):
    stories, _seconds = first_stories(TOLD_TO_MUTANTS)

    caught = differences(stories, mutant)

    assert caught, f"no story tells {mutant.__name__} from the rules"


@pytest.mark.soak
def test_effective_plans_are_those_of_the_naive_model_for_long(committed):
    began = time.monotonic()
    counts, wrong = Counter(), []
    for first in range(0, SOAK_STORIES, BATCH):
        batch = played(range(first, first + BATCH))
        wrong += differences(batch, Naive)
        counts += counted(batch)

    note("time travel", figures(counts, time.monotonic() - began))
    assert wrong == []


# Named verbs leave neither gap nor overlap

HOURS = range(-1, 24)
STEPS = st.lists(
    st.tuples(st.sampled_from(["upgrade", "downgrade", "extend"]), st.integers(1, 6)),
    max_size=6,
)


@pytest.fixture
def ladder(realm, at, by):
    """Base plans of priority 0 to 7, the weakest first."""
    with auditing(by, at=at):
        return Plan.objects.bulk_create(
            Plan(realm=realm, plan_code=f"p{n}", name="x", priority=n) for n in range(8)
        )


def climb(account, ladder, steps, end, *, at, by):
    """Take the steps from the middle of the ladder; return the windows they leave."""
    rung, start = 3, 0
    current, _outcome = assign_plan(
        identity=Identity(account, None, ladder[rung], "ops.manual", "s"),
        window=Window(instant(0), instant(end)),
        at=at,
        by=by,
    )
    for number, (verb, distance) in enumerate(steps):
        if verb == "extend":
            if end is not None:
                end += distance
                changes.extend_assignment(
                    assignment=current, window_end=instant(end), at=at, by=by
                )
            continue
        rung += 1 if verb == "upgrade" else -1
        if rung not in range(len(ladder)) or (
            end is not None and start + distance >= end
        ):
            break
        start += distance
        current = getattr(changes, f"{verb}_plan")(
            assignment=current,
            plan=ladder[rung],
            source_kind="ops.manual",
            source_ref=f"s{number}",
            switch_at=instant(start),
            at=at,
            by=by,
        )
    rows = PlanAssignment.objects.filter(account=account).order_by("window_start")
    return [window_of(row) for row in rows], end


@given(steps=STEPS, end=st.sampled_from([None, 4, 10, 16]))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_named_verbs_leave_neither_gap_nor_overlap(account, ladder, at, by, steps, end):
    with transaction.atomic():
        windows, end = climb(account, ladder, steps, end, at=at, by=by)
        bases = [
            billing_state(account=account, as_of=instant(hour), at=at).effective
            for hour in HOURS
        ]
        transaction.set_rollback(True)

    assert tiles(windows)
    assert (windows[0].start, windows[-1].end) == (instant(0), instant(end))
    assert [len(plans) for plans in bases] == [
        int(hour >= 0 and (end is None or hour < end)) for hour in HOURS
    ]


def test_ending_one_plan_where_the_next_begins_leaves_one_plan_at_each_instant(
    account, ladder, at, by
):
    end = at + timedelta(days=1)
    old, _outcome = assign_plan(
        identity=Identity(account, None, ladder[0], "ops.manual", "old"),
        window=Window(at - timedelta(days=1)),
        at=at,
        by=by,
    )

    changes.end_assignment(assignment=old, end_at=end, at=at, by=by)
    new, _outcome = assign_plan(
        identity=Identity(account, None, ladder[1], "ops.manual", "new"),
        window=Window(end),
        at=at,
        by=by,
    )

    last = end - timedelta(microseconds=1)
    before = billing_state(account=account, as_of=last, at=at).effective
    after = billing_state(account=account, as_of=end, at=at).effective
    assert [plan.assignment_id for plan in before] == [old.pk]
    assert [plan.assignment_id for plan in after] == [new.pk]
