"""The job queue, to look at."""

from django.contrib import admin
from procrastinate.contrib.django.models import ProcrastinateJob
from unfold.decorators import display

from config.admin.bases import HISTORY, Menu, RecordAdmin

_COLORS = {
    "Todo": "info",
    "Doing": "warning",
    "Failed": "danger",
    "Succeeded": "success",
    "Cancelled": "",
    "Aborted": "",
}

if admin.site.is_registered(ProcrastinateJob):
    admin.site.unregister(ProcrastinateJob)


@admin.register(ProcrastinateJob)
class JobAdmin(RecordAdmin):
    """Jobs: what the worker has done, does and will do."""

    menu = Menu(HISTORY, icon="engineering", order=70, label="Jobs")
    searched = False
    empty_message = "No job was ever queued."
    list_display = (
        "id", "task_name", "shown_status", "queue_name", "attempts", "scheduled_at",
    )  # fmt: skip
    list_filter = ("status", "queue_name")
    search_fields = ("task_name", "lock", "queueing_lock")
    ordering = ("-id",)
    fields = (
        "id", "task_name", "shown_status", "args", "queue_name", "priority", "lock",
        "queueing_lock", "scheduled_at", "attempts",
    )  # fmt: skip
    export_fields = ("id", "task_name", "status", "args", "scheduled_at", "attempts")

    @display(description="Status", label=_COLORS, ordering="status")
    def shown_status(self, job: ProcrastinateJob) -> str:
        """Return the status, colored."""
        return str(job.status).capitalize()
