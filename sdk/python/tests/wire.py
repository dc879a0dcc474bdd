"""Servers that are not Keyward, or not as it should be."""

from __future__ import annotations

import socket
import threading
from typing import Callable, List, Optional, Union
from urllib.parse import urlsplit


class Listener:
    """Takes connections on a free port of this machine, each in a thread."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self._open: List[socket.socket] = []
        self._lock = threading.Lock()
        self._over = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            if self._over:
                return connection.close()
            with self._lock:
                self.connections += 1
                self._open.append(connection)
                number = self.connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            self.serve(connection, number)
        except OSError:
            pass
        finally:
            end(connection)

    def serve(self, connection: socket.socket, number: int) -> None:
        raise NotImplementedError

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, *exc: object) -> None:
        # Not closed while it is accepted on: another listener may get its number.
        self._over = True
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            pass
        self._accepting.join(5)
        self.socket.close()
        with self._lock:
            for connection in self._open:
                end(connection)


def end(connection: socket.socket) -> None:
    """Ends a connection, also while another thread reads it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


Reply = Union[bytes, Callable[[socket.socket], None]]


class Script(Listener):
    """Answers each request with the next of its replies, the last one again and again.

    ``requests`` are those that came.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: List[bytes] = []
        super().__init__()

    def serve(self, connection: socket.socket, number: int) -> None:
        held = b""
        while True:
            request, held = read_request(connection, held)
            if request is None:
                return
            with self._lock:
                self.requests.append(request)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            if callable(reply):
                return reply(connection)
            connection.sendall(reply)
            if b"Connection: close" in reply:
                return


def read_request(connection: socket.socket, held: bytes) -> "tuple[Optional[bytes], bytes]":
    while b"\r\n\r\n" not in held:
        more = connection.recv(65536)
        if not more:
            return None, b""
        held += more
    head, _, rest = held.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(rest) < length:
        more = connection.recv(65536)
        if not more:
            return None, b""
        rest += more
    return head + b"\r\n\r\n" + rest[:length], rest[length:]


class Cutter(Listener):
    """Passes on to a server, and cuts each connection after so many bytes of its answer.

    Each cut is a little later than the one before, so that it comes to an end, and
    nobody is told to wait before he comes again.
    """

    def __init__(self, server: str, cut: int) -> None:
        parts = urlsplit(server)
        self.server = (parts.hostname, parts.port)
        self.cut = cut
        super().__init__()

    def serve(self, connection: socket.socket, number: int) -> None:
        with socket.create_connection(self.server) as there:  # type: ignore[arg-type]
            threading.Thread(target=_pass_on, args=(connection, there), daemon=True).start()
            left = self.cut * number
            while left > 0:
                data = there.recv(min(65536, left))
                if not data:
                    return
                left -= len(data)
                connection.sendall(data.replace(b"retry: 2000", b"retry: 0001"))


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    try:
        while True:
            data = one.recv(65536)
            if not data:
                return
            other.sendall(data)
    except OSError:
        pass
