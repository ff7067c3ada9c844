"""Periodic jobs: each run is recorded, and `manage.py sweep` can run them all.

A job is a function of its `Run`. It must be safe to run twice, at once, or cut off.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from types import MappingProxyType

from procrastinate.contrib.django import app

from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.tenancy.services.job_runs import Outcome, begin_run, end_run, last_position


@dataclass(frozen=True, slots=True)
class Run:
    """What a job is run by: an instant (aware UTC), and on whose behalf, and why.

    `position` is where the last run left off, empty where it came to the end.
    """

    at: datetime
    by: AuditContext
    position: str = ""


Work = Callable[[Run], int | Outcome]
Task = Callable[..., int]


@dataclass(frozen=True, slots=True)
class Job:
    """A periodic job; `stage` orders the jobs of a sweep, lower ones first."""

    name: str
    reason: str
    stage: int
    work: Work

    def run(self, at: datetime) -> Outcome:
        """Do the work at `at` (aware UTC), recorded; return what it came to.

        What ends the work is recorded too, and raised.
        """
        by = AuditContext(
            actor=Actor("job", self.name),
            operator="Plangate",
            reason=self.reason,
            ticket_id=self.name,
            effective_at=at,
            trace_id=new_trace_id(),
        )
        position = last_position(self.name)
        record = begin_run(job=self.name, at=at, trace_id=by.trace_id, started_at=now())
        try:
            came_to = self.work(Run(at, by, position))
        except Exception as error:
            end_run(record, error=error, finished_at=now())
            raise
        outcome = came_to if isinstance(came_to, Outcome) else Outcome(came_to)
        end_run(record, outcome=outcome, finished_at=now())
        return outcome


_jobs: dict[str, Job] = {}


def jobs() -> Mapping[str, Job]:
    """Return the periodic jobs by name, in the order of a sweep."""
    ordered = sorted(_jobs.items(), key=lambda pair: (pair[1].stage, pair[0]))
    return MappingProxyType(dict(ordered))


def periodic(*, cron: str, reason: str, stage: int) -> Callable[[Work], Task]:
    """Make a function the work of a periodic job of its name.

    `reason` explains what the job changes. The task returns how much was done.
    """

    def register(work: Work) -> Task:
        job = _jobs[work.__name__] = Job(work.__name__, reason, stage, work)

        @app.periodic(cron=cron)
        @app.task(queueing_lock=job.name, pass_context=False)
        @wraps(work)
        def task(timestamp: int) -> int:
            return job.run(now()).done

        return task

    return register
