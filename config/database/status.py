"""What runs, for people and for scripts."""

from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict

from config.database import clients
from config.database.errors import DatabaseSettingsError
from config.database.layout import layout
from config.database.server import main_pid
from config.database.urls import connection_url, is_embedded

OLDEST_MAJOR = 15
NEWEST_MAJOR = 18


@dataclass(frozen=True)
class Status:
    """The state of the database at one moment.

    Attributes:
        embedded: False where DATABASE_URL names the server.
        running: it takes connections.
        pid: the embedded server's main process, None if there is none to see.
        version: such as `18.6`, None unless running.
        supported: its major version is one of 15 to 18; False unless running.
        data_dir: PostgreSQL's data directory, None unless embedded.
        socket_dir: the folder of its socket, None unless embedded.
        server: host, port and database of DATABASE_URL, None if embedded.
        problem: why it is not running, in the client library's words.

    """

    embedded: bool
    running: bool
    pid: int | None = None
    version: str | None = None
    supported: bool = False
    data_dir: str | None = None
    socket_dir: str | None = None
    server: str | None = None
    problem: str | None = None


def status() -> Status:
    """Return the state of the database; changes nothing and starts nothing.

    Raises `DatabaseSettingsError` if DATABASE_URL cannot be read, and
    `DatabaseStartError` if the data folder is another user's.
    """
    return _embedded() if is_embedded() else _external(connection_url("owner"))


def read_url(url: str) -> dict[str, str]:
    """Return the connection parameters of a PostgreSQL URL, by libpq's names.

    Raises `DatabaseSettingsError`, which repeats nothing of the URL: what cannot be
    read is often its password.
    """
    try:
        if url.startswith(("postgresql://", "postgres://")):
            found = conninfo_to_dict(url)
            return {name: str(value) for name, value in found.items()}
    except psycopg.ProgrammingError:
        pass
    raise DatabaseSettingsError(
        "The database URL cannot be read: it must look like "
        "postgresql://user:password@host:5432/database, special characters %-encoded."
    )


def _embedded() -> Status:
    place = layout()
    place.check_ours()
    version, problem = None, None
    try:
        with clients.connect(place) as server:
            version = _version(server)
    except psycopg.OperationalError as error:
        problem = str(error).strip()
    return Status(
        embedded=True,
        running=version is not None,
        pid=main_pid(place),
        version=version,
        supported=_is_supported(version),
        data_dir=str(place.cluster),
        socket_dir=str(place.socket_dir),
        problem=problem,
    )


def _external(url: str) -> Status:
    parameters = read_url(url)
    host, port = parameters.get("host", ""), parameters.get("port", "")
    name = f"{host}:{port or 5432}/{parameters.get('dbname', '')}"
    parameters.setdefault("connect_timeout", "5")
    try:
        with psycopg.connect("", **parameters) as server:  # type: ignore[arg-type]
            version = _version(server)
    except psycopg.OperationalError as error:
        return Status(
            embedded=False, running=False, server=name, problem=str(error).strip()
        )
    return Status(
        embedded=False,
        running=True,
        version=version,
        supported=_is_supported(version),
        server=name,
    )


def _version(server: clients.Connection) -> str:
    return server.info.parameter_status("server_version") or ""


def _is_supported(version: str | None) -> bool:
    major = (version or "").partition(".")[0]
    # A server in testing calls itself `19beta1`: not a release, not supported.
    return major.isdigit() and OLDEST_MAJOR <= int(major) <= NEWEST_MAJOR
