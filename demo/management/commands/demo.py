"""`manage.py demo`: everything up, with a realm worth looking at."""

import argparse
import socket
import time
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from config import database
from config.tenancy.management.commands.serve import server_arguments
from demo.greeting import greeting
from demo.processes import Supervisor, manage, wait_until_healthy
from demo.realm import NotADemo, ensure_demo_realm

START_SECONDS = 30
LEAVE_SECONDS = 3


class Command(BaseCommand):
    """Migrate, fill the demo realm once, then run the server and the worker."""

    help = "Run everything with a realistic demo realm until Ctrl-C."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take the port."""
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        """Bring the demo up, and everything down again at the end."""
        port = free_port(options["port"])
        supervisor = Supervisor()
        supervisor.stop_on_signals()
        try:
            self._run(supervisor, port)
        finally:
            supervisor.end()
            self._stop_database()
            self.stdout.write("Stopped.")

    def _run(self, supervisor: Supervisor, port: int) -> None:
        base_url = f"http://127.0.0.1:{port}"
        self._step("database migrations")
        call_command("migrate", verbosity=0)
        if supervisor.asked_to_stop():
            return
        self._step("demo realm")
        try:
            demo = ensure_demo_realm(progress=self._progress)
        except NotADemo as refusal:
            raise CommandError(str(refusal)) from None
        self._step("web server and worker")
        supervisor.start(
            "web",
            server_arguments("127.0.0.1", port),
            PLANGATE_DATABASE_ROLE="app",
            PLANGATE_PUBLIC_URL=base_url,
            PLANGATE_LOG_LEVEL="30",
        )
        supervisor.start(
            "worker",
            manage("worker"),
            PLANGATE_DATABASE_ROLE="app",
            PLANGATE_LOG_LEVEL="30",
        )
        if not wait_until_healthy(base_url, supervisor, START_SECONDS):
            if supervisor.asked_to_stop():
                return
            raise CommandError(f"The web server did not answer at {base_url}.")
        self.stdout.write(greeting(base_url, demo))
        self.stdout.flush()
        lost = supervisor.watch()
        if lost:
            raise CommandError(f"The {lost} process ended by itself.")

    def _stop_database(self) -> None:
        """Stop the embedded database, unless somebody else is using it."""
        connections.close_all()
        if not database.is_embedded():
            return
        deadline = time.monotonic() + LEAVE_SECONDS
        while database.other_clients() and time.monotonic() < deadline:
            time.sleep(0.1)
        if database.other_clients():
            self.stdout.write("The database stays up: something else is using it.")
        else:
            database.stop()

    def _step(self, what: str) -> None:
        self.stdout.write(f"==> {what}")
        self.stdout.flush()

    def _progress(self, done: int, total: int, what: str) -> None:
        self.stdout.write(f"    {done:>2}/{total} {what}")
        self.stdout.flush()


def free_port(wanted: int) -> int:
    """Return `wanted`, or the next port nobody listens on."""
    for port in range(wanted, wanted + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CommandError(f"Ports {wanted} to {wanted + 49} are all taken.")
