"""The record of what periodic jobs did."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from config.tenancy.models import JobRun

log = structlog.get_logger("plangate.jobs")

KEPT = timedelta(days=7)
LONGEST_ERROR = 2_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: how much it did, and how much of it failed.

    What failed is in the log, each with its reason, and is tried again by the next run.
    `position` is where that goes on, where this one did not come to the end.
    """

    done: int = 0
    failed: int = 0
    position: str = ""


def last_position(job: str) -> str:
    """Return where the job's last run that ended well left off, empty at the end."""
    ended = JobRun.objects.filter(job=job, finished_at__isnull=False, error="")
    positions = ended.order_by("-started_at", "-id").values_list("position", flat=True)
    return positions.first() or ""


def begin_run(*, job: str, at: datetime, trace_id: str, started_at: datetime) -> JobRun:
    """Note that a run begins; return its row. `at` is what it works by (aware UTC)."""
    return JobRun.objects.create(
        job=job, at=at, trace_id=trace_id, started_at=started_at
    )


def end_run(
    run: JobRun,
    *,
    outcome: Outcome = Outcome(),
    error: BaseException | None = None,
    finished_at: datetime,
) -> None:
    """Note what a run came to, and forget the job's runs of more than 7 days ago."""
    run.finished_at, run.done, run.failed = finished_at, outcome.done, outcome.failed
    run.position = outcome.position
    if error is not None:
        run.error = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
        run.error = run.error.replace("\x00", "")
    run.save(update_fields=["finished_at", "done", "failed", "error", "position"])
    JobRun.objects.filter(job=run.job, started_at__lt=finished_at - KEPT).delete()
    log.info(
        "job ran",
        job=run.job,
        done=run.done,
        failed=run.failed,
        error=run.error or None,
        seconds=(finished_at - run.started_at).total_seconds(),
        trace_id=run.trace_id,
    )
