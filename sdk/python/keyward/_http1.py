"""HTTP/1.1 as far as a client of Keyward needs it, without any input or output.

Both transports, the one of sockets and the one of asyncio, read answers through
this, so that they understand the same. What is ambiguous is refused and not
guessed at: two readers that guess differently are how answers get mixed up.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Optional, Tuple

from ._secret import Secret

_MAX_HEAD = 64 << 10
_MAX_CHUNK_LINE = 4 << 10

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n\0]*)?\Z")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_SAFE_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")


class ProtocolError(Exception):
    """What came is not HTTP/1.1, or not as we read it."""


class Request:
    """A request as it is sent. It holds keys, and never prints."""

    __slots__ = ("method", "target", "_head", "_body")

    def __init__(self, method: str, target: str, headers: List[Tuple[str, Secret]], body: Optional[Secret]) -> None:
        self.method = method
        self.target = target
        lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
        for name, value in headers:
            lines.append(name.encode("ascii") + b": " + value.reveal())
        if body is not None or method in ("POST", "PUT", "PATCH"):
            lines.append(b"Content-Length: %d" % (len(body.reveal()) if body is not None else 0))
        self._head = Secret(b"\r\n".join(lines) + b"\r\n\r\n")
        self._body = body

    def reveal(self) -> bytes:
        return self._head.reveal() + (self._body.reveal() if self._body is not None else b"")

    def __repr__(self) -> str:
        return f"<request {self.method} {self.target.partition('?')[0]}>"


def is_header_value(text: str) -> bool:
    """Whether text can stand in a header as it is."""
    return _SAFE_VALUE.match(text) is not None


class Headers:
    """The headers of an answer, in any letter case."""

    def __init__(self) -> None:
        self._all: Dict[str, List[str]] = {}

    def add(self, name: str, value: str) -> None:
        self._all.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str:
        return ", ".join(self._all.get(name.lower(), []))

    def values(self, name: str) -> List[str]:
        return self._all.get(name.lower(), [])


class Answer:
    """Reads one answer. ``receive`` takes what came, and returns what of it is body.

    ``status`` is 0 until the head is there. ``done`` says that the answer is whole,
    and ``reusable`` that the connection may carry another.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._held = bytearray()
        self._step: Callable[[bytearray], bool] = self._read_head
        self._left = 0
        self._keep = True
        self.status = 0
        self.headers = Headers()
        self.done = False

    @property
    def reusable(self) -> bool:
        return self.done and self._keep and not self._held

    @property
    def connected(self) -> bool:
        """Whether a proxy that was asked for a connection has made it."""
        return self.done and self.status < 300 and not self._held

    def receive(self, data: bytes) -> bytes:
        """Takes data, of which b"" is the end of the connection."""
        if not data:
            return self._end()
        self._held += data
        body = bytearray()
        while not self.done and self._step(body):
            pass
        return bytes(body)

    def _end(self) -> bytes:
        self._keep = False
        if self._step == self._read_rest:
            self.done = True
        elif not self.done:
            raise ProtocolError("the connection ended before the answer did")
        return b""

    def _line(self, most: int) -> Optional[bytes]:
        end = self._held.find(b"\r\n")
        if end > most or (end < 0 and len(self._held) > most + 1):  # the CR alone may be there
            raise ProtocolError("a line is too long")
        if end < 0:
            return None
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        return line

    def _read_head(self, body: bytearray) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end > _MAX_HEAD or (end < 0 and len(self._held) > _MAX_HEAD):
            raise ProtocolError("the head is too large")
        if end < 0:
            if self._held and not b"HTTP/1.".startswith(bytes(self._held[:7])):
                raise ProtocolError("not an answer of HTTP/1.1")
            return False
        lines = bytes(self._held[:end]).split(b"\r\n")
        del self._held[: end + 4]
        version = _STATUS_LINE.match(lines[0])
        if version is None:
            raise ProtocolError("not an answer of HTTP/1.1")
        status, headers = int(version[2]), _headers(lines[1:])
        if status == 101:
            raise ProtocolError("another protocol")
        if status < 200:
            return True
        self.status, self.headers = status, headers
        self._keep = version[1] == b"1" and "close" not in headers.get("connection").lower()
        self._step = self._framing()
        return True

    def _framing(self) -> "Callable[[bytearray], bool]":
        lengths = set(self.headers.values("content-length"))
        encodings = self.headers.values("transfer-encoding")
        if self._method == "HEAD" or self.status in (204, 304) or (self._method == "CONNECT" and self.status < 300):
            self.done = True
            return self._read_sized
        if encodings:
            if lengths or len(encodings) > 1 or encodings[0].lower() != "chunked":
                raise ProtocolError("the length of the answer is not clear")
            return self._read_chunk_size
        if lengths:
            text = lengths.pop()
            if lengths or not (text.isascii() and text.isdigit()) or len(text) > 18:
                raise ProtocolError("the length of the answer is not clear")
            self._left = int(text)
            self.done = self._left == 0
            return self._read_sized
        self._keep = False
        return self._read_rest

    def _take(self, body: bytearray) -> bool:
        piece = self._held[: self._left]
        body += piece
        del self._held[: len(piece)]
        self._left -= len(piece)
        return self._left == 0

    def _read_sized(self, body: bytearray) -> bool:
        self.done = self._take(body)
        return False

    def _read_rest(self, body: bytearray) -> bool:
        body += self._held
        self._held.clear()
        return False

    def _read_chunk_size(self, body: bytearray) -> bool:
        line = self._line(_MAX_CHUNK_LINE)
        if line is None:
            return False
        size = line.partition(b";")[0].strip(b" \t")
        if not re.match(rb"[0-9a-fA-F]{1,15}\Z", size):
            raise ProtocolError("a chunk has no size")
        self._left = int(size, 16)
        self._step = self._read_chunk if self._left else self._read_trailers
        return True

    def _read_chunk(self, body: bytearray) -> bool:
        if not self._take(body):
            return False
        self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self, body: bytearray) -> bool:
        line = self._line(0)
        if line is None:
            return False
        self._step = self._read_chunk_size
        return True

    def _read_trailers(self, body: bytearray) -> bool:
        line = self._line(_MAX_HEAD)
        if line is None:
            return False
        self.done = not line
        return True


def _headers(lines: List[bytes]) -> Headers:
    headers = Headers()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.match(name) or b"\0" in value or b"\n" in value or b"\r" in value:
            raise ProtocolError("a header is broken")
        headers.add(name.decode("ascii"), value.strip(b" \t").decode("latin-1"))
    return headers
