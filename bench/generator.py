"""The load generator: one process, one loop, requests that are bytes already.

It shares the machine with what it measures, so that it does as little as it can: it
sends what was built before, reads the status line and the length of an answer, and
looks for one marker in its body.
"""

import gc
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.figures import Sample

READ_BYTES = 256 * 1024
SILENCE_SECONDS = 30
SHOWN = 600
_END_OF_HEAD = b"\r\n\r\n"
_END_OF_CHUNKS = b"\r\n0\r\n\r\n"
_LENGTH = b"content-length:"
_CHUNKED = -1


@dataclass(frozen=True, slots=True)
class Expected:
    """The answer that counts as right: its status, and what its body contains."""

    status: int = 200
    marker: bytes = b'"ok":true'

    def is_met_by(self, status: int, body: bytes) -> bool:
        """Return whether an answer is the expected one."""
        return status == self.status and self.marker in body


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: each request once, in order, over as many connections as given.

    `follow` makes a second request from the answer to the first, by the first one's
    place; both are then one operation, and `items` of them are counted per request.
    """

    requests: Sequence[bytes]
    expected: Expected
    follow: Callable[[int, bytes], bytes] | None = None
    then: Expected = field(default_factory=Expected)
    items: int = 1


@dataclass(slots=True)
class _Line:
    """One connection and the request that is under way on it."""

    sock: socket.socket
    place: int = 0
    began_ns: int = 0
    second: bool = False
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    body_at: int = 0
    needed: int = 0


class _Run:
    """One measurement under way."""

    def __init__(self, port: int, load: Load, deadline_ns: int) -> None:
        self.port = port
        self.load = load
        self.deadline_ns = deadline_ns
        self.selector = selectors.DefaultSelector()
        self.next_place = 0
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.latencies: list[int] = []
        self.statuses: Counter[int] = Counter()
        self.errors = 0
        self.first_error: str | None = None

    def open(self) -> _Line:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        line = _Line(sock)
        self.selector.register(sock, selectors.EVENT_READ, line)
        return line

    def close(self, line: _Line) -> None:
        self.selector.unregister(line.sock)
        line.sock.close()

    def send_next(self, line: _Line) -> None:
        """Send the next request, or end the line where there is none to send."""
        began = time.perf_counter_ns()
        place = self.next_place
        if place == len(self.load.requests) or began >= self.deadline_ns:
            self.close(line)
            return
        self.next_place = place + 1
        line.place, line.began_ns, line.second = place, began, False
        self.send(line, self.load.requests[place])

    def send(self, line: _Line, request: bytes) -> None:
        line.needed = 0
        line.unsent = memoryview(request)
        self.push(line)
        if line.unsent:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self.selector.modify(line.sock, both, line)

    def push(self, line: _Line) -> None:
        try:
            line.unsent = line.unsent[line.sock.send(line.unsent) :]
        except BlockingIOError:
            return

    def ready(self, line: _Line, events: int) -> None:
        """Go on with a line that can be written or read."""
        if events & selectors.EVENT_WRITE:
            self.push(line)
            if not line.unsent:
                self.selector.modify(line.sock, selectors.EVENT_READ, line)
        if not events & selectors.EVENT_READ:
            return
        try:
            size = line.sock.recv_into(self.buffer)
        except ConnectionError:
            size = 0
        if not size:
            self.lost(line)
            return
        line.received += self.buffer[:size]
        if is_whole(line):
            self.answered(line)

    def answered(self, line: _Line) -> None:
        """Judge a whole answer, and send what comes next on its line."""
        ended = time.perf_counter_ns()
        status = int(line.received[9:12])
        body = bytes(line.received[line.body_at :])
        if line.needed == _CHUNKED:
            body = joined(body)
        line.received.clear()
        self.statuses[status] += 1
        load = self.load
        expected = load.then if line.second else load.expected
        right = expected.is_met_by(status, body)
        if not right:
            self.failed(f"{status} {body[:SHOWN].decode(errors='replace')}")
        elif load.follow is not None and not line.second:
            line.second = True
            self.send(line, load.follow(line.place, body))
            return
        if right:
            self.latencies.append(ended - line.began_ns)
        self.send_next(line)

    def lost(self, line: _Line) -> None:
        self.failed("the server closed the connection")
        self.close(line)
        if self.errors < len(self.load.requests):
            self.send_next(self.open())

    def failed(self, what: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or what

    def loop(self) -> None:
        while self.selector.get_map():
            events = self.selector.select(SILENCE_SECONDS)
            if not events:
                self.failed(f"the server was silent for {SILENCE_SECONDS} seconds")
                break
            for key, mask in events:
                self.ready(key.data, mask)


def is_whole(line: _Line) -> bool:
    """Return whether a line has received its answer to the end."""
    if not line.needed:
        end = line.received.find(_END_OF_HEAD)
        if end < 0:
            return False
        line.body_at = end + len(_END_OF_HEAD)
        head = bytes(line.received[:end]).lower()
        _, found, rest = head.partition(_LENGTH)
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        line.needed = line.body_at + length if found else _CHUNKED
    if line.needed == _CHUNKED:
        return line.received.endswith(_END_OF_CHUNKS)
    return len(line.received) >= line.needed


def joined(chunks: bytes) -> bytes:
    """Return a body that came in chunks, without what frames them."""
    parts: list[bytes] = []
    while True:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return b"".join(parts)
        parts.append(rest[:length])
        chunks = rest[length + 2 :]


def measure(
    port: int, load: Load, *, connections: int, seconds: float
) -> tuple[Sample, Counter[int]]:
    """Send a load to the server on a port of this machine; return what it came to.

    Each connection has one request under way at a time, for `seconds` or until every
    request was sent. Also returns how often each HTTP status was answered. Wrong
    answers count as errors, and not as operations.
    """
    run = _Run(port, load, deadline_ns=0)
    lines = [run.open() for _ in range(connections)]
    gc.collect()
    gc.disable()
    began, cpu = time.perf_counter_ns(), time.process_time_ns()
    run.deadline_ns = began + int(seconds * 1e9)
    try:
        for line in lines:
            run.send_next(line)
        run.loop()
    finally:
        gc.enable()
        elapsed = max(1, time.perf_counter_ns() - began)
        used = time.process_time_ns() - cpu
        for key in list(run.selector.get_map().values()):
            run.close(key.data)
        run.selector.close()
    return Sample(
        operations=len(run.latencies) * load.items,
        seconds=elapsed / 1e9,
        latencies_ns=run.latencies,
        errors=run.errors,
        generator_cpu=used / elapsed,
        first_error=run.first_error,
    ), run.statuses
