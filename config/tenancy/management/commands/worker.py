"""`manage.py worker`: runs jobs in the foreground."""

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand
from procrastinate.contrib.django import app

STOP_GRACE_SECONDS = 10


class Command(BaseCommand):
    """Run queued and periodic jobs until told to stop (SIGINT or SIGTERM)."""

    help = "Run queued and periodic jobs."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker, as the role that serves requests unless told otherwise."""
        if "PLANGATE_DATABASE_ROLE" not in os.environ:
            os.environ["PLANGATE_DATABASE_ROLE"] = "app"
            again = [sys.executable, *sys.argv]
            os.execv(sys.executable, again)  # noqa: S606 - our own interpreter.
        self.stdout.write("worker: waiting for jobs")
        self.stdout.flush()
        connector: Any = app.connector
        worker = app.with_connector(connector.get_worker_connector())
        with worker.open():
            worker.run_worker(
                concurrency=2, shutdown_graceful_timeout=STOP_GRACE_SECONDS
            )
