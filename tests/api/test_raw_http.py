"""Requests that no client library would send, byte by byte, to the real server."""

import json
import re
import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from config.tenancy.services.service_keys import create_service_key
from tests.conftest import make_realm
from tests.tools.context import AT, BY
from tests.tools.server import running_server
from tests.tools.signer import RawClient

METERS = "/mgt/v1/meters"
BODY = b'{"meter_code": "tokens"}'


@pytest.fixture(scope="module")
def address(django_db_setup, django_db_blocker):
    """A running server on the test database, and a signer for a realm of it."""
    with django_db_blocker.unblock(), running_server() as base:
        realm = make_realm(AT, BY)
        key = create_service_key(realm=realm, at=AT, by=BY)
        yield urlsplit(base), RawClient(realm, key)


def exchange(address, data):
    """Send bytes, read to the end; return what came back."""
    with closing(
        socket.create_connection((address.hostname, address.port), timeout=10)
    ) as connection:
        connection.sendall(data)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionResetError, TimeoutError):
            pass
    return received


def request(method, path, headers, body=b"", version="HTTP/1.1"):
    """Return the bytes of a request; headers as (name, value) pairs."""
    lines = [f"{method} {path} {version}".encode()]
    lines += [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode())
        for name, value in headers
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def status_of(received):
    """Return the status of an answer, None where the connection was closed."""
    return (
        int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else None
    )


def document_of(received):
    """Return the document of an answer, which is of the length it says."""
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)\r\n", head)
    assert length is not None, received[:300]
    assert int(length[1]) == len(body)
    return json.loads(body)


def signed(raw, method="GET", path=METERS, body=b"", **headers):
    """Return the headers of a signed request, as pairs."""
    return [
        ("Host", "127.0.0.1"), ("Connection", "close"), ("Content-Length", str(len(body))),
        *raw.signed(method, path, body, **headers).items(),
    ]  # fmt: skip


def test_signed_request_is_answered(address):
    """The control: sent like this, a request is fine."""
    server, raw = address

    read = exchange(server, request("GET", METERS, signed(raw)))
    written = exchange(
        server, request("POST", METERS, signed(raw, "POST", METERS, BODY), BODY)
    )

    assert (status_of(read), status_of(written)) == (200, 201)
    assert document_of(written)["data"]["meter_code"] == "tokens"


REPEATED = [
    "authorization",
    "x-realm-id",
    "idempotency-key",
    "content-digest",
    "x-principal-id",
]


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("second", ["same", "other"])
def test_repeated_header_is_refused(address, name, second):
    server, raw = address
    headers = signed(raw.bound(principal_id="acme"), "POST", METERS, BODY)
    [value] = [value for each, value in headers if each == name]

    received = exchange(
        server,
        request(
            "POST", METERS, [*headers, (name, value if second == "same" else "x")], BODY
        ),
    )

    assert status_of(received) in {400, 401, 404}
    assert document_of(received)["ok"] is False


def test_header_split_in_two_is_refused(address):
    """What looks like an injected header is one: and then the signature is of another request."""
    server, raw = address
    headers = signed(raw, x_user_id="u-1\r\nX-Principal-Id: acme")

    received = exchange(server, request("GET", METERS, headers))

    assert status_of(received) in {400, 401}


def get(raw, *extra, path=METERS, version="HTTP/1.1", method="GET"):
    return request(method, path, [*signed(raw, method, path), *extra], version=version)


