"""Whatever dies, wherever, leaves all of its work or none, and can be retried.

Either side may die: the database's, at a named point of the function; or the caller's,
killed from outside at any instant, also while the database works on.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection

from config.kernel.recurrence import MONTHLY, boundary
from gating.models import Lease, Projection, Rating
from gating.services.policies import delete_policy
from tests.gating.mutants import crashed_at, paused_at
from tests.gating.racing import arena
from tests.tools.purse import adds_up
from tests.tools.verification import note

pytestmark = pytest.mark.usefixtures("committed")

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = pytest.mark.parametrize(
    "rounds", [1, pytest.param(100, marks=pytest.mark.soak)]
)
KILLS = pytest.mark.parametrize(
    "rounds", [6, pytest.param(100, marks=pytest.mark.soak)]
)


class Crasher:
    """The process whose children die."""

    def __init__(self):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.gating.crasher",
                connection.settings_dict["NAME"],
            ],
            cwd=ROOT,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(
        self, gate, verb, *arguments, kill_after_seconds=None, plain=False, **named
    ):
        """Let a child call a verb of the gate; return its exit status, 0 unless it died.

        A plain call knows which rules govern, as a worker does that was asked before.
        """
        rules = Projection.objects.get(user=gate.user).rule_set_id if plain else None
        order = {
            "rules": rules and str(rules),
            "at": gate.at.isoformat(),
            "user": str(gate.user.pk),
            "kill_after_seconds": kill_after_seconds,
            "verb": verb,
            "arguments": arguments,
            "named": named,
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def crasher(django_db_setup):
    found = Crasher()
    yield found
    found.close()


@pytest.fixture
def priced(at, by):
    gate = arena(at, by)
    gate.feature(price=10)
    gate.quota(500, subject_scope="account")
    return gate


@pytest.fixture
def chance():
    seed = random.SystemRandom().randrange(10**9)
    print(f"\nseed {seed}")
    return random.Random(seed)


def settled():
    """Wait until no server process works on a gate's function any more."""
    for _ in range(600):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
            )
            if cursor.fetchone()[0] == 0:
                return
        time.sleep(0.05)
    raise AssertionError("a server process does not end")


def authorized_once(gate, *, before):
    """A retry is admitted, and what is held is held once."""
    leases = Lease.objects.filter(account=gate.account)
    assert leases.count() == int(before)
    assert gate.authorize(75, key="k").replayed is before
    assert leases.count() == 1
    assert (gate.used(subject_scope="account"), gate.balance()) == (
        (0, 75),
        (250, 750, 0),
    )


def committed_once(gate, lease, *, before):
    """A retry is answered, and what was used is counted and paid once."""
    ratings = Rating.objects.filter(account=gate.account)
    assert (ratings.count(), gate.row(lease).state) == (
        (1, "closed") if before else (0, "active")
    )
    assert gate.commit(lease, 60, key="k").replayed is before
    assert ratings.count() == 1
    assert (gate.used(subject_scope="account"), gate.balance()) == (
        (60, 0),
        (400, 0, 600),
    )
    assert adds_up(gate.user)


@ROUNDS
@pytest.mark.parametrize(
    ("function", "point"),
    [
        ("authorize", "decided"),
        ("store", "held"),
        ("store", "stored"),
        ("admit", "decided"),
        ("admit", "held"),
        ("admit", "stored"),
    ],
)
def test_an_authorize_whose_database_dies_holds_nothing(
    priced, crasher, function, point, rounds
):
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)
        gate.preflight(1)  # Which resolves what governs the user.

        plain = function == "admit"
        with crashed_at(function, point):
            assert crasher.run(gate, "authorize", 75, key="k", plain=plain) != 0

        authorized_once(gate, before=False)


@ROUNDS
@pytest.mark.parametrize("point", ["decided", "held", "stored"])
def test_who_met_when_the_database_died_hold_nothing(priced, crasher, point, rounds):
    for number in range(rounds):
        names = [f"p-{number}-{n}" for n in range(3)]
        gates = [priced.of_principal(name) for name in names]
        for gate in gates:
            gate.credit(1000)
            gate.preflight(1)  # Which resolves what governs the user.

        with crashed_at("admit_many", point):
            met = crasher.run(gates[0], "meet", names[1:], 75, key="k", plain=True)
            assert met != 0

        for gate in gates:
            authorized_once(gate, before=False)
        assert crasher.run(gates[0], "meet", names[1:], 20, key="l", plain=True) == 0
        assert [gate.used(subject_scope="account") for gate in gates] == [(0, 95)] * 3


@ROUNDS
@pytest.mark.parametrize(
    ("function", "point"),
    [
        ("commit", "decided"),
        ("book", "paid"),
        ("book", "stored"),
        ("close", "decided"),
        ("close", "paid"),
        ("close", "stored"),
    ],
)
def test_a_commit_whose_database_dies_takes_nothing(
    priced, crasher, function, point, rounds
):
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)
        lease = gate.lease(75)

        plain = function == "close"
        with crashed_at(function, point):
            assert crasher.run(gate, "commit", lease, 60, key="k", plain=plain) != 0

        committed_once(gate, lease, before=False)


