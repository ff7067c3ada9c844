"""Races: the same instant in many threads, each with a connection of its own."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.db import connection

from billing.services.accounts import ensure_account
from gating.models import Lease, LeaseState
from gating.services.leases import expire_leases
from tests.conftest import make_realm
from tests.gating.gate import Gate
from tests.tools.verification import note

JITTER_SECONDS = 0.002


class Racers:
    """Threads that start their calls together; connections last until `close`."""

    def __init__(self, count, seed):
        self.count = count
        self.seed = seed
        self.chance = random.Random(seed)
        self.pool = ThreadPoolExecutor(count)

    def race(self, calls):
        """Call all at once; return each one's result, or the exception it raised."""
        assert len(calls) <= self.count
        barrier = threading.Barrier(len(calls))
        delays = [self.chance.random() * JITTER_SECONDS for _ in calls]
        futures = [
            self.pool.submit(self._run, barrier, delay, call)
            for delay, call in zip(delays, calls, strict=True)
        ]
        return [future.result(timeout=60) for future in futures]

    def _run(self, barrier, delay, call):
        barrier.wait(timeout=30)
        time.sleep(delay)
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - a refusal is a result.
            return error

    def close(self):
        barrier = threading.Barrier(self.count)

        def bye():
            barrier.wait(timeout=30)
            connection.close()

        for future in [self.pool.submit(bye) for _ in range(self.count)]:
            future.result(timeout=60)
        self.pool.shutdown()


@contextmanager
def racers(count, seed=None):
    found = Racers(count, seed or random.SystemRandom().randrange(10**9))
    try:
        yield found
    finally:
        found.close()


def deadlocks():
    """How many deadlocks this database has seen."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        return cursor.fetchone()[0]


def wait_for_waiting(count=1):
    """Wait until so many sessions of this database wait for a lock."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone()[0] >= count:
                return
            assert time.monotonic() < deadline, "they do not meet"
            time.sleep(0.01)


def arena(at, by):
    """A gate in a realm of its own, with committed rows; rounds use an account each."""
    assert connection.settings_dict["NAME"].startswith("test_"), (
        "this would write to a real database"
    )
    realm = make_realm(at, by)
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)
    return Gate(realm, account, None, at, by).of_user("u-1")


def abandon(realm, at):
    """End a realm's leases, and give nothing back: no other test's expiry finds them."""
    active = Lease.objects.filter(realm=realm, state="active")
    active.update(state="canceled", ended_at=at)


def report(name, racing, rounds, tally):
    """Print what a race came to (shown by the long runs)."""
    note(
        name,
        f"seed {racing.seed}, {rounds} rounds, outcomes {dict(sorted(tally.items()))}, deadlocks {deadlocks()}",
    )


def end_overdue(at):
    """Expire what tests left until an instant; drop what the controls among them broke."""
    while expire_leases(at=at, batch=10_000):
        pass
    Lease.objects.filter(state=LeaseState.ACTIVE, expires_at__lt=at).delete()
