"""Server-sent events as they come, without any input or output."""

from __future__ import annotations

from typing import List, NamedTuple, Optional

# An event of Keyward has at most a run's output in it, which is smaller.
_MAX_EVENT = 32 << 20


class TooLong(Exception):
    """An event is larger than any of Keyward's."""


class Message(NamedTuple):
    id: str
    event: str
    data: str


class Messages:
    """Reads events. ``receive`` takes what came, and returns the events that are whole."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._after_cr = False
        self._size = 0
        self._id = ""
        self._event = ""
        self._data: List[str] = []
        self.retry: Optional[float] = None  # seconds

    def receive(self, data: bytes) -> List[Message]:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        found: List[Message] = []
        for piece in data.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            self._hold(line)
            if len(line) == len(piece):
                break  # the rest of it is to come
            whole = bytes(self._held)
            self._held.clear()
            message = self._line(whole.decode("utf-8", "replace"))
            if message is not None:
                found.append(message)
        return found

    def _hold(self, piece: bytes) -> None:
        self._held += piece
        self._size += len(piece)
        if self._size > _MAX_EVENT:
            raise TooLong()

    def _line(self, line: str) -> Optional[Message]:
        if not line:
            message = Message(self._id, self._event or "message", "\n".join(self._data)) if self._data else None
            self._id, self._event, self._data, self._size = "", "", [], 0
            return message
        name, _, value = line.partition(":")
        if value.startswith(" "):
            value = value[1:]
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 10:
            self.retry = int(value) / 1000
        return None

