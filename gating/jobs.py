"""Periodic care of leases, seats and partitions. Each may run twice, or be cut off."""

from collections.abc import Callable

import structlog

from config.tenancy.periodic import Run, periodic
from config.tenancy.services.job_runs import Outcome
from gating.services import partitions, retention, seats
from gating.services.leases import expire_leases as expire_batch

log = structlog.get_logger(__name__)

BATCH = 500
MOST_BATCHES = 20
MOST_PURGES = 1_000
MOST_MOVES = 50


@periodic(cron="* * * * *", reason="The lease ran out.", stage=10)
def expire_leases(run: Run) -> int:
    """Expire leases past their grace, release what they hold; return how many.

    Bounded, so that a run ends: what is left waits for the next minute, or for the
    next call of its account.
    """
    gone = 0
    for _ in range(MOST_BATCHES):
        expired = expire_batch(at=run.at, batch=BATCH)
        gone += expired
        if expired == 0:
            break
    return gone


@periodic(cron="*/5 * * * *", reason="The window of the seats ended.", stage=50)
def bill_seats(run: Run) -> Outcome:
    """Rate the seats of windows that ended; return how many, and accounts that failed.

    Accounts that failed are in the log, each with its reason, and tried again.
    """
    billed = seats.bill_seats(at=run.at, by=run.by)
    if billed.failed:
        log.error("accounts whose seats were not billed", count=len(billed.failed))
    return Outcome(billed.rated, len(billed.failed))


@periodic(cron="*/10 * * * *", reason="The lease ended long ago.", stage=90)
def purge_leases(run: Run) -> int:
    """Delete leases that ended long ago; return how many."""
    gone, last = 0, retention.FIRST
    for _ in range(MOST_PURGES):
        purged = retention.purge_leases(at=run.at, after=last, batch=BATCH)
        gone, last = gone + purged.count, purged.last
        if purged.count == 0:
            break
    return gone


@periodic(
    cron="*/10 * * * *", reason="The window of the counter ended long ago.", stage=90
)
def purge_counters(run: Run) -> int:
    """Delete counters of windows that ended long ago; return how many."""
    return _all_of(retention.purge_counters, run)


@periodic(cron="27 * * * *", reason="The month is kept no longer.", stage=90)
def purge_denials(run: Run) -> int:
    """Delete denials of months that are kept no longer; return how many."""
    return _all_of(retention.purge_denials, run)


def _all_of(purge: Callable[..., int], run: Run) -> int:
    """Purge batch by batch until nothing is left, or a run has done enough."""
    gone = 0
    for _ in range(MOST_PURGES):
        deleted = purge(at=run.at, batch=BATCH)
        gone += deleted
        if deleted == 0:
            break
    return gone


@periodic(cron="17 3 * * *", reason="Months to come need their partitions.", stage=5)
def make_partitions(run: Run) -> int:
    """Make the partitions of the months to come, and of rows without; return how many.

    Rows in the default partition are moved in parts, as many as one run may.
    """
    made = partitions.make_partitions(at=run.at)
    for _ in range(MOST_MOVES):
        if partitions.move_to_month() == 0:
            break
        made += 1
    return made


@periodic(cron="47 3 * * *", reason="The month is kept no longer.", stage=90)
def drop_old_months(run: Run) -> int:
    """Drop the months of ratings that are kept no longer; return how many tables."""
    return len(retention.drop_old_months(at=run.at))
