"""Requests over asyncio. A task that is cancelled ends its connection at once."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import time
from typing import Any, List, Optional, Tuple

from .. import _http1
from .._settings import Settings
from .._transport import IDLE, MOST_IDLE, PIECE, Broken, Late, TooLarge, connect_request, keep_alive

sleep = asyncio.sleep


class Lock:
    """A lock that is made for the loop in which it is used, and not for that of its maker."""

    def __init__(self) -> None:
        self._made: "Optional[Tuple[asyncio.AbstractEventLoop, asyncio.Lock]]" = None

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        if self._made is None or self._made[0] is not loop:
            self._made = (loop, asyncio.Lock())
        await self._made[1].acquire()

    async def __aexit__(self, *exc: object) -> None:
        assert self._made is not None
        self._made[1].release()


async def finished(result: Any) -> None:
    """Waits for what a function of the user's returned, if it is to be waited for."""
    if inspect.isawaitable(result):
        await result


class _Connection(asyncio.Protocol):
    """What came on a connection, for one reader who waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Optional[asyncio.Transport] = None
        self._received = bytearray()
        self._ended = False
        self._lost: Optional[BaseException] = None
        self._waiter: "Optional[asyncio.Future[None]]" = None
        self._room: "Optional[asyncio.Future[None]]" = None
        self._late = False
        self.since = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > 4 * PIECE and self._transport is not None:
            self._transport.pause_reading()
        self._wake(self._waiter)

    def eof_received(self) -> bool:
        self._ended = True
        self._wake(self._waiter)
        return False

    def connection_lost(self, exc: Optional[BaseException]) -> None:
        self._ended, self._lost = True, exc
        self._wake(self._waiter)
        self._wake(self._room)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        self._wake(self._room)
        self._room = None

    @staticmethod
    def _wake(waiter: "Optional[asyncio.Future[None]]") -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What we call.

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def quiet(self) -> bool:
        """Whether nothing came since the last answer: an end, or what we do not expect."""
        return not (self._ended or self._received or self.transport.is_closing())

    async def send(self, request: _http1.Request, deadline: float) -> None:
        self.transport.write(request.reveal())
        if self._room is not None:
            await self._wait(self._room, deadline)

    async def receive(self, deadline: float) -> bytes:
        """Returns what came, and b"" at the end of the connection."""
        if not self._received and not self._ended:
            self._waiter = self._loop.create_future()
            try:
                await self._wait(self._waiter, deadline)
            finally:
                self._waiter = None
        if self._received:
            data = bytes(self._received)
            self._received.clear()
            if not self._ended and not self.transport.is_closing():
                self.transport.resume_reading()
            return data
        if self._lost is not None:
            raise self._lost
        return b""

    async def _wait(self, waiter: "asyncio.Future[None]", deadline: float) -> None:
        timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._too_late, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
        if self._late:
            raise asyncio.TimeoutError()

    def _too_late(self, waiter: "asyncio.Future[None]") -> None:
        self._late = True
        self._wake(waiter)

    def close(self) -> None:
        # Not close, which waits until what is written is sent.
        if self._transport is not None and not self._loop.is_closed():
            self._transport.abort()


class AsyncExchange:
    """A request that was sent, and the answer to it, of which the head is there."""

    def __init__(self, transport: "AsyncTransport", connection: _Connection, answer: _http1.Answer) -> None:
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

    async def begin(self, deadline: float) -> None:
        """Waits for the head."""
        while not self._answer.status:
            self._body += await self._receive(deadline)

    async def read(self, most: int, deadline: float) -> bytes:
        """Returns the whole body, and leaves the connection to the next request."""
        while not self._answer.done and len(self._body) <= most:
            self._body += await self._receive(deadline)
        if len(self._body) > most:
            self.close()
            raise TooLarge()
        if self._answer.reusable:
            self._transport.keep(self._connection)
        else:
            self.close()
        return bytes(self._body)

    async def piece(self, patience: float) -> bytes:
        """Returns what of the body comes next, b"" at its end."""
        body = bytes(self._body)
        self._body.clear()
        while not body and not self._answer.done:
            body = await self._receive(time.monotonic() + patience)
        if self._answer.done and not body:
            self.close()
        return body

    async def _receive(self, deadline: float) -> bytes:
        try:
            return self._answer.receive(await self._connection.receive(deadline))
        except BaseException as error:
            self.close()
            raise _told(error, sent=True) from None

    def close(self) -> None:
        self._connection.close()


class AsyncTransport:
    """Connections to one server, for the tasks of one event loop at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: List[_Connection] = []
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._closed = False

    async def send(self, request: _http1.Request, timeout: float) -> AsyncExchange:
        """Sends a request, and waits for the head of the answer."""
        deadline = time.monotonic() + timeout
        connection = self._take() or await self._connect(deadline)
        exchange = AsyncExchange(self, connection, _http1.Answer(request.method))
        try:
            await connection.send(request, deadline)
        except BaseException as error:
            exchange.close()
            raise _told(error, sent=True) from None
        await exchange.begin(deadline)
        return exchange

    def _take(self) -> Optional[_Connection]:
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Those of a loop that has ended, as of an earlier asyncio.run, are of no use.
            self._abandon()
            self._loop = loop
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.since < IDLE and connection.quiet():
                return connection
            connection.close()
        return None

    def keep(self, connection: _Connection) -> None:
        if self._closed or connection._loop is not self._loop or len(self._idle) >= MOST_IDLE:
            connection.close()
            return
        connection.since = time.monotonic()
        self._idle.append(connection)

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        left = max(0.001, min(deadline - time.monotonic(), self._settings.connect_timeout))
        try:
            return await asyncio.wait_for(self._dial(loop), left)
        except BaseException as error:
            raise _told(error, sent=False) from None

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        s = self._settings
        connection = _Connection(loop)
        try:
            if s.proxy is None:
                name = s.origin.host if s.ssl_context is not None else None
                await loop.create_connection(lambda: connection, s.origin.host, s.origin.port, ssl=s.ssl_context, server_hostname=name)
                return connection
            await loop.create_connection(lambda: connection, s.proxy.host, s.proxy.port)
            request, answer = connect_request(s.origin, s.proxy), _http1.Answer("CONNECT")
            far = time.monotonic() + s.connect_timeout
            await connection.send(request, far)
            while not answer.status:
                answer.receive(await connection.receive(far))
            if not answer.connected:
                raise Broken(f"the proxy answered {answer.status}", sent=False)
            if s.ssl_context is None:
                return connection
            inner = _Connection(loop)
            secured = await loop.start_tls(connection.transport, inner, s.ssl_context, server_hostname=s.origin.host)
            if secured is None:
                raise Broken("the connection ended", sent=False)
            inner.connection_made(secured)
            return inner
        except BaseException:
            connection.close()
            raise

    def _abandon(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                connection.close()
            except RuntimeError:
                pass  # its loop is closed

    async def close(self) -> None:
        self._closed = True
        self._abandon()


def _told(error: BaseException, sent: bool) -> BaseException:
    """Returns what callers are told of an error."""
    if isinstance(error, asyncio.TimeoutError):
        return Late(sent)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Broken(f"the server's certificate is not good: {error.verify_message}", sent, trusted=False)
    if isinstance(error, _http1.ProtocolError):
        return Broken(str(error), sent)
    if isinstance(error, OSError):
        return Broken(error.strerror or str(error) or type(error).__name__, sent)
    return error
