"""What becomes of the rest of a lot, once, whoever looks and whatever holds it."""

import time
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from config.tenancy.history import auditing
from config.tenancy.models import DomainEvent
from grants.models import GrantLot, GrantProgram, LedgerEntry, Posting
from grants.services import closing
from grants.services.closing import close_ended_lots, close_lot
from grants.services.settlement import settle_user
from tests.grants.lots import DAY, balances, bind, finish_others, give, hold, use
from tests.grants.racing import race

LATER = 31 * DAY


@pytest.fixture
def late(at):
    return at + LATER


@pytest.fixture
def lot_of(user, at, by):
    """Return a giver of a lot of 500 whose assignment says `policy`."""
    finish_others(at=at, by=by)

    def make(policy=None, end=None, **terms):
        assignment = bind(user, at=at, by=by, policy=policy, end=end)
        return give(user, 500, at=at, by=by, assignment=assignment, **terms)

    return make


def close(at, by):
    return close_ended_lots(at=at, by=by.effective(at))


def facts(lot):
    lot.refresh_from_db()
    return lot.status, lot.closure_kind, lot.closed_remaining_xusd


@pytest.mark.parametrize(
    ("policy", "target", "closure"),
    [
        (None, "forfeited", "forfeit"),
        ("forfeit", "forfeited", "forfeit"),
        ("refund", "refunded", "refund"),
        ("unheard of", "forfeited", "forfeit"),
    ],
)
def test_the_rest_goes_where_the_assignment_says(
    user, lot_of, late, by, at, policy, target, closure
):
    lot = lot_of(policy, on_ledger=True)
    use(user, 120, at=at, lot=lot)

    run = close(late, by)

    assert (run.closed, run.waiting, run.failed) == (1, 0, [])
    assert facts(lot) == ("closed", closure, 380)
    # What was used is settled later, and may be: it is still on the lot's account.
    assert balances(user) == {"wallet": 120, "issued": -500, target: 380}
    settle_user(user=user, at=late, by=by.effective(late))
    assert balances(user) == {"consumed": 120, "issued": -500, target: 380}


def test_nobody_decided_keeps_the_rest_where_it_is(user, lot_of, late, by):
    lot = lot_of("none", on_ledger=True)

    close(late, by)

    assert facts(lot) == ("closed", "none", 500)
    assert balances(user) == {"wallet": 500, "issued": -500}
    assert not GrantLot.objects.filter(user=user).spendable(late).exists()


def test_the_rest_is_carried_over_for_a_period_of_the_same_length(
    user, lot_of, late, at, by
):
    lot = lot_of("carryover", on_ledger=True, priority=7)
    use(user, 120, at=at, lot=lot)

    close(late, by)

    carried = GrantLot.objects.get(carried_from=lot)
    entries = LedgerEntry.objects.filter(posting__reason="carryover")
    assert facts(lot) == ("closed", "carryover", 380)
    assert (carried.amount_xusd, carried.kind, carried.status, carried.priority) == (
        380, "rollover", "ready", 7,
    )  # fmt: skip
    assert (carried.window_start, carried.window_end) == (
        late,
        late + 30 * DAY,
    )
    assert (carried.assignment_id, carried.program_id, carried.on_ledger) == (
        lot.assignment_id, lot.program_id, True,
    )  # fmt: skip
    assert set(entries.values_list("lot", "amount_xusd")) == {
        (lot.pk, -380),
        (carried.pk, 380),
    }
    assert balances(user) == {"wallet": 500, "issued": -500}


def test_a_carried_rest_ends_with_its_assignment(user, lot_of, late, at, by):
    lot = lot_of("carryover", end=at + 40 * DAY)

    close(late, by)

    assert GrantLot.objects.get(carried_from=lot).window_end == at + 40 * DAY


def test_a_lot_that_is_closed_late_carries_its_rest_all_the_same(user, lot_of, at, by):
    lot = lot_of("carryover", days=1)
    hold(lot, 10)
    late = at + 2 * DAY + timedelta(hours=1)
    close(late, by)
    hold(lot, -10)

    close(late, by)
    close(late, by)

    carried = GrantLot.objects.get(carried_from=lot)
    assert (carried.status, carried.amount_xusd) == ("ready", 500)
    assert (carried.window_start, carried.window_end) == (late, late + DAY)


