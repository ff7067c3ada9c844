"""No over-admission, no double spend, one outcome: whatever runs beside it.

Each race is run with the guards on, and a control run with them off must fail, or the
race would prove nothing. The long forms run with PLANGATE_SOAK=1.
"""

import time
from collections import Counter as Tally
from datetime import timedelta
from threading import Event

import pytest
from django.db import transaction
from django.db.models import Sum

from gating.models import Counter as Quantities
from gating.models import Denial, Lease, LeaseEnd, Rating, Seat
from gating.services.admissions import Admission
from gating.services.denials import GateDenied
from gating.services.functions import GateMoved
from gating.services.holds import HoldEnded, commit_hold, release_hold
from gating.services.leases import expire_leases
from grants.services import funding
from tests.gating.differ import execute
from tests.gating.mutants import (
    at_point,
    chained,
    guarded,
    mutated,
    without_marked,
)
from tests.gating.racing import arena, end_overdue, racers, report
from tests.tools.tables import rows

pytestmark = pytest.mark.usefixtures("committed")

SHORT_AND_LONG = pytest.mark.parametrize(
    "rounds", [25, pytest.param(200, marks=pytest.mark.soak)]
)
FEW_AND_MANY = pytest.mark.parametrize(
    "rounds", [8, pytest.param(100, marks=pytest.mark.soak)]
)
GRACE = timedelta(hours=12, seconds=60)


def admitted(results):
    return [result for result in results if isinstance(result, Admission)]


def refused(results):
    return [result for result in results if not isinstance(result, Admission)]


def account_quota(at, by):
    """An arena with 500 of its feature for each account and day."""
    gate = arena(at, by)
    gate.feature()
    gate.quota(500, subject_scope="account")
    return gate


def twenty_of_75(gate, racing):
    """Race twenty authorizes of 75 by four users against 500 of their account."""
    users = [gate, *(gate.of_user(f"u-{n}") for n in (2, 3, 4))]
    callers = [racing.chance.choice(users) for _ in range(20)]
    return racing.race(
        [
            lambda who=who, n=n: who.authorize(75, key=f"k-{n}")
            for n, who in enumerate(callers)
        ]
    )


@SHORT_AND_LONG
def test_twenty_holds_of_75_against_500_admit_exactly_six(at, by, rounds):
    tally, realm = Tally(), account_quota(at, by)
    with racers(20) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            results = twenty_of_75(gate, racing)

            tally[len(admitted(results))] += 1
            assert {type(r) for r in refused(results)} == {GateDenied}, results
            assert {r.code for r in refused(results)} == {"QUOTA.EXHAUSTED"}
            assert gate.used(subject_scope="account") == (0, 450)
            assert (
                Denial.objects.filter(account=gate.account).aggregate(n=Sum("count"))[
                    "n"
                ]
                == 14
            )
        report("twenty of 75 against 500", racing, rounds, tally)
    assert tally == {6: rounds}


@FEW_AND_MANY
def test_control_without_guards_the_same_race_over_admits(at, by, rounds):
    tally, realm = Tally(), account_quota(at, by)
    with racers(20) as racing, guarded(lock=False, guarded=False, pause_seconds=0.005):
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            results = twenty_of_75(gate, racing)
            tally[len(admitted(results))] += 1
            assert gate.used(subject_scope="account")[1] == 75 * len(admitted(results))
        report("control, guards off", racing, rounds, tally)
    assert sum(count for n, count in tally.items() if n > 6) > 0, tally


@FEW_AND_MANY
def test_the_guarded_statements_alone_never_over_admit(at, by, rounds):
    tally, realm = Tally(), account_quota(at, by)
    with racers(20) as racing, guarded(lock=False, pause_seconds=0.005):
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            results = twenty_of_75(gate, racing)
            tally[len(admitted(results))] += 1
            assert {type(r) for r in refused(results)} <= {GateDenied, GateMoved}
            assert (
                gate.used(subject_scope="account")[1]
                == 75 * len(admitted(results))
                <= 500
            )
        report("lock off, statements guarded", racing, rounds, tally)


