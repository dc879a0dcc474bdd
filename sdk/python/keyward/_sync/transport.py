"""Requests over sockets."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from typing import List, Optional, Tuple

from .. import _http1
from .._settings import Settings
from .._transport import IDLE, MOST_IDLE, PIECE, Broken, Late, TooLarge, connect_request, keep_alive

sleep = time.sleep
Lock = threading.Lock


def finished(result: object) -> None:
    """A function of the user's has ended when it returns."""


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.since = 0.0

    def quiet(self) -> bool:
        """Whether nothing came since the last answer: an end, or what we do not expect."""
        poll = select.poll() if hasattr(select, "poll") else None
        if poll is None:
            return not select.select([self.sock], [], [], 0)[0]
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        try:
            self.sock.close()
        except OSError:
            pass


class Exchange:
    """A request that was sent, and the answer to it, of which the head is there."""

    def __init__(self, transport: "Transport", connection: _Connection, answer: _http1.Answer) -> None:
        self._transport = transport
        self._connection = connection
        self._answer = answer
        self._body = bytearray()  # not a variable of what reads it, which a traceback may show

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> _http1.Headers:
        return self._answer.headers

    def begin(self, deadline: float) -> None:
        """Waits for the head."""
        while not self._answer.status:
            self._body += self._receive(deadline)

    def read(self, most: int, deadline: float) -> bytes:
        """Returns the whole body, and leaves the connection to the next request."""
        while not self._answer.done and len(self._body) <= most:
            self._body += self._receive(deadline)
        if len(self._body) > most:
            self.close()
            raise TooLarge()
        if self._answer.reusable:
            self._transport.keep(self._connection)
        else:
            self.close()
        return bytes(self._body)

    def piece(self, patience: float) -> bytes:
        """Returns what of the body comes next, b"" at its end."""
        body = bytes(self._body)
        self._body.clear()
        while not body and not self._answer.done:
            body = self._receive(time.monotonic() + patience)
        if self._answer.done and not body:
            self.close()
        return body

    def _receive(self, deadline: float) -> bytes:
        try:
            self._connection.sock.settimeout(_left(deadline))
            return self._answer.receive(self._connection.sock.recv(PIECE))
        except BaseException as error:
            self.close()
            raise _told(error, sent=True) from None

    def close(self) -> None:
        self._connection.close()


class Transport:
    """Connections to one server. It may be used by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._idle: List[_Connection] = []
        self._process = os.getpid()
        self._closed = False

    def send(self, request: _http1.Request, timeout: float) -> Exchange:
        """Sends a request, and waits for the head of the answer."""
        deadline = time.monotonic() + timeout
        connection = self._take() or self._connect(deadline)
        exchange = Exchange(self, connection, _http1.Answer(request.method))
        try:
            connection.sock.settimeout(_left(deadline))
            connection.sock.sendall(request.reveal())
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server that refuses a request may answer before it is sent
        except BaseException as error:
            exchange.close()
            raise _told(error, sent=True) from None
        exchange.begin(deadline)
        return exchange

    def _take(self) -> Optional[_Connection]:
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._process != os.getpid():
                # After a fork they are the parent's, who goes on using them: closing them
                # here does not end them.
                for connection in self._idle:
                    connection.close()
                self._idle, self._process = [], os.getpid()
            while self._idle:
                connection = self._idle.pop()
                if time.monotonic() - connection.since < IDLE and connection.quiet():
                    return connection
                connection.close()
        return None

    def keep(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and self._process == os.getpid() and len(self._idle) < MOST_IDLE:
                connection.since = time.monotonic()
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self, deadline: float) -> _Connection:
        s = self._settings
        at = (s.proxy.host, s.proxy.port) if s.proxy else (s.origin.host, s.origin.port)
        deadline = min(deadline, time.monotonic() + s.connect_timeout)
        sock: Optional[socket.socket] = None
        try:
            sock = _dial(at, deadline)
            if s.proxy is not None:
                _through(sock, connect_request(s.origin, s.proxy), deadline)
            if s.ssl_context is not None:
                sock.settimeout(_left(deadline))
                sock = s.ssl_context.wrap_socket(sock, server_hostname=s.origin.host)
            return _Connection(sock)
        except BaseException as error:
            if sock is not None:
                sock.close()
            raise _told(error, sent=False) from None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _dial(at: Tuple[str, int], deadline: float) -> socket.socket:
    sock = socket.create_connection(at, _left(deadline))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(sock)
    return sock


def _through(sock: socket.socket, request: _http1.Request, deadline: float) -> None:
    sock.settimeout(_left(deadline))
    sock.sendall(request.reveal())
    answer = _http1.Answer("CONNECT")
    while not answer.status:
        sock.settimeout(_left(deadline))
        answer.receive(sock.recv(PIECE))
    if not answer.connected:
        raise Broken(f"the proxy answered {answer.status}", sent=False)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout()
    return left


def _told(error: BaseException, sent: bool) -> BaseException:
    """Returns what callers are told of an error."""
    if isinstance(error, socket.timeout):  # TimeoutError, from Python 3.10 on
        return Late(sent)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Broken(f"the server's certificate is not good: {error.verify_message}", sent, trusted=False)
    if isinstance(error, _http1.ProtocolError):
        return Broken(str(error), sent)
    if isinstance(error, OSError):
        return Broken(error.strerror or str(error) or type(error).__name__, sent)
    return error
