"""Starting and stopping the embedded server, safely from any number of processes."""

import os
import signal
import time
from pathlib import Path

import psycopg

from config.database import binaries, clients, cluster, processes
from config.database.errors import DatabaseStartError, DatabaseStopError
from config.database.layout import PORT, Layout, layout
from config.database.urls import is_embedded

START_SECONDS = 300
"""Covers crash recovery; a healthy start takes a fraction of a second."""

STOP_SECONDS = 60
LOST_SOCKET_SECONDS = 5
LAUNCHES = 3
LOG_LINES = 12

OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    # What was committed survives a power cut.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    # Compiling a plan costs more than running the short statements of this product.
    "jit": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    # Statements may carry personal data; the application reports its own errors.
    "log_min_error_statement": "panic",
}
"""Given on the command line at every start, so that a data folder can be moved and a
new release's options hold for old clusters."""

# The shell goes at once and leaves the server without a parent to outlive or to be
# buried by; its stdout tells the pid, the server's own goes to the log.
LAUNCH = '"$@" </dev/null >&2 & echo $!'


def ensure_running() -> None:
    """Start the embedded server unless it runs; returns when it takes connections.

    Does nothing with DATABASE_URL set. Safe to call from several processes at once,
    and after any crash: of the caller, the server or the machine. Raises
    `EmbeddedDatabaseError`, mostly a `DatabaseStartError` with the end of the log.
    """
    if not is_embedded():
        return
    place = layout()
    place.check_ours()
    if place.initialized and clients.is_ready(place) and not cluster.log_is_long(place):
        return
    try:
        with cluster.locked(place):
            _start(place)
    except OSError as error:
        message = f"PostgreSQL cannot be started with data folder {place.data}: {error}"
        raise DatabaseStartError(message) from error


def stop() -> bool:
    """Stop the embedded server, cutting its clients off; return whether it ran.

    Does nothing with DATABASE_URL set. Open transactions are rolled back and nothing
    that was committed is lost. Raises `EmbeddedDatabaseError`, mostly a
    `DatabaseStopError` because a process is left after STOP_SECONDS.
    """
    if not is_embedded():
        return False
    place = layout()
    if not place.data.exists():
        return False
    place.check_ours()
    with cluster.locked(place):
        pid = main_pid(place)
        if pid is not None:
            _end(pid, place)
        elif clients.is_answering(place):
            raise DatabaseStopError(
                f"PostgreSQL answers in {place.socket_dir} but not as a process seen "
                "from here: stop it where it was started, such as its container."
            )
        cluster.remove_stale(place)
    return pid is not None


def other_clients() -> int:
    """Return how many connections to the embedded server there are.

    The one that asks does not count; the caller's own do, so close them first. Zero if
    the server does not run, or is not ours to stop because DATABASE_URL is set.
    """
    if not is_embedded():
        return 0
    try:
        return clients.count_clients(layout())
    except psycopg.OperationalError:
        return 0


def main_pid(place: Layout) -> int | None:
    """Return the pid of the cluster's living server, or None."""
    try:
        pid = int(place.pid_file.read_text().split("\n")[0])
    except (OSError, ValueError):
        return None
    return pid if processes.is_server_of(pid, place.cluster) else None


def _start(place: Layout) -> None:
    cluster.prepare_home(place)
    cluster.trim_log(place)
    programs = binaries.usable_bin(place)
    if not place.initialized:
        # Whoever still answers on our socket serves a cluster that was taken away.
        cluster.remove_stale(place)
        cluster.initialize(place, programs)
    cluster.make_socket_dir(place)
    for attempt in range(1, LAUNCHES + 1):
        _bring_up(place, programs)
        try:
            clients.equip(place)
        except psycopg.OperationalError as error:
            if attempt == LAUNCHES:
                message = f"PostgreSQL starts and does not stay up: {error}"
                raise DatabaseStartError(message) from error
        else:
            return


def _bring_up(place: Layout, programs: Path) -> None:
    """Wait for the server to answer, launching it whenever nobody is about to."""
    log_start = place.log.stat().st_size if place.log.exists() else 0
    deadline = time.monotonic() + START_SECONDS
    launches, launched = 0, None
    while not clients.is_answering(place):
        if time.monotonic() > deadline:
            message = f"PostgreSQL takes no connections after {START_SECONDS} seconds."
            raise DatabaseStartError(message, _log_tail(place, log_start))
        if _about_to_answer(place, launched):
            time.sleep(processes.POLL_SECONDS)
        elif launches == LAUNCHES:
            message = f"PostgreSQL cannot be started in {place.cluster}."
            raise DatabaseStartError(message, _log_tail(place, log_start))
        else:
            launched = _launch(place, programs)
            launches += 1


def _about_to_answer(place: Layout, launched: int | None) -> bool:
    """Return whether a server lives that is starting up or shutting down."""
    pid = main_pid(place)
    if pid is None:
        return launched is not None and processes.is_alive(launched)
    if _lost_socket(place):
        _end(pid, place)
        return False
    return True


def _lost_socket(place: Layout) -> bool:
    """Return whether the server can never answer: somebody deleted its socket file."""
    try:
        age_seconds = time.time() - place.pid_file.stat().st_mtime
    except FileNotFoundError:
        return False
    return age_seconds > LOST_SOCKET_SECONDS and not place.socket.exists()


def _launch(place: Layout, programs: Path) -> int:
    cluster.check_version(place, binaries.major_version(programs, place.account))
    cluster.remove_stale(place)
    folder = str(place.socket_dir).replace('"', '""')
    options = {**OPTIONS, "unix_socket_directories": f'"{folder}"'}
    server = [str(programs / "postgres"), "-D", str(place.cluster)]
    for name, value in options.items():
        server += ["-c", f"{name}={value}"]
    log = cluster.open_kept(place, place.log, os.O_WRONLY | os.O_APPEND)
    try:
        shell = ["/bin/sh", "-c", LAUNCH, "sh", *server]
        return int(place.account.run(shell, stderr=log).stdout)
    finally:
        os.close(log)


def _end(pid: int, place: Layout) -> None:
    """Shut the server down without waiting for its clients to leave."""
    processes.send(signal.SIGINT, [pid])
    if processes.wait_gone(place.cluster, main_pid=pid, timeout_seconds=STOP_SECONDS):
        message = f"PostgreSQL (pid {pid}) still runs {STOP_SECONDS} seconds after"
        raise DatabaseStopError(f"{message} being told to stop.")


def _log_tail(place: Layout, start: int) -> str:
    """Return the last lines that were logged after the byte `start`."""
    with place.log.open("rb") as log:
        log.seek(start)
        text = log.read().decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-LOG_LINES:])
