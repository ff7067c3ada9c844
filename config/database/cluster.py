"""The cluster on disk: made whole or not at all, and checked before use."""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from config.database import processes
from config.database.errors import DatabaseStartError
from config.database.layout import Layout

DRAFTS = ("postgres.new-", "programs.new-")
"""How half-made folders are called; whoever holds the lock may remove them."""

INITDB = (
    "--username=postgres",
    "--encoding=UTF8",
    # The same order and case rules on every system, whatever locales it has.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    # Whoever can enter the socket's folder is trusted; there is no other way in.
    "--auth-local=trust",
    "--auth-host=reject",
)
INITDB_SECONDS = 300
LOG_BYTES = 8 * 1024 * 1024
KEPT_LOG_BYTES = 1024 * 1024


@contextlib.contextmanager
def locked(place: Layout) -> Iterator[None]:
    """Hold the lock of the data folder, which is made if need be.

    The kernel drops the lock with its holder, however that ends, and Python keeps the
    descriptor from children, so that the server never holds it. Raises `OSError` if
    the folder cannot be written to.
    """
    _make_open(place.data)
    descriptor = open_kept(place, place.lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_kept(place: Layout, path: Path, flags: int) -> int:
    """Open a file of the data folder, made if need be; the caller closes it."""
    descriptor = os.open(path, flags | os.O_CREAT, 0o644)
    if os.geteuid() == 0:
        # One start as root must not shut the folder's owner out of later ones.
        owner = place.data.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def initialize(place: Layout, programs: Path) -> None:
    """Make the cluster; one that is killed half way leaves only a draft."""
    draft = Path(tempfile.mkdtemp(prefix=DRAFTS[0], dir=place.home))
    place.account.own(draft)
    made = place.account.run(
        [str(programs / "initdb"), *INITDB, "-D", str(draft)],
        timeout_seconds=INITDB_SECONDS,
    )
    if made.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        message = f"PostgreSQL could not make its cluster in {place.home}."
        raise DatabaseStartError(message, made.stdout.strip())
    draft.rename(place.cluster)
    _sync(place.home)


def prepare_home(place: Layout) -> None:
    """Make the folder around the cluster, and clear it of half-made things."""
    if place.home != place.data:
        _make_open(place.home)
        if not place.link.is_symlink():
            _retire(place)
            place.link.symlink_to(place.cluster)
    for prefix in DRAFTS:
        for draft in place.home.glob(f"{prefix}*"):
            shutil.rmtree(draft, ignore_errors=True)


def make_socket_dir(place: Layout) -> None:
    """Make the socket's folder, owned by the account and closed to all others."""
    with contextlib.suppress(FileExistsError):
        place.socket_dir.mkdir(mode=0o700)
        place.account.own(place.socket_dir)
    place.check_ours()
    place.socket_dir.chmod(0o700)


def check_version(place: Layout, major: int) -> None:
    """Raise `DatabaseStartError` unless programs of `major` can serve the cluster."""
    try:
        found = (place.cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise DatabaseStartError(
            f"{place.cluster} is not a PostgreSQL cluster (it has no PG_VERSION): "
            "move it away to start with a new one."
        ) from None
    if found != str(major):
        raise DatabaseStartError(
            f"The cluster in {place.cluster} was made by PostgreSQL {found} and the "
            f"installed one is {major}: dump it with {found} and restore it, or move "
            "it away to start with a new one."
        )


def remove_stale(place: Layout) -> None:
    """Remove what a dead server left. Only under the lock and with no server alive."""
    processes.end_orphans(place.cluster)
    if processes.can_tell():
        # PostgreSQL itself refuses to start if a pid in these belongs to a living
        # process of its user, whatever that process is.
        place.pid_file.unlink(missing_ok=True)
        place.socket.unlink(missing_ok=True)
        place.socket.with_name(f"{place.socket.name}.lock").unlink(missing_ok=True)


def trim_log(place: Layout) -> None:
    """Keep the log below LOG_BYTES, and of what goes the end, in `postgres.log.1`.

    Cut in place: a running server goes on appending to the same file.
    """
    if not log_is_long(place):
        return
    with place.log.open("r+b") as log:
        log.seek(-KEPT_LOG_BYTES, os.SEEK_END)
        place.log.with_suffix(".log.1").write_bytes(log.read())
        log.truncate(0)


def log_is_long(place: Layout) -> bool:
    """Return whether the log has outgrown LOG_BYTES."""
    return place.log.exists() and place.log.stat().st_size > LOG_BYTES


def _make_open(folder: Path) -> None:
    """Make `folder` and what is missing above it, open for passing through.

    Folders that exist already keep their modes: they are not ours to change.
    """
    if folder.exists():
        return
    _make_open(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o755)


def _retire(place: Layout) -> None:
    """Set aside the cluster of an earlier data folder of this name, since deleted."""
    if not place.cluster.exists():
        return
    processes.send(signal.SIGINT, processes.servers_of(place.cluster)[:1])
    processes.wait_gone(place.cluster, timeout_seconds=30)
    processes.end_orphans(place.cluster)
    previous = place.cluster.with_suffix(".previous")
    shutil.rmtree(previous, ignore_errors=True)
    place.cluster.rename(previous)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
