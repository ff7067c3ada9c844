"""Races at the edges of things: a lease, a window, a plan, the first use of anything.

As in `test_races`, each has a control in which the guard is off and the race is lost.
"""

import time
from collections import Counter as Tally
from datetime import timedelta

import pytest
from django.db.models import Sum

from billing.models import PlanAssignment
from billing.services.assignment_changes import switch_plan
from config.kernel.windows import fixed_window
from gating.models import Counter, Rating, ResidualBucket
from gating.services.admissions import Admission
from gating.services.denials import GateDenied
from gating.services.functions import GateMoved
from tests.gating.mutants import (
    LONG_WAYS,
    at_point,
    chained,
    mutated,
    spoiled,
    without_marked,
)
from tests.gating.racing import abandon, arena, deadlocks, racers, report

pytestmark = pytest.mark.usefixtures("committed")

ROUNDS = pytest.mark.parametrize(
    "rounds", [3, pytest.param(100, marks=pytest.mark.soak)]
)
FEW_AND_MANY = pytest.mark.parametrize(
    ("rounds", "people"), [(1, 12), pytest.param(20, 64, marks=pytest.mark.soak)]
)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
UNLOCKED = chained(
    without_marked("lock"), at_point("decided", "PERFORM pg_sleep(0.005);")
)


@pytest.fixture(autouse=True)
def _no_deadlock(committed):
    before = deadlocks()
    yield
    assert deadlocks() == before


def replaced(*pairs):
    def change(text):
        for old, new in pairs:
            assert old in text, f"no {old!r}"
            text = text.replace(old, new)
        return text

    return change


# One lease


def sixteen_commits(gate, racing):
    """Race sixteen commits of one lease; return how many were applied."""
    gate.credit(1000)
    lease = gate.lease(50)
    results = racing.race(
        [lambda n=n: gate.commit(lease, 50, key=f"k-{n}") for n in range(16)]
    )
    assert all(isinstance(result, Admission) for result in results), results
    return sum(result.data["application_status"] == "applied" for result in results)


