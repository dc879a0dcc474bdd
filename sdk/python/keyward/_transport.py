"""What both transports have in common."""

from __future__ import annotations

import socket

from . import _http1
from ._secret import Secret
from ._settings import Origin, Proxy

PIECE = 64 << 10

# A server closes a connection that idles for two minutes, and what is between often
# sooner. One that is closed while a request is on its way loses it.
IDLE = 20.0

# How many are kept for later calls, after many at once.
MOST_IDLE = 64


def keep_alive(sock: socket.socket) -> None:
    """Has the system ask whether the other side is there, while an agent works for an hour.

    What is between forgets a connection on which nothing is said.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Broken(Exception):
    """There is no connection, or it broke. ``sent`` says whether the request may have arrived."""

    def __init__(self, why: str, sent: bool, trusted: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.sent = sent
        self.trusted = trusted  # its certificate is as good as it was asked for


class Late(Exception):
    """It takes too long."""

    def __init__(self, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class TooLarge(Exception):
    """The answer is larger than allowed."""


def connect_request(origin: Origin, proxy: Proxy) -> _http1.Request:
    """Returns what asks a proxy to connect to the server."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    headers = [("Host", Secret(target.encode("ascii")))]
    if proxy.authorization is not None:
        headers.append(("Proxy-Authorization", proxy.authorization))
    return _http1.Request("CONNECT", target, headers, None)
