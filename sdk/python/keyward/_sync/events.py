# Written by unasync.py. Change keyward/_async/events.py and run it.
"""What happens in a run, told as it comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

from .. import _retry, _sse
from .._calls import Call, at, broken_error, late_error, stream_error, unexpected
from .._secret import Secret
from .._transport import Broken, Late
from ..errors import KeywardError, TransportError, UnavailableError
from ..models import Event, Run
from .transport import Exchange, sleep

if TYPE_CHECKING:
    from .client import Keyward

# The server says something at least every 15 seconds.
_PATIENCE = 45.0


class Events:
    """The events of a run, up to ``done``.

    A connection that breaks is made anew, and goes on after the last event that was
    seen: none is told twice, and none is left out. ``run_id`` is there as soon as the
    first event is, or the stream was entered::

        with client.runs.stream("invoices", query="overdue") as events:
            for event in events:
                print(event.type, event.data)

    Leaving it ends the telling, and not the run.
    """

    def __init__(self, client: "Keyward", call: Call, run_id: Optional[str], after: int) -> None:
        self._client = client
        self._call = call
        self._exchange: Optional[Exchange] = None
        self._messages = _sse.Messages()
        self._ready: List[_sse.Message] = []
        self._failures = 0
        self._over = False
        self._retry = 0.0  # after which the server wants to be asked again, in seconds
        self._credential: Optional[Secret] = None  # that it was opened with
        self.run_id = run_id
        self.last_event_id = after

    def __enter__(self) -> "Events":
        if self._exchange is None and not self._over:
            self._connect()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> "Events":
        return self

    def close(self) -> None:
        """Ends the telling. The run goes on."""
        self._over = True
        self._ready.clear()
        self._drop()

    def _drop(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    def __next__(self) -> Event:
        while True:
            while self._ready:
                event = self._event(self._ready.pop(0))
                if isinstance(event, Event):
                    return event
                if event is not None:
                    self._ready.clear()
                    self._drop()
                    self._again(event)
            if self._over:
                raise StopIteration
            if self._exchange is not None:
                self._read(self._exchange)
            elif self._failures == 0:
                self._connect()
            else:
                self._reconnect()

    def result(self) -> Run:
        """Reads to the end, and returns the run."""
        last: Optional[Run] = None
        for event in self:
            last = event.run or last
        if last is None and self.run_id is not None:
            last = self._client.runs.get(self.run_id)
        if last is None:
            raise unexpected(self._client.base_url, 200, "a run without an end")
        return last

    def _reconnect(self) -> None:
        failure: KeywardError
        try:
            return self._connect()
        except (TransportError, UnavailableError) as error:
            failure = error
        # A server that starts again takes a while.
        self._again(failure)

    def _connect(self) -> None:
        extra: Dict[str, str] = {}
        call = self._call
        if self.run_id is not None:
            # Never the call that starts a run: it is under way.
            call = Call("GET", at("/v1/runs/{id}/events", id=self.run_id), stream=True)
            if self.last_event_id:
                extra["Last-Event-ID"] = str(self.last_event_id)
        exchange = self._client._begin(call, extra)
        self._credential = self._client._held
        if exchange.status == 204:
            self._over = True
            exchange.close()
            return
        if exchange.headers.get("content-type").partition(";")[0].strip().lower() != "text/event-stream":
            exchange.close()
            raise unexpected(self._client.base_url, exchange.status, "not a stream of events")
        self._exchange = exchange
        self._messages = _sse.Messages()
        self.run_id = exchange.headers.get("x-run-id") or self.run_id

    def _read(self, exchange: Exchange) -> None:
        failure: KeywardError
        try:
            piece = exchange.piece(_PATIENCE)
            self._ready += self._messages.receive(piece)
            if self._messages.retry is not None:
                self._retry = self._messages.retry
            if piece:
                return
            failure = broken_error(self._client.base_url, Broken("the stream ended before the run did", sent=True))
        except Broken as broken:
            failure = broken_error(self._client.base_url, broken)
        except Late as late:
            failure = late_error(self._client.base_url, late)
        except _sse.TooLong:
            failure = unexpected(self._client.base_url, exchange.status, "an event that is too large")
        except BaseException:
            self._drop()
            raise
        self._drop()
        self._again(failure)

    def _again(self, failure: KeywardError) -> None:
        """Waits until the stream is opened again, or raises why it is not."""
        goes_on = isinstance(failure, (TransportError, UnavailableError))
        may = self.run_id is not None and self._failures <= self._client._settings.retries
        self._failures += 1
        if may and self._client._renewed(self._call, failure, self._credential):
            return
        if not goes_on or not may:
            self._over = True
            raise failure.with_traceback(None)
        sleep(min(self._retry, self._client._settings.longest_wait) + _retry.pause(self._failures - 1))

    def _event(self, message: _sse.Message) -> Union[Event, KeywardError, None]:
        """Returns the event that a message is, or why the stream can't go on; None if it was seen."""
        if message.event == "error" and not message.id:
            return stream_error(_json(message.data), self._client._secrets())
        data = _json(message.data)
        if data is _BROKEN or not (message.id.isascii() and message.id.isdigit() and len(message.id) <= 18):
            return unexpected(self._client.base_url, 200, "an event that is not JSON, or has no id")
        seq = int(message.id)
        if seq <= self.last_event_id:
            return None
        self.last_event_id, self._failures = seq, 0
        if message.event == "start" and self.run_id is None and isinstance(data, dict):
            self.run_id = str(data.get("run_id", "")) or None
        if message.event == "done":
            self._over = True
            self._ready.clear()
            self._drop()
        return Event(seq, message.event, data)


_BROKEN = object()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN
