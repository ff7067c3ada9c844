"""PostgreSQL's own prompt on our database."""

import os
from collections.abc import Sequence

from psycopg.conninfo import make_conninfo

from config.database.binaries import wheel_bin
from config.database.status import read_url
from config.database.urls import connection_url


def psql_command(
    role: str, arguments: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and environment of psql, connected as a role of `ROLES`.

    Works with DATABASE_URL too; raises what `connection_url` and `read_url` raise.
    """
    parameters = read_url(connection_url(role))
    kept = {name: text for name, text in os.environ.items() if name[:2] != "PG"}
    # Anybody can list command lines; nobody else can read this environment.
    secret = parameters.pop("password", "")
    environment = {**kept, "PGPASSWORD": secret} if secret else kept
    target = make_conninfo("", **parameters)
    return [str(wheel_bin() / "psql"), "--dbname", target, *arguments], environment
