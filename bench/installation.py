"""What a run stands on: a database of its own, and the product's own server."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.core.management import call_command
from django.db import connection, connections

from config import database
from demo.processes import Supervisor, manage, wait_until_healthy

START_SECONDS = 30
DURABLE = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")


class InstallationError(Exception):
    """The run has nothing to stand on; the text says why."""


@contextmanager
def new_database() -> Iterator[None]:
    """Have an empty, migrated database inside this block.

    The embedded server is started for it and stopped afterwards; what an earlier run
    left is dropped. Another server is taken as it is. Refuses (`InstallationError`)
    while another run uses the folder.
    """
    database.ensure_running()
    if database.other_clients():
        raise InstallationError("Another run is using this data folder.")
    if database.is_embedded():
        _drop_database()
        database.ensure_running()
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connections.close_all()
        database.stop()


def _drop_database() -> None:
    name = connection.settings_dict["NAME"]
    with psycopg.connect(
        database.connection_url("superuser"), dbname="postgres", autocommit=True
    ) as server:
        identifier = psycopg.sql.Identifier(name)
        statement = psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        server.execute(statement.format(identifier))


def _free_port() -> int:
    """Return a port nobody listens on, and that no run beside this one is given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def new_server(supervisor: Supervisor) -> Iterator[int]:
    """Have `manage.py serve` answering inside this block; yield its port."""
    port = _free_port()
    base_url = f"http://127.0.0.1:{port}"
    supervisor.start(
        "web",
        manage("serve", "--port", str(port)),
        PLANGATE_PUBLIC_URL=base_url,
        # A log line per request would be measured, too.
        PLANGATE_LOG_LEVEL="30",
    )
    try:
        if not wait_until_healthy(base_url, supervisor, START_SECONDS):
            raise InstallationError(f"The server did not answer at {base_url}.")
        yield port
    finally:
        supervisor.end()


def durable_settings() -> dict[str, str]:
    """Return the database's version, and the settings that make it durable or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY(%s) ORDER BY name",
            [["server_version", "shared_buffers", *DURABLE]],
        )
        return dict(cursor.fetchall())
