"""Purging leases while others use the gate: nobody waits for it, and nobody fails."""

import threading
import time
from collections import Counter as Tally

import pytest

from config.kernel.clock import now
from gating.models import Lease
from gating.services.retention import FIRST, purge_leases
from tests.gating.racing import arena, racers
from tests.tools.tables import columns, rows, run
from tests.tools.verification import note

pytestmark = pytest.mark.usefixtures("committed")

CALLERS = 4
OLD = {
    "id": "(lpad(to_hex((extract(epoch FROM now() - interval '100 days') * 1000)::bigint + n / 100), 12, '0') || substr(md5(n::text || l.id), 1, 20))::uuid",
    "lease": "'old ' || n",
    "idempotency_key": "'old ' || n",
    "authorized_at": "now() - interval '100 days'",
    "expires_at": "now() - interval '99 days'",
    "ended_at": "now() - interval '99 days'",
}
"""What tells an old lease from the one that it is a copy of."""


def grow(lease, count):
    """Copy an ended lease `count` times, as of long ago."""
    names = columns("gate_leases")
    values = ", ".join(OLD.get(name, f"l.{name}") for name in names)
    run(
        f"INSERT INTO gate_leases ({', '.join(names)}) SELECT {values} FROM gate_leases l, generate_series(1, %s) n WHERE l.id = %s",
        [count, lease.pk],
    )
    run("ANALYZE gate_leases")


class Traffic:
    """Threads that authorize and commit until they are told to stop."""

    def __init__(self, gates):
        self.gates, self.done, self.stopped = gates, Tally(), threading.Event()

    def call(self, number):
        gate = self.gates[number]
        while not self.stopped.is_set():
            gate.commit(gate.lease(1), 1)
            self.done[number] += 1

    @property
    def pairs(self):
        return sum(self.done.values())


def purge_all(at):
    """Purge as the job does; return how many leases, and how many batches it took."""
    last, counts = FIRST, []
    while (purged := purge_leases(at=at, after=last)).count:
        last = purged.last
        counts.append(purged.count)
    return sum(counts), len(counts)


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(3_000, 0.2), pytest.param(300_000, 15, marks=pytest.mark.soak)],
)
def test_callers_go_on_while_old_leases_are_purged(by, count, seconds):
    at = now()
    realm = arena(at, by.effective(at))
    realm.feature()
    gates = [realm.of_principal(f"p-{number}") for number in range(CALLERS)]
    realm.commit(realm.lease(), 1)
    purge_all(at)
    grow(Lease.objects.get(user=realm.user), count)
    traffic = Traffic(gates)
    with racers(CALLERS + 1) as racing:
        running = [racing.pool.submit(traffic.call, n) for n in range(CALLERS)]
        while traffic.pairs < CALLERS:
            time.sleep(0.01)
        start, before = time.monotonic(), traffic.pairs
        time.sleep(seconds)
        alone = (traffic.pairs - before) / (time.monotonic() - start)

        start, before = time.monotonic(), traffic.pairs
        gone, batches = racing.pool.submit(purge_all, at).result()
        elapsed = time.monotonic() - start
        beside = (traffic.pairs - before) / elapsed
        traffic.stopped.set()
        for each in running:
            each.result(timeout=60)

    assert gone == count
    assert batches == count // 500
    kept = Lease.objects.filter(realm=realm.realm)
    assert kept.count() == traffic.pairs + 1
    note(
        "leases purged beside calls",
        f"{gone} in {batches} batches, {gone / elapsed:,.0f}/s; {CALLERS} callers, authorize and commit:"
        f" {alone:,.0f} pairs/s alone, {beside:,.0f} meanwhile ({beside / alone:.2f})",
    )


def test_a_lease_that_is_locked_is_left_to_the_next_run(by):
    """The purge waits for nobody."""
    from django.db import transaction

    at = now()
    gate = arena(at, by.effective(at))
    gate.feature()
    gate.commit(gate.lease(), 1)
    purge_all(at)
    grow(Lease.objects.get(user=gate.user), 3)
    old = Lease.objects.filter(user=gate.user, lease__startswith="old")
    with racers(1) as racing:
        with transaction.atomic():
            rows("SELECT 1 FROM gate_leases WHERE id = %s FOR UPDATE", [old[0].pk])
            found = racing.pool.submit(purge_leases, at=at).result(timeout=60)
        assert found.count == 2
        assert racing.pool.submit(purge_leases, at=at).result(timeout=60).count == 1
