"""Periodic care of leases and partitions. Every job may run twice, or be cut off."""

from procrastinate.contrib.django import app

from config.kernel.clock import now
from gating.services import partitions
from gating.services.leases import expire_leases as expire_batch

BATCH = 500
MOST_BATCHES = 20


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="expire_leases", pass_context=False)
def expire_leases(timestamp: int) -> int:
    """Expire leases past their grace, release what they hold; return how many.

    Bounded, so that a run ends: what is left waits for the next minute, or for the
    next call of its account.
    """
    gone = 0
    for _ in range(MOST_BATCHES):
        expired = expire_batch(at=now(), batch=BATCH)
        gone += expired
        if expired == 0:
            break
    return gone


@app.periodic(cron="17 3 * * *")
@app.task(queueing_lock="make_partitions", pass_context=False)
def make_partitions(timestamp: int) -> int:
    """Make the partitions of the months to come; return how many."""
    return partitions.make_partitions(at=now())
