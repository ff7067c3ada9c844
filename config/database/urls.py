"""Which database the environment names, and under which URL each role finds it."""

import os
from typing import Literal, get_args
from urllib.parse import quote

from config.database.clients import APPLICATION, DATABASE, OWNER, SUPERUSER
from config.database.errors import DatabaseSettingsError
from config.database.layout import PORT, layout

Role = Literal["owner", "app", "superuser"]
ROLES: tuple[Role, ...] = get_args(Role)
USERS: dict[Role, str] = {
    "owner": OWNER,
    "app": APPLICATION,
    "superuser": SUPERUSER,
}


def is_embedded() -> bool:
    """Return whether the embedded server is used: DATABASE_URL is unset or blank.

    Raises `DatabaseSettingsError` if only DATABASE_APP_URL is set: the two roles would
    work on different databases.
    """
    if _given("DATABASE_URL"):
        return False
    if _given("DATABASE_APP_URL"):
        raise DatabaseSettingsError(
            "DATABASE_APP_URL is set and DATABASE_URL is not: set both, or neither to "
            "use the embedded server."
        )
    return True


def url(role: str) -> str:
    """Return the embedded server's URL for a role of `ROLES`, running or not.

    Raises `DatabaseSettingsError` for any other role.
    """
    user = USERS[_known(role)]
    host = quote(str(layout().socket_dir), safe="")
    # The port is written out: without it clients would take PGPORT's.
    return f"postgresql://{user}@{host}:{PORT}/{DATABASE}"


def connection_url(role: str) -> str:
    """Return the URL that a role of `ROLES` connects with.

    With DATABASE_URL set: that one for the owner, DATABASE_APP_URL or else the same
    for the application. Otherwise the embedded server's. Raises
    `DatabaseSettingsError` for an unknown role, and for the superuser of a server
    that is not ours.
    """
    known = _known(role)
    if is_embedded():
        return url(known)
    if known == "superuser":
        message = "DATABASE_URL is set: only the embedded server's superuser is known."
        raise DatabaseSettingsError(message)
    application = _given("DATABASE_APP_URL") if known == "app" else ""
    return application or _given("DATABASE_URL")


def _known(role: str) -> Role:
    for known in ROLES:
        if role == known:
            return known
    message = f"There is no database role {role!r}: use one of {', '.join(ROLES)}."
    raise DatabaseSettingsError(message)


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()
