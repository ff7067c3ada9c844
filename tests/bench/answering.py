"""A server that says what the test wants it to."""

import contextlib
import re
import socket
import threading

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\n{"ok"\r\n6\r\n:true}\r\n0\r\n\r\n'
)
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\n" + b'{"ok":false}'
REQUEST = b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nping"


@contextlib.contextmanager
def answering(*answers, pieces=1):
    """Yield the port of a server that gives each connection these answers in turn.

    Each is sent in as many `pieces`. After the last one, or an empty one, the server
    closes the connection.
    """
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server, answers, pieces), daemon=True).start()
    with server:
        yield server.getsockname()[1]


def _serve(server, answers, pieces):
    with contextlib.suppress(OSError):
        while True:
            line, _ = server.accept()
            threading.Thread(
                target=_talk, args=(line, answers, pieces), daemon=True
            ).start()


def _talk(line, answers, pieces):
    with line, contextlib.suppress(OSError):
        for answer in answers:
            if not _asked(line) or not answer:
                return
            size = -(-len(answer) // pieces)
            for at in range(0, len(answer), size):
                line.sendall(answer[at : at + size])


def _asked(line):
    """Return whether a whole request came, and not the end."""
    received = b""
    while not _is_whole(received):
        chunk = line.recv(1 << 16)
        if not chunk:
            return False
        received += chunk
    return True


def _is_whole(received):
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: ([0-9]+)", head)
    return bool(end and length and len(body) == int(length[1]))
