"""Periodic care of this app's tables. Every job may run twice, or be cut off."""

from datetime import timedelta
from typing import Any

import structlog
from asgiref.sync import sync_to_async
from procrastinate.contrib.django import app

from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.tenancy.authentication import NONCE_KEPT
from config.tenancy.models import ServiceKeyNonce
from config.tenancy.periodic import Run, periodic
from config.tenancy.services.idempotency import purge_answers
from config.tenancy.services.job_runs import Outcome, begin_run, end_run

log = structlog.get_logger(__name__)

BATCH = 1000
MOST_BATCHES = 50
STALLED_AFTER_SECONDS = 120


@periodic(cron="*/5 * * * *", reason="Too old to be replayed.", stage=90)
def purge_nonces(run: Run) -> int:
    """Forget nonces too old to be replayed; return how many."""
    before = run.at - max(NONCE_KEPT, timedelta(seconds=600))
    gone = 0
    for _ in range(MOST_BATCHES):
        old = ServiceKeyNonce.objects.filter(seen_at__lt=before)[:BATCH]
        deleted = ServiceKeyNonce.objects.filter(
            pk__in=[row.pk for row in old]
        ).delete()[0]
        gone += deleted
        if deleted < BATCH:
            break
    return gone


@periodic(cron="*/10 * * * *", reason="The stored answers ran out.", stage=90)
def purge_stored_answers(run: Run) -> int:
    """Delete stored answers that ran out; return how many."""
    gone = 0
    for _ in range(MOST_BATCHES):
        deleted = purge_answers(at=run.at, batch=BATCH)
        gone += deleted
        if deleted < BATCH:
            break
    return gone


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="rescue_stalled_jobs", pass_context=True)
async def rescue_stalled_jobs(context: Any, timestamp: int) -> int:
    """Requeue jobs whose worker died; return how many.

    A killed worker leaves its job `doing`. Its heartbeat tells it from a slow one.
    """
    run = await sync_to_async(begin_run)(
        job="rescue_stalled_jobs", at=now(), trace_id=new_trace_id(), started_at=now()
    )
    stalled = await context.app.job_manager.get_stalled_jobs(
        seconds_since_heartbeat=STALLED_AFTER_SECONDS
    )
    count = 0
    for job in stalled:
        await context.app.job_manager.retry_job(job)
        count += 1
    if count:
        log.warning("stalled jobs requeued", count=count)
    await sync_to_async(end_run)(run, outcome=Outcome(count), finished_at=now())
    return count
