"""Child processes that live exactly as long as the command that started them."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

GRACE_SECONDS = 8
POLL_SECONDS = 0.2


class Supervisor:
    """Start named processes, notice the loss of one, and end them all by pid."""

    def __init__(self) -> None:
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False

    def start(self, name: str, arguments: Sequence[str], **environment: str) -> None:
        """Start one process in a session of its own.

        A Ctrl-C in the terminal then reaches this process only, which ends the
        children in order; they would otherwise race each other to the exit.
        """
        self.children[name] = subprocess.Popen(  # noqa: S603 - our own programs.
            list(arguments),
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def stop_on_signals(self) -> None:
        """Turn SIGINT, SIGTERM and SIGHUP into an orderly end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def asked_to_stop(self) -> bool:
        """Return whether a signal asked for the end."""
        return self.stopping

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def watch(self) -> str | None:
        """Wait until told to stop (None) or a child is lost (its name)."""
        while not self.stopping:
            for name, child in self.children.items():
                if child.poll() is not None:
                    return name
            time.sleep(POLL_SECONDS)
        return None

    def end(self) -> None:
        """End every child; kill those that do not go in time."""
        for child in self.children.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self.children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # The server's own workers are in its session.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def wait_until_healthy(base_url: str, supervisor: Supervisor, seconds: float) -> bool:
    """Return whether `/health` answered 200 within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not supervisor.stopping:
        if any(child.poll() is not None for child in supervisor.children.values()):
            return False
        try:
            with urllib.request.urlopen(f"{base_url}/health", timeout=2):  # noqa: S310
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_SECONDS)
    return False


def manage(*arguments: str) -> list[str]:
    """Return the command line of a management command of this project."""
    return [sys.executable, "manage.py", *arguments]
