"""Periodic care of this app's tables. Every job may run twice, or be cut off."""

from datetime import timedelta
from typing import Any

import structlog
from procrastinate.contrib.django import app

from config.kernel.clock import now
from config.tenancy.authentication import NONCE_KEPT
from config.tenancy.models import ServiceKeyNonce
from config.tenancy.services.idempotency import purge_answers

log = structlog.get_logger(__name__)

BATCH = 1000
MOST_BATCHES = 50
STALLED_AFTER_SECONDS = 120


@app.periodic(cron="*/5 * * * *")
@app.task(queueing_lock="purge_nonces", pass_context=False)
def purge_nonces(timestamp: int) -> int:
    """Forget nonces too old to be replayed; return how many."""
    before = now() - max(NONCE_KEPT, timedelta(seconds=600))
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


@app.periodic(cron="*/10 * * * *")
@app.task(queueing_lock="purge_stored_answers", pass_context=False)
def purge_stored_answers(timestamp: int) -> int:
    """Delete stored answers that ran out; return how many."""
    gone = 0
    for _ in range(MOST_BATCHES):
        deleted = purge_answers(at=now(), batch=BATCH)
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
    stalled = await context.app.job_manager.get_stalled_jobs(
        seconds_since_heartbeat=STALLED_AFTER_SECONDS
    )
    count = 0
    for job in stalled:
        await context.app.job_manager.retry_job(job)
        count += 1
    if count:
        log.warning("stalled jobs requeued", count=count)
    return count
