"""The real server, as its own processes, against the test database."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from urllib.parse import quote

from config.tenancy.management.commands.serve import server_arguments


def free_port():
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def database_url(role="plangate_app"):
    """Return the URL of the database this test runs on, for another process."""
    from django.db import connection

    settings = connection.settings_dict
    host = quote(settings["HOST"], safe="")
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    user = role if settings["USER"] == "plangate_owner" else settings["USER"]
    password = f":{quote(settings['PASSWORD'])}" if settings["PASSWORD"] else ""
    return f"postgresql://{user}{password}@{host}{port}/{settings['NAME']}"


@contextlib.contextmanager
def running_server(url=None, *, log=None, **environment):
    """Yield the base URL of a running server; end it by pid afterwards.

    `log` is an open file for what it writes.
    """
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    url = url or database_url()
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": url,
        "DATABASE_APP_URL": url,
        "PLANGATE_DATABASE_ROLE": "app",
        "PLANGATE_PUBLIC_URL": base,
        "PLANGATE_LOG_LEVEL": "40",
        **environment,
    }
    # A file, not a pipe: nobody would empty the pipe while the server runs.
    with log or tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            server_arguments("127.0.0.1", port),
            env=env,
            start_new_session=True,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(f"{base}/health", process, output)
            yield base
        finally:
            _end(process)


def _end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(url, process, output, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            output.seek(0)
            raise AssertionError(output.read().decode())
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer in {seconds} s")
