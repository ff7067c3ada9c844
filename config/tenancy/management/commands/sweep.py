"""`manage.py sweep`: runs the periodic jobs once, at an instant."""

import sys
import time
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.kernel.clock import now
from config.kernel.errors import Invalid
from config.kernel.windows import parse_instant
from config.tenancy.periodic import Job, jobs


class Command(BaseCommand):
    """Run every periodic job, or some, as if it were an instant.

    One that fails does not keep the others from running; the command then ends with
    code 1. What is due is judged by the instant: one to come also forgets and closes
    what is not due yet.
    """

    help = "Run the periodic jobs once, at an instant."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say when, and which."""
        parser.add_argument("--at", help="the instant, such as 2026-03-01T00:00:00Z")
        parser.add_argument(
            "--only", action="append", default=[], help="only this job; may be repeated"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the jobs; print a line of each."""
        known = jobs()
        unknown = set(options["only"]) - set(known)
        if unknown:
            raise CommandError(
                f"There is no job {', '.join(sorted(unknown))}; there are "
                f"{', '.join(known)}."
            )
        at = _instant(options["at"])
        chosen = options["only"] or known
        results = [self._ran(job, at) for name, job in known.items() if name in chosen]
        if not all(results):
            sys.exit(1)

    def _ran(self, job: Job, at: datetime) -> bool:
        started = time.monotonic()
        try:
            outcome = job.run(at)
        except Exception as error:  # noqa: BLE001 - told, and recorded with the run.
            self.stdout.write(f"{job.name}: {type(error).__name__}: {error}")
            return False
        seconds = time.monotonic() - started
        self.stdout.write(
            f"{job.name}: {outcome.done} done, {outcome.failed} failed, {seconds:.1f} s"
        )
        return outcome.failed == 0


def _instant(text: str | None) -> datetime:
    if text is None:
        return now()
    try:
        return parse_instant(text, "at")
    except Invalid as refusal:
        raise CommandError(refusal.message) from None