BROKEN = {
    "NUL in a header": lambda raw: get(raw, ("X-User-Id", b"a\0b")),
    "bare CR in a header": lambda raw: get(raw, ("X-User-Id", b"a\rb")),
    "folded header": lambda raw: get(raw, ("X-User-Id", b"a\r\n b")),
    "space before the colon": lambda raw: get(raw, ("X-User-Id ", "a")),
    "header without a colon": lambda raw: get(raw).replace(b"\r\n\r\n", b"\r\nnonsense\r\n\r\n"),
    "header of 200 kB": lambda raw: get(raw, ("X-User-Id", "a" * 200_000)),
    "a thousand headers": lambda raw: get(raw, *((f"X-{number}", "a") for number in range(1000))),
    "address of 70 kB": lambda raw: get(raw, path=f"{METERS}/{'a' * 70_000}"),
    "line break in the address": lambda raw: get(raw, path=f"{METERS}/a\r\nb"),
    "raw NUL in the address": lambda raw: get(raw, path=f"{METERS}/a\0b"),
    "space in the address": lambda raw: get(raw, path=f"{METERS}/a b"),
    "no version": lambda raw: b"GET /mgt/v1/meters\r\n\r\n",
    "unknown version": lambda raw: get(raw, version="HTTP/9.9"),
    "garbage": lambda raw: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "both lengths": lambda raw: request(
        "POST", METERS, [*signed(raw, "POST", METERS, BODY), ("Transfer-Encoding", "chunked")], b"0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"
    ),
    "two lengths": lambda raw: request("POST", METERS, [*signed(raw, "POST", METERS, BODY), ("Content-Length", "5")], BODY),
    "negative length": lambda raw: request("POST", METERS, [("Host", "a"), ("Content-Length", "-1")], BODY),
    "length in words": lambda raw: request("POST", METERS, [("Host", "a"), ("Content-Length", "ten")], BODY),
    "length beyond 64 bits": lambda raw: request("POST", METERS, [("Host", "a"), ("Content-Length", "9" * 30)], BODY),
    "bad chunk": lambda raw: request("POST", METERS, [("Host", "a"), ("Transfer-Encoding", "chunked")], b"zz\r\nabc\r\n0\r\n\r\n"),
    "unknown coding": lambda raw: request("POST", METERS, [("Host", "a"), ("Transfer-Encoding", "identity, gzip")], BODY),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_request_is_refused(address, name):
    server, raw = address

    received = exchange(server, BROKEN[name](raw))

    status = status_of(received)
    assert status is None or 400 <= status < 500 or status == 505, received[:300]
    assert received.count(b"HTTP/1.1 2") == 0


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8"]
)
def test_too_many_parameters_are_refused(address, content_type):
    server, raw = address
    path = f"{METERS}?" + "&".join(f"a{number}=1" for number in range(3000))

    received = exchange(
        server,
        request("GET", path, signed(raw, "GET", path, content_type=content_type)),
    )

    document = document_of(received)
    assert (status_of(received), document["code"]) == (400, "VALIDATION.INVALID_INPUT")
    assert len(document["trace_id"]) == 32


@pytest.mark.parametrize(
    "charset", ["utf-16", "rot13", "idna", "punycode", "x" * 300, "hex"]
)
def test_odd_charset_of_a_read_changes_nothing(address, charset):
    server, raw = address
    path = f"{METERS}?active=true"

    received = exchange(
        server,
        request(
            "GET",
            path,
            signed(
                raw, "GET", path, content_type=f"application/json; charset={charset}"
            ),
        ),
    )

    assert status_of(received) == 200, received[-300:]


def test_body_in_chunks_is_refused(address):
    server, raw = address
    headers = [
        pair
        for pair in signed(raw, "POST", METERS, BODY)
        if pair[0] != "Content-Length"
    ]
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

    received = exchange(
        server,
        request("POST", METERS, [*headers, ("Transfer-Encoding", "chunked")], chunked),
    )

    document = document_of(received)
    assert (status_of(received), document["meta"]["field"]) == (
        400,
        "Transfer-Encoding",
    )


def test_body_cut_short_stores_nothing(address):
    server, raw = address
    headers = signed(raw, "POST", METERS, b'{"meter_code": "cut"}')

    exchange_half(server, request("POST", METERS, headers, b'{"meter'))

    received = exchange(
        server, request("GET", f"{METERS}?q=cut", signed(raw, "GET", f"{METERS}?q=cut"))
    )
    assert document_of(received)["data"]["items"] == []


def exchange_half(address, data):
    """Send bytes and hang up."""
    with closing(
        socket.create_connection((address.hostname, address.port), timeout=10)
    ) as connection:
        connection.sendall(data)


def test_services_pass_through_less_and_get_the_same_headers(address, settings):
    """As a request does that passes through everything, on the test client."""
    from django.test import Client

    server, _raw = address
    received = exchange(
        server, request("GET", "/health", [("Host", "a"), ("Connection", "close")])
    )
    told = {line.split(b": ")[0].decode().lower() for line in head_of(received)}

    all_of_it = {name.lower() for name in Client().get("/health").headers}
    assert len(settings.SERVICE_MIDDLEWARE) < len(settings.MIDDLEWARE) / 2
    assert told - {"server", "date", "connection"} == all_of_it
    assert {"x-trace-id", "x-frame-options", "x-content-type-options"} <= told


def head_of(received):
    """Return the header lines of an answer."""
    return received.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]


def test_server_still_serves(address):
    """After all of the above, in whatever order."""
    server, _raw = address
    exchange_half(
        server,
        b"POST /mgt/v1/meters HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n",
    )

    received = exchange(
        server, request("GET", "/health", [("Host", "a"), ("Connection", "close")])
    )

    assert (status_of(received), document_of(received)["data"]) == (
        200,
        {"database": "up"},
    )
