"""Where everything of the embedded server lies; nothing here writes."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from config.database.account import Account, name_of, server_account
from config.database.errors import DatabaseStartError
from config.secrets import data_dir

PORT = 5432
"""Names the socket file; no TCP port is opened."""

CLUSTER = "postgres"

FALLBACK_ROOT = Path("/var/lib/plangate")
"""Holds clusters whose data folder the server's user cannot enter (say, in /root)."""

SOCKET_DIR_BYTES = 90
"""A socket's path must fit in 107 bytes, its file name included."""


@dataclass(frozen=True)
class Layout:
    """The folders and files of one embedded server.

    Attributes:
        data: PLANGATE_DATA_DIR, resolved; the caller's own, holds lock and log.
        cluster: PostgreSQL's data directory: in `data`, or below FALLBACK_ROOT.
        account: the system user that runs the server and owns its files.

    """

    data: Path
    cluster: Path
    account: Account

    @property
    def home(self) -> Path:
        """The folder around the cluster."""
        return self.cluster.parent

    @property
    def link(self) -> Path:
        """Where `data` shows its cluster: the cluster itself, or a link to it."""
        return self.data / CLUSTER

    @property
    def socket_dir(self) -> Path:
        """The socket's folder, which its mode 0700 guards."""
        beside = self.home / "run"
        # A comma would read as a list of hosts to every client.
        if len(os.fsencode(beside)) <= SOCKET_DIR_BYTES and "," not in str(beside):
            return beside
        return Path(f"/tmp/plangate-{_digest(self.data)}")  # noqa: S108 -- owner and mode are checked

    @property
    def socket(self) -> Path:
        """The socket itself."""
        return self.socket_dir / f".s.PGSQL.{PORT}"

    @property
    def pid_file(self) -> Path:
        """PostgreSQL's own note of who runs the cluster; may be stale."""
        return self.cluster / "postmaster.pid"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.data / "postgres.log"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the server, never by the server."""
        return self.data / "database.lock"

    @property
    def initialized(self) -> bool:
        """Whether this data folder has a cluster."""
        return self.link.exists()

    def check_ours(self) -> None:
        """Raise `DatabaseStartError` if the cluster or the sockets are another's."""
        for folder in (self.cluster, self.socket_dir):
            try:
                found = folder.lstat()
            except FileNotFoundError:
                continue
            except PermissionError as error:
                raise DatabaseStartError(_closed(folder, self.account)) from error
            if found.st_uid != self.account.uid:
                raise DatabaseStartError(
                    f"{folder} belongs to user {name_of(found.st_uid)}, not to "
                    f"{self.account.name}: run as that user or as root, or set "
                    "PLANGATE_DATA_DIR to a folder of your own."
                )


def layout() -> Layout:
    """Return the layout for the present user and PLANGATE_DATA_DIR.

    The same before the first start as after it, so that the settings may name the
    socket of a server that does not run yet. Raises `DatabaseStartError` if the folder
    is closed to us.
    """
    data = data_dir().resolve()
    try:
        account = server_account(data / CLUSTER)
        return Layout(data, _cluster(data, account), account)
    except PermissionError as error:
        raise DatabaseStartError(_closed(data, account)) from error


def _cluster(data: Path, account: Account) -> Path:
    # A cluster that exists is never left for another place, whatever became of the
    # folders around it: that would look like an empty database.
    link = data / CLUSTER
    if link.is_symlink() or link.exists():
        return link.resolve()
    if account.reaches(_nearest_existing(data)):
        return link
    return FALLBACK_ROOT.resolve() / _digest(data) / CLUSTER


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _closed(folder: Path, account: Account) -> str:
    return (
        f"{folder} is closed to user {account.name}: run as the user who made it, or "
        "set PLANGATE_DATA_DIR to a folder of your own."
    )
