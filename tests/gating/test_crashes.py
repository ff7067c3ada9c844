"""A process that dies at any point leaves all of its work, or none, and can be retried."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from gating.guards import KILLED
from gating.models import Lease, Rating
from grants.models import CreditBalance
from grants.selectors.balances import proof
from tests.gating.racing import arena

pytestmark = pytest.mark.usefixtures("committed")

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = pytest.mark.parametrize(
    "rounds", [1, pytest.param(20, marks=pytest.mark.soak)]
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

    def run(self, gate, point, verb, *arguments, **named):
        """Let a child call a verb of the gate and die at the point; return its exit status."""
        order = {
            "at": gate.at.isoformat(),
            "user": str(gate.user.pk),
            "point": point,
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


@ROUNDS
@pytest.mark.parametrize(
    "point",
    ["authorize.decided", "authorize.held", "authorize.stored", "authorize.committed"],
)
def test_a_killed_authorize_holds_all_or_nothing_and_its_retry_is_the_first(
    priced, crasher, point, rounds
):
    stored = point == "authorize.committed"
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)

        assert crasher.run(gate, point, "authorize", 75, key="k") == KILLED

        leases = Lease.objects.filter(account=gate.account)
        assert leases.count() == int(stored)
        assert gate.authorize(75, key="k").replayed is stored
        assert leases.count() == 1
        assert (gate.used(subject_scope="account"), gate.balance()) == (
            (0, 75),
            (250, 750, 0),
        )


@ROUNDS
@pytest.mark.parametrize(
    "point", ["commit.decided", "commit.paid", "commit.stored", "commit.committed"]
)
def test_a_killed_commit_is_all_or_nothing_and_its_retry_is_the_first(
    priced, crasher, point, rounds
):
    stored = point == "commit.committed"
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)
        lease = gate.lease(75)

        assert crasher.run(gate, point, "commit", lease, 60, key="k") == KILLED

        ratings = Rating.objects.filter(account=gate.account)
        assert (ratings.count(), gate.row(lease).state) == (
            (1, "closed") if stored else (0, "active")
        )
        assert gate.commit(lease, 60, key="k").replayed is stored
        assert ratings.count() == 1
        assert (gate.used(subject_scope="account"), gate.balance()) == (
            (60, 0),
            (400, 0, 600),
        )
        assert proof(CreditBalance.objects.get(user=gate.user)).holds


@ROUNDS
def test_a_killed_cancel_cancels_nothing(priced, crasher, rounds):
    for number in range(rounds):
        gate = priced.of_principal(f"p-{number}")
        gate.credit(1000)
        lease = gate.lease(75)

        assert crasher.run(gate, "cancel.decided", "cancel", lease) == KILLED

        assert (gate.row(lease).state, gate.balance()) == ("active", (250, 750, 0))
        assert gate.cancel(lease).canceled


def test_a_child_that_is_not_told_to_die_lives(priced, crasher):
    priced.credit(1000)

    assert crasher.run(priced, "", "authorize", 75, key="k") == 0
    assert priced.authorize(75, key="k").replayed
