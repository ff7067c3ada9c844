"""The system user that PostgreSQL runs as: it refuses to be root."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from config.database.errors import DatabaseStartError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A system user; `switch`: we are root and must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def run(
        self,
        argv: Sequence[str],
        *,
        stderr: IO[bytes] | int = subprocess.STDOUT,
        timeout_seconds: float = 30,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` as this account in a session of its own; the caller judges it.

        The session keeps a Ctrl-C at the caller's terminal away from it. Raises
        `DatabaseStartError` where it cannot be run at all or outlives the timeout.
        """
        # The standard library drops user, group and groups between fork and exec, as
        # `setpriv --reuid --regid --clear-groups` would, on every libc and without
        # util-linux.
        who: dict[str, Any] = (
            {"user": self.uid, "group": self.gid, "extra_groups": []}
            if self.switch
            else {}
        )
        try:
            return subprocess.run(  # noqa: S603 -- argv is ours and no shell reads it
                argv,
                check=False,
                text=True,
                errors="replace",
                # The caller's folder may be closed to the account.
                cwd="/",
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                timeout=timeout_seconds,
                **who,
            )
        except (OSError, subprocess.SubprocessError) as error:
            message = f"{argv[0]} could not be run as user {self.name}: {error}"
            raise DatabaseStartError(message) from error

    def reaches(self, folder: Path) -> bool:
        """Return whether the account can enter `folder`, asked of the kernel."""
        enter = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
        return not self.switch or self.run(enter).returncode == 0

    def own(self, path: Path) -> None:
        """Give `path`, which we made, to the account."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def server_account(cluster: Path) -> Account:
    """Return who runs the server of `cluster`: us or, where we are root, its owner.

    A cluster that does not exist yet will belong to the first of `CANDIDATES`.
    Raises `DatabaseStartError` if we are root and the system has none of them.
    """
    if os.geteuid() != 0:
        return _named(os.geteuid(), os.getegid(), switch=False)
    try:
        owner = cluster.stat()
    except OSError:
        return _candidate()
    if owner.st_uid == 0:
        return _candidate()
    return _named(owner.st_uid, owner.st_gid, switch=True)


def name_of(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def environment() -> dict[str, str]:
    """Return the little of the environment that PostgreSQL's programs may see.

    PGHOST, PGDATA, PGOPTIONS and their like belong to some other server.
    """
    given = {
        name: os.environ[name]
        for name in ("PATH", "LD_LIBRARY_PATH")
        if name in os.environ
    }
    return {"PATH": os.defpath, **given, "LC_ALL": "C"}


def _named(uid: int, gid: int, *, switch: bool) -> Account:
    return Account(name_of(uid), uid, gid, switch)


def _candidate() -> Account:
    for name in CANDIDATES:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return _named(found.pw_uid, found.pw_gid, switch=True)
    raise DatabaseStartError(
        "PostgreSQL refuses to run as root and this system has neither a user "
        f"{' nor '.join(CANDIDATES)}: start as an ordinary user or set DATABASE_URL."
    )
