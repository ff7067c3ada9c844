"""Periodic care of leases, seats and partitions. Each may run twice, or be cut off."""

from collections.abc import Callable

import structlog
from procrastinate.contrib.django import app

from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from gating.services import partitions, retention, seats
from gating.services.leases import expire_leases as expire_batch

log = structlog.get_logger(__name__)

BATCH = 500
MOST_BATCHES = 20
MOST_PURGES = 1_000
MOST_MOVES = 50


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


@app.periodic(cron="*/5 * * * *")
@app.task(queueing_lock="bill_seats", pass_context=False)
def bill_seats(timestamp: int) -> int:
    """Rate the seats of windows that ended; return how many were rated.

    Accounts that failed are in the log, each with its reason, and tried again.
    """
    at = now()
    by = AuditContext(
        actor=Actor("job", "bill_seats"),
        operator="Plangate",
        reason="The window of the seats ended.",
        ticket_id="bill_seats",
        effective_at=at,
        trace_id=new_trace_id(),
    )
    billed = seats.bill_seats(at=at, by=by)
    if billed.failed:
        log.error("accounts whose seats were not billed", count=len(billed.failed))
    return billed.rated


@app.periodic(cron="*/10 * * * *")
@app.task(queueing_lock="purge_leases", pass_context=False)
def purge_leases(timestamp: int) -> int:
    """Delete leases that ended long ago; return how many."""
    at, gone, last = now(), 0, retention.FIRST
    for _ in range(MOST_PURGES):
        purged = retention.purge_leases(at=at, after=last, batch=BATCH)
        gone, last = gone + purged.count, purged.last
        if purged.count == 0:
            break
    return gone


@app.periodic(cron="*/10 * * * *")
@app.task(queueing_lock="purge_counters", pass_context=False)
def purge_counters(timestamp: int) -> int:
    """Delete counters of windows that ended long ago; return how many."""
    return _all_of(retention.purge_counters)


@app.periodic(cron="27 * * * *")
@app.task(queueing_lock="purge_denials", pass_context=False)
def purge_denials(timestamp: int) -> int:
    """Delete denials of months that are kept no longer; return how many."""
    return _all_of(retention.purge_denials)


def _all_of(purge: Callable[..., int]) -> int:
    """Purge batch by batch until nothing is left, or a run has done enough."""
    gone = 0
    for _ in range(MOST_PURGES):
        deleted = purge(at=now(), batch=BATCH)
        gone += deleted
        if deleted == 0:
            break
    return gone


@app.periodic(cron="17 3 * * *")
@app.task(queueing_lock="make_partitions", pass_context=False)
def make_partitions(timestamp: int) -> int:
    """Make the partitions of the months to come, and of rows without; return how many.

    Rows in the default partition are moved in parts, as many as one run may.
    """
    made = partitions.make_partitions(at=now())
    for _ in range(MOST_MOVES):
        if partitions.move_to_month() == 0:
            break
        made += 1
    return made


@app.periodic(cron="47 3 * * *")
@app.task(queueing_lock="drop_old_months", pass_context=False)
def drop_old_months(timestamp: int) -> int:
    """Drop the months of ratings that are kept no longer; return how many tables."""
    return len(retention.drop_old_months(at=now()))
