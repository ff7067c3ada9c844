"""Periodic care of grants and ledgers. Each may run twice, or be cut off."""

import structlog

from config.tenancy.periodic import Run, periodic
from config.tenancy.services.job_runs import Outcome
from grants.selectors.proof import findings, snapshot
from grants.services import closing, seals, settlement

log = structlog.get_logger("plangate.grants")


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
def seal_ledger(run: Run) -> int:
    """Seal the ledger's new entries; return how many."""
    return seals.seal_entries(at=run.at)


@periodic(cron="37 2 * * *", reason="The ledger is proven every night.", stage=95)
def prove_ledger(run: Run) -> Outcome:
    """Prove grants and ledgers; return accounts looked at, and what does not hold.

    Each finding is in the log.
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
    return Outcome(accounts, found)