@ROUNDS
def test_sixteen_commits_of_one_lease_apply_once(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    realm.quota(500)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            tally[sixteen_commits(gate, racing)] += 1
            assert (gate.used(), gate.balance()) == ((50, 0), (500, 0, 500))
        report("sixteen commits of one lease", racing, rounds, tally)
    assert tally == {1: rounds}


@ROUNDS
def test_control_without_guards_one_lease_is_applied_more_than_once(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature()
    realm.quota(500, enforcement_mode="optimistic")
    book = replaced((" AND ended_at IS NULL", ""))
    commit = replaced(("CASE WHEN NOT v_quarantined THEN held.id END", "NULL"))
    unguarded = {
        "commit": chained(UNLOCKED, commit),
        "book": chained(without_marked("guard"), book),
        **LONG_WAYS,
    }
    with racers(16) as racing, mutated(unguarded):
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            tally[sixteen_commits(gate, racing)] += 1
        report("control, one lease without guards", racing, rounds, tally)
    abandon(realm.realm, at)
    assert max(tally) > 1, tally


# The end of a window


def around_midnight(at, by):
    """An arena at the last instant of a day, with a quota for each account and day."""
    midnight = fixed_window(at, 86_400).end
    realm = arena(midnight - INSTANT, by)
    realm.feature(price=1)
    realm.quota(500, subject_scope="account")
    return realm, midnight


def commits_across(gate, midnight, racing):
    """Race commits of the old day's leases and of the new day's, and new requests.

    Returns what was committed under each day's leases, by the day's number.
    """
    gate.credit(10_000)
    after = gate.at_instant(midnight)
    leases = [(0, gate.lease(20)) for _ in range(6)]
    leases += [(1, after.lease(20)) for _ in range(6)]
    quantities = [racing.chance.randrange(1, 30) for _ in leases]
    whens = [racing.chance.choice([gate, after]) if day == 0 else after for day, _ in leases]  # fmt: skip
    calls = [
        lambda who=who, lease=lease, q=q: who.commit(lease, q)
        for who, (_, lease), q in zip(whens, leases, quantities, strict=True)
    ]
    calls += [lambda: after.authorize(20) for _ in range(4)]
    results = racing.race(calls)
    failed = [r for r in results if not isinstance(r, Admission)]
    days = Tally()
    for (day, _), quantity in zip(leases, quantities, strict=True):
        days[day] += quantity
    return days, failed


def per_window(gate):
    rows = Counter.objects.filter(account=gate.account, subject_scope="account")
    return {row.window_start.day: (row.used_minor, row.reserved_minor) for row in rows}


@ROUNDS
def test_a_commit_counts_in_the_window_of_its_lease_only(at, by, rounds):
    tally, (realm, midnight) = Tally(), around_midnight(at, by)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            days, failed = commits_across(gate, midnight, racing)

            assert not failed, failed
            assert per_window(gate) == {
                gate.at.day: (days[0], 0),
                midnight.day: (days[1], 4 * 20),
            }
            rated = Rating.objects.filter(account=gate.account)
            total = rated.aggregate(n=Sum("applied_quantity_minor"))["n"]
            assert total == sum(days.values())
            tally["each in its own"] += 1
        report("commits across the end of a window", racing, rounds, tally)


def in_the_window_of_the_commit(text):
    """Return the text of commit that counts where the commit falls."""
    counters = (
        "ARRAY(SELECT b.id FROM unnest(l.{0}) AS i JOIN gate_counters a ON a.id = i"
        " JOIN gate_counters b ON (b.account_id, b.kind, b.subject_id, b.feature_code,"
        " b.key) = (a.account_id, a.kind, a.subject_id, a.feature_code, a.key)"
        " WHERE b.window_start <= p_at AND p_at < b.window_end)"
    )
    names = ("l.counter_ids", "l.quota_counter_ids")
    return replaced(
        *((f"{name},", f"{counters.format(name[2:])} AS {name[2:]},") for name in names)
    )(text)


@ROUNDS
def test_control_a_commit_that_counts_where_it_falls_moves_usage(at, by, rounds):
    tally, (realm, midnight) = Tally(), around_midnight(at, by)
    moved = {"commit": in_the_window_of_the_commit, **LONG_WAYS}
    with racers(16) as racing, mutated(moved):
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            days, failed = commits_across(gate, midnight, racing)
            stays = not failed and per_window(gate)[gate.at.day] == (days[0], 0)
            tally["each in its own" if stays else "moved"] += 1
        report("control, commits count where they fall", racing, rounds, tally)
    abandon(realm.realm, at)
    assert tally["moved"] > 0, tally


# The first use of anything


def first_commits(gates, racing, number):
    """Race commits of as many users, all at once, just after the price changed."""
    leases = [gate.lease(2) for gate in gates]
    later = [gate.later(seconds=1 + number) for gate in gates]
    later[0].price("chat", 2 + number, per=3)
    return racing.race(
        [
            lambda gate=gate, lease=lease: gate.commit(lease, 2)
            for gate, lease in zip(later, leases, strict=True)
        ]
    )


def newcomers(realm, people, number, *, apart):
    """Users with credit, of one account, or `apart` of an account each."""
    gates = [
        realm.of_principal(f"p-{number}-{n if apart else 0}", user=f"u-{n}")
        for n in range(people)
    ]
    for gate in gates:
        gate.credit(100)
    return gates


def first_uses(at, by):
    realm = arena(at, by)
    realm.feature(price=1, per=3)
    realm.quota(100_000, subject_scope="account")
    return realm


@FEW_AND_MANY
@pytest.mark.parametrize("apart", [False, True], ids=["one account", "own accounts"])
def test_first_commits_of_many_at_once_are_all_applied(at, by, rounds, people, apart):
    tally, realm = Tally(), first_uses(at, by)
    with racers(people) as racing:
        for number in range(rounds):
            gates = newcomers(realm, people, number, apart=apart)
            results = first_commits(gates, racing, number)

            assert all(isinstance(r, Admission) for r in results), results
            tally.update(r.data["application_status"] for r in results)
            users = [gate.user for gate in gates]
            assert Rating.objects.filter(user__in=users).count() == people
            carried = ResidualBucket.objects.filter(user__in=users)
            assert all(row.remainder_numer == (2 * (2 + number)) % 3 for row in carried)
            accounts = {gate.account for gate in gates}
            counted = Counter.objects.filter(
                account__in=accounts, kind="quota", subject_scope="account"
            )
            assert counted.aggregate(n=Sum("used_minor"))["n"] == 2 * people
        what = "an account each" if apart else "one account"
        report(f"{people} first commits, users of {what}", racing, rounds, tally)
    assert tally == {"applied": people * rounds}


@FEW_AND_MANY
def test_control_without_the_lock_first_commits_collide(at, by, rounds, people):
    tally, realm = Tally(), first_uses(at, by)
    unlocked = {"commit": UNLOCKED, **LONG_WAYS}
    with racers(people) as racing, mutated(unlocked):
        for number in range(rounds):
            gates = newcomers(realm, people, number, apart=False)
            results = first_commits(gates, racing, number)
            tally.update(type(result).__name__ for result in results)
        report("control, first commits without the lock", racing, rounds, tally)
    assert tally[GateMoved.__name__] > 0, tally


# Another plan


def two_plans(at, by):
    """An arena with a small plan and a big one, each with a quota of its own."""
    realm = arena(at, by)
    realm.feature(price=1)
    plans = {}
    for code, limit, priority in (("small", 100, 10), ("big", 1000, 20)):
        bundle = realm.bundle(code)
        shared = {"subject_scope": "account", "metadata": {"counter_key": "calls"}}
        realm.quota(limit, bundle=bundle, **shared)
        plans[code] = realm.plan(code, bundle=code, priority=priority, assign=False)
    return realm, plans


def on_the_small_plan(gate):
    """Give an account the small plan and money; return six leases of 5 each."""
    gate.credit(10_000)
    gate.plan("small", bundle="small", priority=10)
    return [gate.lease(5) for _ in range(6)]


def upgrade_amid(gate, leases, plans, racing):
    """Race authorizes and commits of an account against its upgrade."""
    held = PlanAssignment.objects.get(account=gate.account, plan=plans["small"])
    later = gate.later(seconds=1)

    def upgrade():
        return switch_plan(
            direction="upgrade",
            assignment=held,
            plan=plans["big"],
            source_kind="ops.manual",
            source_ref="up",
            switch_at=later.at,
            at=later.at,
            by=later.by,
        )

    def authorize(wait):
        time.sleep(wait)
        return later.authorize(20)

    waits = [racing.chance.random() * 0.06 for _ in range(9)]
    calls = [lambda wait=wait: authorize(wait) for wait in waits]
    calls += [lambda lease=lease: later.commit(lease, 5) for lease in leases]
    *results, upgraded = racing.race([*calls, upgrade])
    assert upgraded.plan_id == plans["big"].pk, upgraded
    return later, results


@ROUNDS
def test_an_upgrade_amid_requests_leaves_each_under_one_plan(at, by, rounds):
    tally, (realm, plans) = Tally(), two_plans(at, by)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            leases = on_the_small_plan(gate)
            later, results = upgrade_amid(gate, leases, plans, racing)

            assert {type(r) for r in results} <= {Admission, GateDenied}, results
            assert {r.code for r in results if isinstance(r, GateDenied)} <= {
                "QUOTA.EXHAUSTED"
            }
            admitted = sum("lease" in r.data for r in results if isinstance(r, Admission))  # fmt: skip
            # Under the small plan 5 holds of 20 fit, under the big one all 9.
            assert 3 <= admitted <= 9
            assert later.used() == (30, 20 * admitted)
            later.authorize(500)
            tally[admitted] += 1
        report("an upgrade amid requests", racing, rounds, tally)


@ROUNDS
def test_control_where_an_upgrade_is_not_noticed_the_small_plan_stays(at, by, rounds):
    tally, (realm, plans) = Tally(), two_plans(at, by)
    unnoticed = "NEW.version := OLD.version;"
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            leases = on_the_small_plan(gate)
            with spoiled("BEFORE UPDATE", "gate_account_versions", unnoticed):
                later, _ = upgrade_amid(gate, leases, plans, racing)
            try:
                later.authorize(500)
            except GateDenied as denied:
                tally[denied.code] += 1
        report("control, an upgrade that is not noticed", racing, rounds, tally)
    assert tally == {"QUOTA.EXHAUSTED": rounds}