@pytest.mark.parametrize(
    ("own", "closure"), [(None, "refund"), ("none", "none"), ("forfeit", "forfeit")]
)
def test_the_program_says_where_the_assignment_is_silent(
    user, lot_of, late, at, by, own, closure
):
    lot = lot_of(own)
    with auditing(by, at=at):
        GrantProgram.objects.filter(pk=lot.program_id).update(
            metadata={"expiry_policy": "refund"}
        )

    close(late, by)

    assert facts(lot) == ("closed", closure, 500)


@pytest.mark.parametrize("days", [30, 20])
def test_an_assignment_that_ended_carries_nothing(user, lot_of, late, at, by, days):
    lot = lot_of("carryover", end=at + days * DAY)

    close(late, by)

    assert facts(lot) == ("closed", "forfeit", 500)
    assert balances(user) == {"issued": -500, "forfeited": 500}


def test_what_was_carried_is_forfeited_at_its_end(user, lot_of, late, by):
    lot = lot_of("carryover")
    close(late, by)

    close(late + LATER, by)

    carried = GrantLot.objects.get(carried_from=lot)
    assert facts(carried) == ("closed", "forfeit", 500)
    assert balances(user) == {"issued": -500, "forfeited": 500}


def test_a_period_that_would_pass_the_last_year_is_open(user, at, by):
    end = at.replace(year=9999)
    assignment = bind(user, at=at, by=by, policy="carryover")
    lot = give(user, 5, at=at, by=by, assignment=assignment, window_end=end)

    close(end, by)

    assert GrantLot.objects.get(carried_from=lot).window_end is None


def test_a_held_lot_waits_and_closes_when_nothing_holds_it(user, lot_of, late, by):
    lot = lot_of()
    hold(lot, 200)

    waited = close(late, by)

    assert (waited.closed, waited.waiting) == (0, 1)
    assert facts(lot) == ("pending_close", None, None)
    assert close(late, by).waiting == 0
    hold(lot, -200)
    assert close(late, by).closed == 1
    assert facts(lot) == ("closed", "forfeit", 500)


def test_a_suspended_lot_that_is_held_stays_suspended(user, lot_of, late, by):
    lot = lot_of(status="suspended")
    hold(lot, 200)

    close(late, by)

    assert facts(lot) == ("suspended", None, None)
    hold(lot, -200)
    close(late, by)
    assert facts(lot) == ("closed", "forfeit", 500)


def test_a_lot_of_which_nothing_is_left_is_closed_before_its_end(user, lot_of, at, by):
    lot = lot_of()
    use(user, 500, at=at, lot=lot)

    # Not before its uses are settled: that is what a run finds it by.
    assert close(at, by).closed == 0
    settle_user(user=user, at=at, by=by)
    close(at, by)

    assert facts(lot) == ("closed", "none", 0)
    reasons = Posting.objects.filter(user=user).values_list("reason", flat=True)
    assert set(reasons) == {"issue", "consumption"}


def test_lots_not_due_stay_as_they_are(user, lot_of, at, by):
    lots = [lot_of(), lot_of(window_end=None), lot_of(status="suspended")]
    hold(lots[0], 500)

    run = close(at + 30 * DAY - timedelta(microseconds=1), by)

    assert (run.closed, run.waiting) == (0, 0)


def test_closing_again_changes_nothing(user, lot_of, late, by):
    lot_of("carryover")
    close(late, by)
    postings = Posting.objects.filter(user=user).count()

    again = close(late, by)

    assert (again.closed, again.waiting) == (0, 0)
    assert Posting.objects.filter(user=user).count() == postings


def test_closing_tells_what_became_of_the_rest(user, lot_of, late, by):
    lot = lot_of("refund")

    close(late, by)

    event = DomainEvent.objects.get(kind="grant.closed", subject_id=str(lot.pk))
    assert event.payload == {
        "billing_user_id": str(user.pk),
        "closure_kind": "refund",
        "closed_remaining_xusd": "500",
    }


