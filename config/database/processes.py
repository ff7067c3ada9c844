"""Which living processes are PostgreSQL's, asked of the kernel.

A pid in a file proves nothing: after a crash it may belong to any other program. A
server of a cluster is a process called `postgres` whose working folder is the cluster.
"""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
GONE = " (deleted)"
"""What Linux appends to the path of a folder or program that was removed."""

POLL_SECONDS = 0.05


def can_tell() -> bool:
    """Return whether this system shows its processes (Linux does, others do not)."""
    return (PROC / "self" / "cwd").exists()


def is_alive(pid: int) -> bool:
    """Return whether the process runs; one that nobody has buried yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return not can_tell()
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def is_server_of(pid: int, cluster: Path) -> bool:
    """Return whether `pid` is a PostgreSQL process of `cluster`, even a removed one.

    Where the system does not tell, any living process counts, as for PostgreSQL.
    """
    if not can_tell():
        return is_alive(pid)
    entry = PROC / str(pid)
    try:
        folder = str((entry / "cwd").readlink()).removesuffix(GONE)
        program = (entry / "exe").readlink().name.removesuffix(GONE)
    except OSError:
        return False
    return folder == str(cluster) and program == "postgres"


def servers_of(cluster: Path) -> list[int]:
    """Return the pids of all PostgreSQL processes of `cluster`, in ascending order."""
    if not can_tell():
        return []
    pids = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if is_server_of(pid, cluster)]


def wait_gone(
    cluster: Path, *, timeout_seconds: float, main_pid: int | None = None
) -> list[int]:
    """Wait until no process of `cluster`, nor `main_pid`, is left; return the rest."""
    deadline = time.monotonic() + timeout_seconds
    while left := servers_of(cluster) or _living(main_pid):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return left


def end_orphans(cluster: Path, *, grace_seconds: float = 5) -> None:
    """End what is left of a server that lost its main process or its folder.

    PostgreSQL will not start beside such processes. Most end by themselves at once.
    """
    send(signal.SIGQUIT, servers_of(cluster))
    send(signal.SIGKILL, wait_gone(cluster, timeout_seconds=grace_seconds))
    wait_gone(cluster, timeout_seconds=grace_seconds)


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _living(pid: int | None) -> list[int]:
    return [pid] if pid is not None and is_alive(pid) else []
