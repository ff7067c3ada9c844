"""Runs of the periodic jobs: when each last ran, and how it went."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import F, Max, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from config.admin.bases import HISTORY, NOTHING, Menu, RecordAdmin, instant_text
from config.admin.dashboard import Figure, add_figure
from config.kernel.clock import now
from config.tenancy.models import JobRun
from config.tenancy.periodic import jobs

WELL, PARTLY, FAILED, RUNNING, CUT_OFF = (
    "Went well", "Failed in part", "Failed", "Running", "Cut off",
)  # fmt: skip
_COLORS = {
    WELL: "success",
    PARTLY: "danger",
    FAILED: "danger",
    RUNNING: "info",
    CUT_OFF: "danger",
}
LONGEST = timedelta(hours=1)
"""A run that has not ended by then was killed."""
SILENT = timedelta(minutes=10)
"""Some job starts every minute; without any for so long, the worker is down."""
SHOW, LAST, BAD, ALL = "show", "last", "bad", "all"
_CHOICES = (
    (LAST, "Last run of each job"),
    (BAD, "Last runs that failed"),
    (ALL, "Every run of the last 7 days"),
)


def state_of(run: JobRun, *, at: datetime) -> str:
    """Return one plain word for how a run went, as seen at `at` (aware UTC)."""
    if run.error:
        return FAILED
    if run.finished_at is None:
        return RUNNING if at - run.started_at < LONGEST else CUT_OFF
    return PARTLY if run.failed else WELL


def last_runs(runs: QuerySet[JobRun]) -> QuerySet[JobRun]:
    """Return of each job the run that started last."""
    newest = JobRun.objects.order_by("job", "-started_at", "-id").distinct("job")
    return runs.filter(pk__in=newest.values("pk"))


def bad_runs(at: datetime) -> QuerySet[JobRun]:
    """Return the last runs that failed, in part or whole, or were cut off."""
    cut_off = Q(finished_at__isnull=True, started_at__lte=at - LONGEST)
    failed = ~Q(error="") | Q(failed__gt=0)
    return last_runs(JobRun.objects.all()).filter(failed | cut_off)


class RunFilter(admin.SimpleListFilter):
    """The last run of each job, or every one."""

    title = "runs"
    parameter_name = SHOW

    def lookups(self, request: Any, model_admin: Any) -> Any:
        """Return the choices."""
        return _CHOICES

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices for the page; there is none that is no choice."""
        for key, label in _CHOICES:
            yield {
                "selected": key == (self.value() or LAST),
                "query_string": changelist.get_query_string({SHOW: key}),
                "display": label,
            }

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the runs that are asked for."""
        if self.value() == ALL:
            return queryset
        if self.value() == BAD:
            return queryset.filter(pk__in=bad_runs(now()).values("pk"))
        return last_runs(queryset)


@admin.register(JobRun)
class JobRunAdmin(RecordAdmin):
    """Runs of periodic jobs."""

    menu = Menu(HISTORY, icon="schedule", order=60, label="Last runs")
    searched = False
    list_before_template = "admin/plangate/job_runs.html"
    empty_message = (
        "No such run. Jobs run by themselves while the worker is up: "
        "`manage.py worker`."
    )
    list_display = (
        "title_text", "state", "started", "took", "done_text", "failed_text",
        "error_text",
    )  # fmt: skip
    list_filter = (RunFilter, "job")
    search_fields = ("job", "error", "trace_id")
    search_help_text = "Job, error or trace id"
    ordering = ("job", "-started_at", "-id")
    export_fields = (
        "id", "job", "at", "started_at", "finished_at", "done", "failed", "error",
        "trace_id",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("title_text", "why", "state", "started_text", "took")}),
        (
            "What it came to",
            {
                "fields": ("done_text", "failed_text", "error_text"),
                "description": "What failed is tried again by the next run. The log "
                "says why, under the trace id.",
            },
        ),
        (
            "For engineers",
            {"fields": ("id", "job", "at", "trace_id"), "classes": ("collapse",)},
        ),
    )

    def changelist_view(
        self, request: Any, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the runs, and above them which jobs do not run."""
        context = idle_sentences(at=now())
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobRun]:
        """Return the runs with how long each took."""
        runs: QuerySet[JobRun] = super().get_queryset(request)
        return runs.annotate(seconds=F("finished_at") - F("started_at"))

    @display(description="Job", ordering="job")
    def title_text(self, run: JobRun) -> str:
        """Return the job's name in words."""
        return title_of(run.job)

    @display(description="Why it runs")
    def why(self, run: JobRun) -> str:
        """Return what the job is for."""
        job = jobs().get(run.job)
        return job.reason if job else "This version has no such job any more."

    @display(description="How it went", label=_COLORS)
    def state(self, run: JobRun) -> str:
        """Return how the run went."""
        return state_of(run, at=now())

    @display(description="Started (UTC)", ordering="started_at")
    def started(self, run: JobRun) -> str:
        """Return when it started."""
        return f"{run.started_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Started")
    def started_text(self, run: JobRun) -> str:
        """Return when it started."""
        return instant_text(run.started_at)

    @display(description="Took", ordering="seconds")
    def took(self, run: Any) -> str:
        """Return how long it took."""
        if run.seconds is None:
            return NOTHING
        return f"{run.seconds.total_seconds():,.1f} seconds"

    @display(description="Done", ordering="done")
    def done_text(self, run: JobRun) -> str:
        """Return how much it did."""
        return f"{run.done:,}"

    @display(description="Could not do", ordering="failed")
    def failed_text(self, run: JobRun) -> str:
        """Return how much it could not do."""
        return f"{run.failed:,}"

    @display(description="Error")
    def error_text(self, run: JobRun) -> str:
        """Return what ended the run."""
        return run.error or NOTHING


def idle_sentences(*, at: datetime) -> dict[str, str]:
    """Return what to say of jobs that do not run: `silent` and `never_ran`, or ""."""
    known = {**jobs()}
    runs = JobRun.objects.filter(job__in=known).order_by()
    started = dict(runs.values_list("job").annotate(last=Max("started_at")))
    newest = max(started.values(), default=None)
    missing = [title_of(job) for job in known if job not in started]
    silent = newest is not None and at - newest > SILENT
    return {
        "silent": f"No job has started since {instant_text(newest)}. The worker seems "
        "to be down: start `manage.py worker`."
        if newest and silent
        else "",
        "never_ran": f"Not run yet, or not within 7 days: {', '.join(missing)}. Each "
        "runs when its time comes; some do so at night only."
        if missing
        else "",
    }


def title_of(job: str) -> str:
    """Return a job's name in words: `Settle uses`."""
    return job.replace("_", " ").capitalize()


add_figure(
    Figure(
        label="Jobs that failed last time",
        rows=bad_runs,
        url_name="admin:tenancy_jobrun_changelist",
        permission="tenancy.view_jobrun",
        query=lambda _at: f"{SHOW}={BAD}",
        icon="report",
        order=90,
    )
)
