from django.db import models
from django.db.models import Q

from config.kernel.ids import new_id


class JobRun(models.Model):
    """One run of a periodic job: when, at which instant, and what it came to.

    `at` is the instant the job worked by. A run without `finished_at` is going on, or
    was killed. `failed` counts what the run could not do and left to the next; `error`
    is what ended the run itself; `position` is where the next one goes on, empty where
    it starts anew. Kept for some days (`services.job_runs`).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    job = models.TextField()
    at = models.DateTimeField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    done = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    error = models.TextField(blank=True, default="")
    position = models.TextField(blank=True, default="", db_default="")
    trace_id = models.TextField()

    class Meta:
        db_table = "job_runs"
        verbose_name = "job run"
        constraints = [
            models.CheckConstraint(
                name="job_run_names_its_job", condition=Q(job__regex=r"\S")
            ),
            models.CheckConstraint(
                name="job_run_counts_are_not_negative",
                condition=Q(done__gte=0, failed__gte=0),
            ),
        ]
        indexes = [
            models.Index(fields=["job", "started_at", "id"], name="job_runs_by_job"),
        ]

    def __str__(self) -> str:
        return f"{self.job} at {self.started_at:%Y-%m-%d %H:%M:%S} UTC"