@FEW_AND_MANY
def test_the_last_credit_is_held_once(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(20) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(5000)
            results = racing.race(
                [lambda n=n: gate.authorize(75, key=f"k-{n}") for n in range(20)]
            )

            tally[len(admitted(results))] += 1
            assert {r.code for r in refused(results)} == {"FUNDING.EXHAUSTED"}
            assert gate.balance() == (500, 4500, 0)
        report("twenty holds of 750 against 5,000 xusd", racing, rounds, tally)
    assert tally == {6: rounds}


def budget_for_six(realm, number):
    """A user with money, and a budget that six holds of 750 XUSD use up.

    Most of it is consumed, so that its limit alone would not refuse a seventh.
    """
    gate = realm.of_principal(f"p-{number}")
    gate.credit(100_000)
    budget = gate.budget(20_000)
    execute("SELECT grants_settle_budget(%s, 0, 15500, now())", [budget.pk])
    return gate


def twenty_on_a_budget(gate, racing):
    return racing.race(
        [lambda n=n: gate.authorize(75, budget="trip", key=f"k-{n}") for n in range(20)]
    )


@FEW_AND_MANY
def test_twenty_holds_on_a_budget_that_fits_six_admit_exactly_six(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(20) as racing:
        for number in range(rounds):
            gate = budget_for_six(realm, number)
            results = twenty_on_a_budget(gate, racing)

            tally[len(admitted(results))] += 1
            assert {type(r) for r in refused(results)} == {GateDenied}, results
            assert {r.code for r in refused(results)} == {"BUDGET.EXHAUSTED"}
            assert gate.on_budget() == (15_500, 4500)
            assert gate.balance() == (95_500, 4500, 0)
        report("twenty holds of 750 on a budget with 4,500 left", racing, rounds, tally)
    assert tally == {6: rounds}


@FEW_AND_MANY
def test_control_without_guards_a_budget_is_over_admitted(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(20) as racing, guarded(lock=False, guarded=False, pause_seconds=0.005):
        for number in range(rounds):
            gate = budget_for_six(realm, number)
            results = twenty_on_a_budget(gate, racing)
            tally[len(admitted(results))] += 1
            assert gate.on_budget()[1] == 750 * len(admitted(results))
        report("control, a budget with the guards off", racing, rounds, tally)
    assert sum(count for n, count in tally.items() if n > 6) > 0, tally


@FEW_AND_MANY
def test_commits_of_many_leases_on_a_budget_stay_within_it(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(6) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(100_000)
            gate.budget(5000)
            leases = [gate.lease(50, budget="trip") for _ in range(6)]
            results = racing.race(
                [lambda lease=lease: gate.commit(lease, 120) for lease in leases]
            )

            took = [int(r.data["budget_consumed_delta_xusd"]) for r in results]
            tally[sum(took)] += 1
            assert gate.on_budget() == (5000, 0)
            assert gate.balance() == (95_000, 0, 5000)
        report("six overshooting commits on one budget", racing, rounds, tally)
    assert tally == {5000: rounds}


@FEW_AND_MANY
def test_a_rate_admits_exactly_its_limit(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature()
    realm.rate(10)
    with racers(20) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            results = racing.race(
                [lambda n=n: gate.authorize(key=f"k-{n}") for n in range(20)]
            )
            tally[len(admitted(results))] += 1
            assert gate.used(kind="rate") == (10, 0)
        report("twenty requests against a rate of 10", racing, rounds, tally)
    assert tally == {10: rounds}


@FEW_AND_MANY
def test_no_more_users_sit_than_there_are_seats(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature()
    realm.seats(3)
    with racers(10) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            users = [gate.of_user(f"u-{n}") for n in range(10)]
            results = racing.race([lambda who=who: who.authorize() for who in users])
            tally[len(admitted(results))] += 1
            assert Seat.objects.filter(account=gate.account).count() == 3
        report("ten users for three seats", racing, rounds, tally)
    assert tally == {3: rounds}


@SHORT_AND_LONG
def test_one_key_sixteen_times_is_one_lease(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature()
    realm.quota(500)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            results = racing.race([lambda: gate.authorize(75, key="k")] * 16)

            assert len(admitted(results)) == 16, results
            assert all(
                (r.data, list(r.hints)) == (results[0].data, list(results[0].hints))
                for r in results
            )
            assert Lease.objects.filter(account=gate.account).count() == 1
            assert gate.used() == (0, 75)
            tally[sum(not r.replayed for r in results)] += 1
        report("one authorize key by sixteen", racing, rounds, tally)
    assert tally == {1: rounds}


@FEW_AND_MANY
def test_one_key_sixteen_times_is_one_rating(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(1000)
            lease = gate.lease(75)
            results = racing.race([lambda: gate.commit(lease, 60, key="k")] * 16)

            assert all(
                (r.data, list(r.hints)) == (results[0].data, list(results[0].hints))
                for r in results
            )
            assert Rating.objects.filter(account=gate.account).count() == 1
            assert gate.balance() == (400, 0, 600)
            tally[sum(not r.replayed for r in results)] += 1
        report("one commit key by sixteen", racing, rounds, tally)
    assert tally == {1: rounds}


@FEW_AND_MANY
def test_eight_commits_of_one_lease_apply_once(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    realm.quota(500)
    with racers(8) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(1000)
            lease = gate.lease(50)
            results = racing.race(
                [lambda n=n: gate.commit(lease, 50, key=f"k-{n}") for n in range(8)]
            )

            statuses = Tally(r.data["application_status"] for r in results)
            assert statuses == {"applied": 1, "quarantined": 7}
            assert sorted(int(r.data["amount_xusd"]) for r in results) == [0] * 7 + [
                500
            ]
            assert (gate.used(), gate.balance()) == ((50, 0), (500, 0, 500))
            tally["one applied"] += 1
        report("eight commits of one lease", racing, rounds, tally)


@SHORT_AND_LONG
def test_commit_and_expiry_end_in_exactly_one_outcome(at, by, rounds):
    """The last instant of the grace, committed, against the first one after, expired."""
    tally, realm = Tally(), arena(at, by)
    # What other tests left would keep the sweep from racing.
    end_overdue(at + timedelta(days=3650))
    realm.feature(price=10)
    realm.quota(500)
    with racers(2) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(1000)
            lease = gate.lease(75)
            last = gate.at_instant(at + GRACE)
            first, second = (racing.chance.random() * 0.01 for _ in range(2))

            def sweep(last=last, wait=first):
                time.sleep(wait)
                return expire_leases(at=last.at + timedelta(microseconds=1))

            def commit(last=last, lease=lease, wait=second):
                time.sleep(wait)
                return last.commit(lease, 75)

            answer, _ = racing.race([commit, sweep])

            row, status = gate.row(lease), answer.data["application_status"]
            tally[row.state] += 1
            assert (row.state, status) in {
                ("closed", "applied"),
                ("expired", "quarantined"),
            }
            spent = 750 if status == "applied" else 0
            assert gate.used() == ((75, 0) if spent else (0, 0))
            assert gate.balance() == (1000 - spent, 0, spent)
        report("commit against expiry", racing, rounds, tally)
    assert sum(tally.values()) == rounds
    assert set(tally) <= {"closed", "expired"}


@FEW_AND_MANY
def test_commit_and_cancel_end_in_exactly_one_outcome(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(2) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(1000)
            lease = gate.lease(75)
            answer, end = racing.race(
                [lambda: gate.commit(lease, 75), lambda: gate.cancel(lease)]
            )

            applied = answer.data["application_status"] == "applied"
            tally[gate.row(lease).state] += 1
            assert end.canceled is not applied
            assert gate.balance() == ((250, 0, 750) if applied else (1000, 0, 0))
        report("commit against cancel", racing, rounds, tally)


def by_hand(gate, lease, verb):
    """End a lease as the desk does; return what came of it, refusals included."""
    if verb is release_hold:
        return release_hold(lease=lease, at=gate.at, by=gate.by)
    return commit_hold(
        lease=lease, quantity_minor=60, idempotency_key="k", at=gate.at, by=gate.by
    )


def desk_against_the_caller(gate, racing):
    """Race release, commit by hand, the caller's commit, and expiry of one lease.

    All at the last instant of its grace, but for the sweep: the first one after.
    """
    lease = gate.row(gate.lease(75))
    last = gate.at_instant(gate.at + GRACE)
    waits = [racing.chance.random() * 0.01 for _ in range(4)]

    def sweep():
        return expire_leases(at=last.at + timedelta(microseconds=1))

    def after(wait, call):
        time.sleep(wait)
        return call()

    calls = [
        lambda: by_hand(last, lease, release_hold),
        lambda: by_hand(last, lease, commit_hold),
        lambda: last.commit(lease.lease, 50),
        sweep,
    ]
    return lease, racing.race(
        [
            lambda wait=w, call=c: after(wait, call)
            for w, c in zip(waits, calls, strict=True)
        ]
    )


def one_outcome(gate, lease, results):
    """Return who ended a lease, from what each was told; several is a broken race."""
    released, by_desk, by_caller, _swept = results
    won = []
    if not isinstance(released, Exception) and released.canceled:
        won.append("released")
    if isinstance(by_desk, Admission):
        won.append("committed by hand")
    if (
        isinstance(by_caller, Admission)
        and by_caller.data["application_status"] == "applied"
    ):
        won.append("committed")
    if not won and gate.row(lease.lease).state == "expired":
        won.append("expired")
    return won


@SHORT_AND_LONG
def test_release_commits_and_expiry_end_in_exactly_one_outcome(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    # What other tests left would keep the sweep from racing.
    end_overdue(at + timedelta(days=3650))
    realm.feature(price=10)
    realm.quota(500)
    with racers(4) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(1000)
            lease, results = desk_against_the_caller(gate, racing)

            [won] = one_outcome(gate, lease, results)
            tally[won] += 1
            state, used = {
                "released": ("canceled", 0),
                "committed by hand": ("closed", 60),
                "committed": ("closed", 50),
                "expired": ("expired", 0),
            }[won]
            assert gate.row(lease.lease).state == state
            assert gate.used() == (used, 0)
            assert gate.balance() == (1000 - 10 * used, 0, 10 * used)
            ends = LeaseEnd.objects.filter(lease=lease).values_list("kind", flat=True)
            assert list(ends) == {
                "released": ["released"],
                "committed by hand": ["committed"],
            }.get(won, [])
            if won != "committed by hand":
                assert isinstance(results[1], HoldEnded)
            # The caller's usage is on record, whoever was first.
            assert Rating.objects.filter(lease=lease, operation="commit").count() == 1
        report("release, commits and expiry of one hold", racing, rounds, tally)
    assert sum(tally.values()) == rounds


def blind_commit():
    """The commit without its lock, slower, and ending a lease that has ended already."""
    return mutated(
        {
            "commit": chained(
                without_marked("lock"),
                at_point("decided", "PERFORM pg_sleep(0.1);"),
            ),
            "book": chained(
                without_marked("guard"),
                lambda text: text.replace(
                    "p_leases[i] AND ended_at IS NULL", "p_leases[i]"
                ),
            ),
        }
    )


@FEW_AND_MANY
def test_control_with_a_blind_commit_the_hold_ends_twice(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature()
    realm.quota(500)
    with racers(2) as racing, blind_commit():
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            lease = gate.row(gate.lease(75))
            # What is given back twice must be there, or its own rule would refuse it.
            Quantities.objects.filter(account=gate.account).update(reserved_minor=150)

            def release():
                time.sleep(0.02)
                return by_hand(gate, lease, release_hold)

            released, by_caller = racing.race(
                [release, lambda: gate.commit(lease.lease, 50)]
            )
            won = one_outcome(gate, lease, [released, None, by_caller, None])
            tally[len(won)] += 1
        report("control, a blind commit against a release", racing, rounds, tally)
    assert tally[2] > 0, tally


def test_money_taken_between_deciding_and_holding_is_missed(at, by):
    gate = arena(at, by)
    gate.feature(price=10)
    gate.credit(1000)

    def spend():
        time.sleep(0.1)
        with transaction.atomic():
            funding.settle(user=gate.user, spend_xusd=900, source_ref="other", at=at)
        return 900

    with racers(2) as racing, guarded(pause_seconds=0.4):
        denied, spent = racing.race([lambda: gate.authorize(75), spend])

    assert spent == 900
    assert (denied.code, denied.hints[0]["shortfall_xusd"]) == (
        "FUNDING.EXHAUSTED",
        650,
    )
    assert [row.reason for row in gate.denials()] == ["funding_exhausted"]
    assert gate.balance() == (100, 0, 900)


def test_a_denial_counted_again_waits_for_no_disk_and_keeps_nothing_else_from_it(
    at, by
):
    """A count may be lost in a crash; whatever stands beside it in a transaction not."""
    gate = arena(at, by)
    gate.feature()
    gate.quota(5)
    gate.authorize(5)

    def denied():
        with pytest.raises(GateDenied):
            gate.authorize(1)
        return rows(
            "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn(), current_setting('synchronous_commit')"
        )[0]

    told = [denied() for _ in range(20)]
    assert any(unflushed for unflushed, _ in told)
    assert {setting for _, setting in told} == {"on"}
    with transaction.atomic():
        assert denied()[1] == "on"
    (kept,) = Denial.objects.filter(account=gate.account)
    assert kept.count == 21


def test_an_account_that_is_not_free_in_time_is_told_as_busy(at, by):
    """Whoever holds its lock too long: the caller is to come back, and told so."""
    gate = arena(at, by)
    gate.feature()
    gate.quota(100)
    gate.authorize(1)
    held, done = Event(), Event()

    def hold():
        with transaction.atomic():
            execute(
                "SELECT 1 FROM gate_states WHERE account_id = %s FOR NO KEY UPDATE",
                [gate.account.pk],
            )
            held.set()
            done.wait(20)

    def ask():
        held.wait(20)
        execute("SET lock_timeout = '50ms'", [])
        try:
            return gate.authorize(1)
        finally:
            execute("RESET lock_timeout", [])
            done.set()

    with racers(2) as racing:
        refused, _ = racing.race([ask, hold])

    assert (refused.status, refused.code) == (503, "SERVER.BUSY")
