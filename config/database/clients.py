"""Connections of our own to the embedded server, and what it must have to be used."""

from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from config.database.layout import PORT, Layout

SUPERUSER: Final = "postgres"
OWNER: Final = "plangate_owner"
APPLICATION: Final = "plangate_app"
DATABASE: Final = "plangate"
MAINTENANCE: Final = "postgres"

ROLES: Final = {
    # Makes the schema, and the databases of test runs.
    OWNER: "LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS",
    # Serves requests with what the owner has granted; owns nothing.
    APPLICATION: "LOGIN NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS",
}

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(
    place: Layout, role: str = SUPERUSER, database: str = MAINTENANCE
) -> Connection:
    """Connect over the socket; raises `psycopg.OperationalError` if nobody answers."""
    return psycopg.connect(
        host=str(place.socket_dir),
        # These four would otherwise come from PGPORT, PGHOSTADDR and their like.
        hostaddr="",
        port=PORT,
        options="",
        sslmode="disable",
        user=role,
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )


def is_ready(place: Layout) -> bool:
    """Return whether the server answers and has all that `equip` makes."""
    try:
        # The database is made last: who can enter it as its owner finds all the rest.
        connect(place, OWNER, DATABASE).close()
    except psycopg.OperationalError:
        return False
    return True


def is_answering(place: Layout) -> bool:
    """Return whether the server lets its superuser in, that is, has come up."""
    try:
        connect(place).close()
    except psycopg.OperationalError:
        return False
    return True


def equip(place: Layout) -> None:
    """Make the roles and the database that are missing. Only under the lock."""
    with connect(place) as server:
        # Counts for all databases, and keeps its views out of the application's.
        server.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        for role, rights in ROLES.items():
            name = sql.Identifier(role)
            if not _has(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                server.execute(sql.SQL("CREATE ROLE {}").format(name))
            server.execute(
                sql.SQL("ALTER ROLE {} WITH {}").format(name, sql.SQL(rights))
            )
        if not _has(server, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
            server.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(OWNER)
                )
            )


def server_version(place: Layout) -> str:
    """Return the version of the running server, such as `18.6`."""
    with connect(place) as server:
        return str(server.info.parameter_status("server_version"))


def count_clients(place: Layout) -> int:
    """Return how many client connections there are apart from the one that counts."""
    with connect(place) as server:
        row = server.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0


def _has(server: Connection, query: LiteralString, name: str) -> bool:
    return server.execute(query, [name]).fetchone() is not None