@ROUNDS
@pytest.mark.parametrize("point", ["decided", "paid", "stored"])
def test_a_batch_of_commits_whose_database_dies_takes_nothing(
    priced, crasher, point, rounds
):
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)
        leases = [gate.lease(25) for _ in range(3)]
        ratings = Rating.objects.filter(account=gate.account)

        with crashed_at("close_all", point):
            assert crasher.run(gate, "commit_each", leases, 20, plain=True) != 0

        assert (ratings.count(), gate.balance()) == (0, (250, 750, 0))
        replayed = [each.replayed for each in gate.commit_each(leases, 20)]
        assert replayed == [False] * 3
        assert [each.replayed for each in gate.commit_each(leases, 20)] == [True] * 3
        assert (ratings.count(), gate.balance()) == (3, (400, 0, 600))


@ROUNDS
@pytest.mark.parametrize("point", ["decided", "stored"])
def test_commits_of_who_met_when_the_database_died_take_nothing(
    priced, crasher, point, rounds
):
    for number in range(rounds):
        gates = [priced.of_principal(f"p-{number}-{n}") for n in range(3)]
        for gate in gates:
            gate.credit(1000)
        leases = [gate.lease(75) for gate in gates]
        names = [None, *(gate.account.billing_principal_id for gate in gates[1:])]
        held = list(zip(names, leases, strict=True))

        with crashed_at("close_many", point):
            met = crasher.run(
                gates[0], "commit_who_meet", held, 60, key="k", plain=True
            )
            assert met != 0

        for gate, lease in zip(gates, leases, strict=True):
            committed_once(gate, lease, before=False)
        again = [gate.lease(10) for gate in gates]
        held = list(zip(names, again, strict=True))
        assert (
            crasher.run(gates[0], "commit_who_meet", held, 10, key="l", plain=True) == 0
        )
        assert [gate.used(subject_scope="account") for gate in gates] == [(70, 0)] * 3


@KILLS
def test_an_authorize_whose_caller_is_killed_is_all_or_nothing(
    priced, crasher, chance, rounds
):
    tally = Counter()
    with paused_at("store", "held", 0.05):
        for number in range(rounds):
            gate = priced.of_principal(f"p-{number}")
            gate.credit(1000)

            crasher.run(
                gate, "authorize", 75, key="k", kill_after_seconds=chance.random() / 8
            )
            settled()

            stored = Lease.objects.filter(account=gate.account).exists()
            tally[stored] += 1
            authorized_once(gate, before=stored)
    note("authorize, caller killed", f"{rounds} kills, {tally[True]} had been stored")


@KILLS
def test_a_commit_whose_caller_is_killed_is_all_or_nothing(
    priced, crasher, chance, rounds
):
    tally = Counter()
    with paused_at("book", "paid", 0.05):
        for number in range(rounds):
            gate = priced.of_principal(f"p-{number}")
            gate.credit(1000)
            lease = gate.lease(75)

            crasher.run(
                gate,
                "commit",
                lease,
                60,
                key="k",
                kill_after_seconds=chance.random() / 8,
            )
            settled()

            stored = Rating.objects.filter(account=gate.account).exists()
            tally[stored] += 1
            committed_once(gate, lease, before=stored)
    note("commit, caller killed", f"{rounds} kills, {tally[True]} had been stored")


@KILLS
def test_a_cancel_whose_caller_is_killed_is_all_or_nothing(
    priced, crasher, chance, rounds
):
    tally = Counter()
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)
        lease = gate.lease(75)

        crasher.run(gate, "cancel", lease, kill_after_seconds=chance.random() / 16)
        settled()

        canceled = gate.row(lease).state == "canceled"
        tally[canceled] += 1
        assert gate.balance() == ((1000, 0, 0) if canceled else (250, 750, 0))
        assert gate.cancel(lease).canceled is not canceled
    note("cancel, caller killed", f"{rounds} kills, {tally[True]} had been stored")


@pytest.mark.parametrize("rounds", [3, pytest.param(60, marks=pytest.mark.soak)])
def test_a_run_of_seats_that_is_killed_leaves_each_to_be_billed_once(
    priced, crasher, chance, rounds
):
    """A month is billed in peace, to see how long that takes; then runs are killed."""
    tally, months = Counter(), 12 + 4 * rounds
    priced.feature("seat", price=5)
    terms = {"billing_feature_code": "seat", "billing_meter_code": "seat"}
    policy = priced.seats(99, metadata={**terms, "billing_mode": "assigned"})
    users = [priced.of_user(f"u-{number}") for number in range(3)]
    for user in users:
        user.credit(10_000)
        user.lease()
    billed = Rating.objects.filter(account=priced.account, rating_kind="seats")
    started = time.monotonic()
    assert crasher.run(priced.at_instant(months_after(priced.at, 1)), "bill") == 0
    one_month = time.monotonic() - started
    later = priced.at_instant(months_after(priced.at, months))
    for _ in range(rounds):
        before = billed.count()
        crasher.run(
            later, "bill", kill_after_seconds=one_month * (0.5 + chance.random())
        )
        settled()
        tally[billed.count() > before] += 1
    later.bill()
    delete_policy(policy=policy, at=later.at, by=later.by)

    assert billed.count() == 3 * months
    assert {(user.balance()[0], user.balance()[2]) for user in users} == {
        (10_000 - 5 * months - 10, 5 * months)
    }
    assert all(adds_up(user.user) for user in users)
    note("seats, run killed", f"{rounds} kills, {tally[True]} had rated some")


def months_after(at, months):
    """The same day, so many months later."""
    return boundary(at, MONTHLY, months)


def test_a_child_that_is_not_killed_lives(priced, crasher):
    priced.credit(1000)

    assert crasher.run(priced, "authorize", 75, key="k") == 0
    assert priced.authorize(75, key="k").replayed