def test_one_lot_that_fails_keeps_no_other_open(user, lot_of, late, at, by):
    broken, sound = lot_of("carryover"), lot_of("carryover")
    # Somebody took the key of what would be carried over.
    give(user, 5, at=at, by=by, days=None, issue_key=f"carryover:{broken.pk}")

    run = close(late, by)

    assert run.failed == [broken.pk]
    assert facts(broken) == ("ready", None, None)
    assert facts(sound) == ("closed", "carryover", 500)


def test_small_batches_come_to_every_lot(user, lot_of, late, by):
    for _ in range(5):
        lot_of()

    run = close_ended_lots(at=late, by=by.effective(late), batch=2)

    assert run.closed == 5


def test_those_that_ended_first_are_closed_first(user, lot_of, late, at, by):
    last = lot_of(window_end=at + 3 * DAY)
    first = lot_of(window_end=at + DAY)
    used = lot_of()
    use(user, 500, at=at, lot=used)
    settle_user(user=user, at=at, by=by)
    asked = iter([False, True])

    run = close_ended_lots(
        at=at + 5 * DAY, by=by.effective(at + 5 * DAY), stop=lambda: next(asked)
    )

    assert run.closed == 1
    assert facts(first) == ("closed", "forfeit", 500)
    assert facts(last) == ("ready", None, None)
    assert close(at + 5 * DAY, by).closed == 2


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_lots_that_end_together_are_all_come_to(user, lot_of, at, by, batch):
    for _ in range(3):
        lot_of(window_end=at + DAY)
    lot_of(window_end=at + 2 * DAY)

    run = close_ended_lots(at=at + DAY, by=by.effective(at + DAY), batch=batch)

    assert run.closed == 3


def test_any_failure_of_one_lot_keeps_no_other_open(
    user, lot_of, late, by, monkeypatch
):
    broken, sound = lot_of(), lot_of()

    def fail_of_one(lot_id, **terms):
        if lot_id == broken.pk:
            raise RuntimeError("no luck")
        return close_lot(lot_id=lot_id, **terms)

    monkeypatch.setattr(closing, "close_lot", fail_of_one)

    run = close(late, by)

    assert (run.closed, run.failed) == (1, [broken.pk])
    assert facts(sound) == ("closed", "forfeit", 500)


@pytest.mark.parametrize("which", ["_ended_lots", "_used_up_lots"])
def test_what_is_due_is_found_by_an_index(user, lot_of, at, which):
    terms = (at, 10) if which == "_ended_lots" else (10,)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        with CaptureQueriesContext(connection) as queries:
            list(getattr(closing, which)(*terms))
        cursor.execute("EXPLAIN " + queries[0]["sql"])
        plan = "\n".join(row[0] for row in cursor.fetchall())

    name = "grant_lots_by_end" if which == "_ended_lots" else "grant_lots_used_up"
    assert f"using {name}" in plan
    assert "Sort" not in plan


def test_runs_at_once_close_each_lot_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    late = at + LATER
    for _ in range(6):
        assignment = bind(user, at=at, by=by, policy="carryover")
        give(user, 500, at=at, by=by, assignment=assignment)

    runs = race(lambda _: close(late, by), threads=6)

    assert all(run.failed == [] for run in runs)
    assert GrantLot.objects.filter(user=user, kind="rollover").count() == 6
    assert balances(user) == {"promotional": 3000, "issued": -3000}


def test_control_closing_without_the_lock_collides(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    late = at + LATER
    assignment = bind(user, at=at, by=by, policy="carryover")
    lot = give(user, 500, at=at, by=by, assignment=assignment)

    def attempt(_):
        try:
            close_lot(lot_id=lot.pk, at=late, by=by.effective(late), lock=SlowLots)
        except IntegrityError:
            return "collided"
        return "closed"

    # The database itself then refuses to close a lot again.
    assert sorted(race(attempt, threads=4)) == ["closed", *3 * ["collided"]]


class SlowLots:
    """Reads without a lock, and gives others the time to read the same."""

    def __init__(self, lots):
        self.lots = lots

    def select_related(self, *names):
        return SlowLots(self.lots.select_related(*names))

    def first(self):
        found = self.lots.first()
        time.sleep(0.1)
        return found
