"""`manage.py serve`: the web server in the foreground."""

import argparse
import os
import socket
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

WORKERS = 2
THREADS = 16


def server_arguments(host: str, port: int) -> list[str]:
    """Return the command line of the web server."""
    return [
        sys.executable, "-m", "granian", "config.wsgi:application",
        "--interface", "wsgi", "--host", host, "--port", str(port),
        "--workers", str(WORKERS), "--blocking-threads", str(THREADS),
        # Its warnings are advice on the number of threads.
        "--http", "1", "--no-ws", "--log-level", "error",
        # Without this the loss of one worker ends them all.
        "--respawn-failed-workers",
        "--workers-kill-timeout", "5s",
    ]  # fmt: skip


def _require_free(host: str, port: int) -> None:
    """Refuse a port in use: the server would share it, and answer every other call."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(f"Port {port} of {host}: {error.strerror}.") from None


class Command(BaseCommand):
    """Replace this process by the web server."""

    help = "Serve the API and the admin in the foreground."
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take the address to listen on."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        """Execute the server."""
        _require_free(options["host"], options["port"])
        arguments = server_arguments(options["host"], options["port"])
        self.stdout.write(f"http://{options['host']}:{options['port']}/admin/")
        self.stdout.flush()
        os.environ["PLANGATE_DATABASE_ROLE"] = "app"
        # With more cores than workers, those of several servers would share the first.
        each_has_one = os.cpu_count() == WORKERS
        os.environ.setdefault("PLANGATE_KEEP_TO_CORES", str(int(each_has_one)))
        os.execv(sys.executable, arguments)  # noqa: S606 - our own interpreter.
