"""Periodic care of grants and ledgers. Each may run twice, or be cut off."""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog

from config.tenancy.periodic import Run, periodic
from config.tenancy.services.job_runs import Outcome
from grants.selectors.heads import heads
from grants.selectors.proof import findings, snapshot
from grants.services import (
    binding_sweep,
    campaign_enrollment,
    closing,
    seals,
    settlement_sweep,
)
from grants.services.campaign_enrollment import Place

log = structlog.get_logger("plangate.grants")

MOST_BATCHES = 200
MOST_OF_A_MINUTE = 50
FEW_MINUTES = 240
"""How many seconds a run may take, of a job that runs every minute, or every 5."""
ANCHORED = timedelta(days=2)
"""The seals of which age are logged every night: longer than from night to night."""


def _after(seconds: int) -> Callable[[], bool]:
    """Return what tells, from so many seconds from now on, that a run has to end."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


@periodic(cron="*/5 * * * *", reason="The campaign's window begins or ends.", stage=20)
def sweep_campaigns(run: Run) -> Outcome:
    """Begin and end campaigns, and enroll their targets; return how many of all.

    Bounded in time: what is left waits for the next run, which goes on from there.
    """
    campaign, _, user = run.position.partition(":")
    advanced, enrolled = campaign_enrollment.sweep_campaigns(
        at=run.at,
        by=run.by,
        place=Place(UUID(campaign), UUID(user)) if user else Place(),
        stop=_after(FEW_MINUTES),
    )
    done = advanced.activated + advanced.ended + enrolled.given
    failed = len(advanced.failed) + len(enrolled.failed)
    place = enrolled.place
    return Outcome(done, failed, f"{place.campaign}:{place.user}" if place else "")


@periodic(cron="*/5 * * * *", reason="The period begins.", stage=30)
def sweep_bindings(run: Run) -> Outcome:
    """Issue what began or was missed; return how many, and bindings that failed.

    Bounded, so that a run ends: what is left waits for the next.
    """
    issued, failed, after = 0, 0, binding_sweep.FIRST
    for _ in range(MOST_BATCHES):
        swept = binding_sweep.sweep_bindings(after=after, at=run.at, by=run.by)
        issued, failed, after = (
            issued + swept.issued,
            failed + len(swept.failed),
            swept.last,
        )
        if not swept.more:
            break
    return Outcome(issued, failed)


@periodic(cron="* * * * *", reason="Uses belong into the ledger.", stage=40)
def settle_uses(run: Run) -> Outcome:
    """Put what uses took into the ledger; return how many, and users that failed.

    As much as fits into the minute; the next run goes on with the users that follow.
    """
    realm_id, _, user = run.position.partition(":")
    place = settlement_sweep.Place()
    if user:
        place = settlement_sweep.Place(realm_id, UUID(user))
    settled = settlement_sweep.settle_pending(
        at=run.at, by=run.by, place=place, stop=_after(MOST_OF_A_MINUTE)
    )
    left = settled.place
    position = f"{left.realm_id}:{left.user_id}" if left else ""
    return Outcome(settled.count, len(settled.failed), position)


@periodic(cron="*/5 * * * *", reason="The grant ended, or nothing is left.", stage=45)
def close_lots(run: Run) -> Outcome:
    """Close lots that ended; return how many, and how many failed.

    Bounded in time: those that ended first are closed first, and what is left waits for
    the next run.
    """
    closed = closing.close_ended_lots(at=run.at, by=run.by, stop=_after(FEW_MINUTES))
    return Outcome(closed.closed + closed.waiting, len(closed.failed))


@periodic(cron="* * * * *", reason="Entries are sealed as they come.", stage=60)
def seal_ledger(run: Run) -> Outcome:
    """Seal the ledger's new entries; return how many, and accounts that failed."""
    sealed = seals.seal_entries(at=run.at)
    return Outcome(sealed.count, len(sealed.failed))


@periodic(cron="37 2 * * *", reason="The ledger is proven every night.", stage=95)
def prove_ledger(run: Run) -> Outcome:
    """Prove grants and ledgers; return accounts looked at, and what does not hold.

    Each finding is in the log; and so is the last seal of each ledger account that
    was sealed lately, so that seals cannot all be made anew without a trace.
    """
    accounts = found = 0

    def count(_realm: str, some: int) -> None:
        nonlocal accounts
        accounts += some

    for finding in findings(progress=count, within=snapshot):
        found += 1
        log.error(
            "the ledger does not hold",
            rule=finding.rule,
            realm=finding.realm_id,
            subject=finding.subject,
            finding=finding.message,
            trace_id=run.by.trace_id,
        )
    for head in heads(since=run.at - ANCHORED):
        log.info(
            "a ledger account was sealed up to here",
            trace_id=run.by.trace_id,
            **head.facts(),
        )
    return Outcome(accounts, found)
