"""Two runs at once bill each seat once; without the unique key they would not."""

from collections import Counter as Tally
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from gating.models import Rating
from gating.services.policies import delete_policy
from gating.services.state import lock_gate
from tests.gating.racing import arena, racers, report, wait_for_waiting
from tests.tools.tables import run

pytestmark = pytest.mark.usefixtures("committed")

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
SEATS, PRICE = 3, 5
FEW_AND_MANY = pytest.mark.parametrize(
    "rounds", [3, pytest.param(100, marks=pytest.mark.soak)]
)


@pytest.fixture
def team(at, by):
    """An arena whose seats cost 5 XUSD a month, paid before."""
    gate = arena(at, by)
    gate.feature("chat")
    gate.feature("seat", price=PRICE)
    gate.bundle("team")
    gate.quota(500, bundle=gate.bundle("team"))
    terms = {"billing_feature_code": "seat", "billing_meter_code": "seat"}
    policy = gate.seats(
        bundle=gate.bundle("team"),
        limit=99,
        metadata={**terms, "billing_mode": "assigned"},
    )
    yield gate
    # What stays in the database must not be billed by the runs of other tests.
    delete_policy(policy=policy, at=APRIL, by=by)


def seated(team, name):
    """An account of its own, whose users have a seat and money each."""
    account = team.of_principal(name)
    account.plan(f"team.{name}", bundle="team")
    users = [account.of_user(f"u-{number}") for number in range(SEATS)]
    for user in users:
        user.credit(100)
        user.lease()
    return users


def two_runs(gate, racing):
    """Start two runs that both find the account due; return what each rated of it."""
    later = gate.at_instant(APRIL)
    with ThreadPoolExecutor(1) as starter:
        with transaction.atomic():
            lock_gate(gate.realm.pk, gate.account.pk)
            running = starter.submit(racing.race, [later.bill] * 2)
            wait_for_waiting(2)
        return sorted(billed.rated for billed in running.result())


def ratings(gate):
    return Rating.objects.filter(account=gate.account, rating_kind="seats")


@contextmanager
def without_the_unique_key():
    """Run the block while a key of a rating may be there twice."""
    table, name = "gate_rating_keys", "gate_rating_once_per_idempotency_key"
    run(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    try:
        yield
    finally:
        run(
            f"DELETE FROM {table} k USING {table} other WHERE (k.realm_id, k.user_id, k.operation, k.idempotency_key)"
            " = (other.realm_id, other.user_id, other.operation, other.idempotency_key) AND k.rating_id > other.rating_id"
        )
        run(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE (realm_id, user_id, operation, idempotency_key)"
        )


@FEW_AND_MANY
def test_two_runs_at_once_rate_each_seat_once(team, rounds):
    tally = Tally()
    with racers(2) as racing:
        for number in range(rounds):
            users = seated(team, f"p-{number}")
            found = two_runs(users[0], racing)

            tally[tuple(found)] += 1
            assert ratings(users[0]).count() == SEATS
            assert {user.balance() for user in users} == {(100 - PRICE, 0, PRICE)}
        report("two runs of seats at once", racing, rounds, tally)
    assert tally == {(0, SEATS): rounds}


def test_control_without_the_unique_key_each_seat_is_rated_twice(team):
    users = seated(team, "p-1")
    with racers(2) as racing, without_the_unique_key():
        found = two_runs(users[0], racing)

    assert found == [SEATS, SEATS]
    assert ratings(users[0]).count() == 2 * SEATS
    assert {user.balance() for user in users} == {(100 - 2 * PRICE, 0, 2 * PRICE)}


def test_a_caller_waits_for_the_seats_of_one_account_only(team):
    """While one account's gate is held, another's seats are billed, and reported."""
    held, free = seated(team, "p-1"), seated(team, "p-2")
    with racers(1) as racing, ThreadPoolExecutor(1) as starter, transaction.atomic():
        lock_gate(team.realm.pk, held[0].account.pk)
        impatient = impatiently(held[0].at_instant(APRIL).bill)
        running = starter.submit(racing.race, [impatient])
        (billed,) = running.result()

    assert {account for _, account in billed.failed} == {held[0].account.pk}
    assert ratings(free[0]).count() == SEATS
    assert ratings(held[0]).count() == 0
    assert held[0].at_instant(APRIL).bill().rated == SEATS


def impatiently(call):
    """The call, by a session that waits for no lock for long."""

    def waited():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
            try:
                return call()
            finally:
                cursor.execute("RESET lock_timeout")

    return waited
