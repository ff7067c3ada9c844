"""The database server, from the command line."""

import json
import os
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import database


class Command(BaseCommand):
    """`manage.py database start|stop|status|url|psql`; needs no running database."""

    help = (
        "Start, stop or look at the embedded PostgreSQL. With DATABASE_URL set, that "
        "server is used and never started or stopped."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, title="actions")
        actions.add_parser("start", help="start the server unless it runs")
        actions.add_parser("stop", help="stop the server, cutting its clients off")
        status = actions.add_parser(
            "status",
            help="say what runs; exits with 1 unless a supported server answers",
        )
        status.add_argument("--json", action="store_true", help="for scripts")
        for name, text in (
            ("url", "print the connection URL of a role"),
            ("psql", "open psql as a role; its own arguments follow after --"),
        ):
            action = actions.add_parser(name, help=text)
            action.add_argument("--role", choices=database.ROLES, default="owner")
        action.add_argument("arguments", nargs="*", help="passed on to psql")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run one action; its refusals are printed and exit with 1."""
        action = {
            "start": self._start,
            "stop": self._stop,
            "status": self._status,
            "url": self._url,
            "psql": self._psql,
        }[options["action"]]
        try:
            action(options)
        except database.EmbeddedDatabaseError as error:
            raise CommandError(str(error)) from error

    def _start(self, _options: dict[str, Any]) -> None:
        if not database.is_embedded():
            self.stdout.write(
                "DATABASE_URL is set: using that server; nothing to start."
            )
            return
        database.ensure_running()
        state = database.status()
        self.stdout.write(f"PostgreSQL {state.version} runs (pid {state.pid}).")

    def _stop(self, _options: dict[str, Any]) -> None:
        if not database.is_embedded():
            self.stdout.write(
                "DATABASE_URL is set: using that server; nothing to stop."
            )
            return
        stopped = database.stop()
        self.stdout.write(
            "PostgreSQL stopped." if stopped else "PostgreSQL was not running."
        )

    def _status(self, options: dict[str, Any]) -> None:
        state = database.status()
        if options["json"]:
            self.stdout.write(json.dumps(asdict(state)))
        else:
            self.stdout.write(_described(state))
        if not state.supported:
            raise SystemExit(1)

    def _url(self, options: dict[str, Any]) -> None:
        self.stdout.write(database.connection_url(options["role"]))

    def _psql(self, options: dict[str, Any]) -> None:
        database.ensure_running()
        argv, environment = database.psql_command(options["role"], options["arguments"])
        os.execve(argv[0], argv, environment)  # noqa: S606 -- no shell is wanted


def _described(state: database.Status) -> str:
    place = state.server or f"in {state.data_dir}, sockets in {state.socket_dir}"
    if not state.running:
        return f"No PostgreSQL answers: {place}\n{state.problem}"
    described = f"PostgreSQL {state.version} answers: {place}"
    if state.pid:
        described += f", pid {state.pid}"
    if not state.supported:
        described += "\nThis version is not supported: PostgreSQL 15 to 18 are."
    return described
