"""Simulations in lines, over real HTTP: as they come, and to a caller that leaves."""

import json
import socket
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.tenancy.services.service_keys import create_service_key
from tests.conftest import make_realm
from tests.gating.gate import Gate
from tests.gating.simulating import copies
from tests.tools.context import AT, BY
from tests.tools.server import running_server
from tests.tools.signer import RawClient

PATH = "/mgt/v1/gate/simulations"
COUNT = 6_000


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker):
    """A server with its log, a signer, and a realm with thousands of decisions."""
    log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the server closes it.
    with (
        django_db_blocker.unblock(),
        running_server(log=log, PLANGATE_LOG_LEVEL="20") as base,
    ):
        realm = make_realm(AT, BY)
        account = ensure_account(realm=realm, principal_id="acme", at=AT, by=BY)
        user = ensure_user(account=account, business_user_id="u-1", at=AT, by=BY)
        gate = Gate(realm, account, user, AT, BY)
        gate.feature()
        gate.quota(1000, bundle=gate.bundle("pro"), name="chats")
        gate.plan("pro", bundle="pro")
        gate.lease(1)
        copies(gate, COUNT - 1)
        raw = RawClient(realm, create_service_key(realm=realm, at=AT, by=BY))
        yield SimpleNamespace(address=urlsplit(base), raw=raw, log=log.name)


def send(served):
    """Ask for lines; return the connection, before anything is read."""
    body = json.dumps(
        {
            "from": "2026-03-10T00:00:00Z", "to": "2026-03-11T00:00:00Z",
            "draft": {"bundle": {"bundle_key": "pro"}},
        }
    ).encode()  # fmt: skip
    headers = [
        ("Host", "127.0.0.1"), ("Content-Length", str(len(body))), ("Connection", "close"),
        ("Accept", "application/x-ndjson"), *served.raw.signed("POST", PATH, body).items(),
    ]  # fmt: skip
    head = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    address = served.address
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return connection


def documents(received):
    """Return the lines of an answer, chunked or not."""
    return [
        json.loads(line)
        for line in received.split(b"\n")
        if line.startswith(b'{"type"')
    ]


def test_lines_come_while_the_work_goes_on(served):
    with closing(send(served)) as connection:
        received, first = b"", 0
        while chunk := connection.recv(65536):
            received += chunk
            first = first or len(documents(received.rpartition(b"\n")[0]))

    head = received.partition(b"\r\n\r\n")[0].lower()
    lines = documents(received)
    assert head.startswith(b"http/1.1 200")
    assert b"content-type: application/x-ndjson" in head
    assert b"content-length" not in head
    assert [line["done"] for line in lines if line["type"] == "progress"] == list(
        range(500, COUNT + 1, 500)
    )
    assert lines[-1]["summary"]["reproduced"] == COUNT
    assert first < len(lines)


def test_a_caller_that_leaves_ends_the_work(served):
    connection = send(served)
    received = b""
    while not documents(received.rpartition(b"\n")[0]):
        received += connection.recv(65536)
    connection.close()

    left = waited_for(served.log, "the caller left")

    assert left["lines"] < COUNT // 500
    # And the server goes on serving.
    with closing(send(served)) as again:
        assert again.recv(65536).startswith(b"HTTP/1.1 200")


def waited_for(path, event, seconds=60):
    """Return the first line of a log that tells of an event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with Path(path).open() as log:
            found = [line for line in log if event in line]
        if found:
            return json.loads(found[0])
        time.sleep(0.05)
    raise AssertionError(f"no “{event}” in {seconds} s")
