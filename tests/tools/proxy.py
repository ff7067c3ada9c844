"""A proxy that cuts connections on their way, as networks do.

It forwards bytes between clients and a server until the cut it is armed with falls. Then
both sides of that connection are closed, and what was still to come is lost.
"""

import contextlib
import socket
import threading

CHUNK = 65536


class Cut:
    """After how many bytes in which direction: `up` to the server, `down` from it.

    Where `after` is given, the bytes are counted from when these have gone up.
    """

    def __init__(self, way, count, after=b""):
        self.way, self.left, self.after = way, count, after

    def passing(self, way, data):
        """Return how many of the bytes pass; fewer than all: the cut falls here."""
        if self.after:
            if way == "up" and self.after in data:
                self.after = b""
            return len(data)
        if way != self.way:
            return len(data)
        passing = min(len(data), self.left)
        self.left -= passing
        return passing


class Proxy:
    """Forwards its own port to an address: a path, or a host and a port."""

    def __init__(self, address):
        self.address, self.cuts = address, 0
        self.cut, self.stays_down, self.is_down = None, False, False
        self.lock, self.pairs = threading.Lock(), set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def arm(self, cut, *, stays_down=False):
        """Let a cut fall on what is sent from now on; None forwards everything.

        Where it `stays_down`, whoever connects after the cut is cut off at once, until
        it is armed again.
        """
        with self.lock:
            self.cut, self.stays_down, self.is_down = cut, stays_down, False

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.is_down:
                    client.close()
                    continue
                pair = client, self.connected()
                self.pairs.add(pair)
                for way, ends in (("up", pair), ("down", pair[::-1])):
                    given = way, *ends, pair
                    threading.Thread(target=self.pump, args=given, daemon=True).start()

    def connected(self):
        if not isinstance(self.address, str):
            return socket.create_connection(self.address)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.address)
        return server

    def pump(self, way, source, target, pair):
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                passing = self.passing(way, data)
                target.sendall(data[:passing])
                if passing < len(data):
                    break
        self.end(pair)

    def passing(self, way, data):
        with self.lock:
            if self.cut is None:
                return len(data)
            passing = self.cut.passing(way, data)
            if passing < len(data):
                self.cut, self.cuts = None, self.cuts + 1
                self.is_down = self.stays_down
            return passing

    def end(self, pair):
        self.pairs.discard(pair)
        for side in pair:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def close(self):
        self.listener.close()
        for pair in list(self.pairs):
            self.end(pair)


@contextlib.contextmanager
def proxy_to(address):
    found = Proxy(address)
    try:
        yield found
    finally:
        found.close()
