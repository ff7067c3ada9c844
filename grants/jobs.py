"""Periodic care of grants and ledgers. Each may run twice, or be cut off."""

from datetime import timedelta

import structlog

from config.tenancy.periodic import Run, periodic
from config.tenancy.services.job_runs import Outcome
from grants.selectors.chain import heads
from grants.selectors.proof import findings, snapshot
from grants.services import (
    binding_sweep,
    campaign_enrollment,
    closing,
    seals,
    settlement,
)

log = structlog.get_logger("plangate.grants")

MOST_BATCHES = 200
ANCHORED = timedelta(days=2)
"""The seals of which age are logged every night: longer than from night to night."""


@periodic(cron="*/5 * * * *", reason="The campaign's window begins or ends.", stage=20)
def sweep_campaigns(run: Run) -> Outcome:
    """Begin and end campaigns, and enroll their targets; return how many of all."""
    advanced, enrolled = campaign_enrollment.sweep_campaigns(at=run.at, by=run.by)
    done = advanced.activated + advanced.ended + enrolled.given
    return Outcome(done, len(enrolled.failed))


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
    """Put what uses took into the ledger; return how many, and users that failed."""
    settled = settlement.settle_pending(at=run.at, by=run.by)
    return Outcome(settled.count, len(settled.failed))


@periodic(cron="*/5 * * * *", reason="The grant ended, or nothing is left.", stage=45)
def close_lots(run: Run) -> Outcome:
    """Close lots that ended; return how many, and how many failed."""
    closed = closing.close_ended_lots(at=run.at, by=run.by)
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

    with snapshot():
        for finding in findings(progress=count):
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
            realm=head.realm_id,
            ledger_account=str(head.ledger_account_id),
            seq=head.seq,
            hash=head.hash.hex(),
            trace_id=run.by.trace_id,
        )
    return Outcome(accounts, found)
