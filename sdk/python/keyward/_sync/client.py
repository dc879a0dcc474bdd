# Written by unasync.py. Change keyward/_async/client.py and run it.
"""The client of a server."""

from __future__ import annotations

import os
import ssl
import sys
import time
from typing import Dict, Optional, Type, TypeVar

from .. import _http1, _retry, _settings
from .._calls import Call, answer_error, body_text, broken_error, late_error, parse, too_large_error
from .._secret import Secret
from .._transport import Broken, Late, TooLarge
from .._version import __version__
from ..errors import KeywardError
from ..signing import Signer
from .nouns import (
    Accounts,
    Agents,
    Alerts,
    Audit,
    Auth,
    AuthProfiles,
    Keys,
    KeyUsages,
    Organizations,
    Runs,
    Server,
)
from .transport import Exchange, Transport, sleep

T = TypeVar("T")


class Keyward:
    """A client of a Keyward server.

    ``base_url`` is the server's address, or else that in ``KEYWARD_SERVER``, or else
    ``http://127.0.0.1:8080``. The credential is ``api_key`` or ``access_token``, or
    else the key in ``KEYWARD_API_KEY`` or ``RUNAGENT_API_KEY``. With a
    ``signing_secret`` every request is signed.

    ``timeout`` is for how many seconds an answer is waited for, and
    ``connect_timeout`` a connection. What is safe to repeat is repeated up to
    ``max_retries`` times, after the time that the server says, unless that is more
    than ``max_retry_wait`` seconds. An answer may have ``max_answer_bytes``.

    ``http://`` is for this machine alone unless ``allow_http`` says otherwise. No
    proxy is used but ``proxy``, and certificates are always checked, by
    ``ssl_context`` if it is given. No redirect is followed.

    ::

        with Keyward("https://keyward.example.com", api_key=key) as client:
            for agent in client.agents.list():
                print(agent.id)
    """

    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        api_key: Optional[str] = None,
        access_token: Optional[str] = None,
        signing_secret: Optional[str] = None,
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        max_retries: int = 2,
        max_retry_wait: float = 30.0,
        max_answer_bytes: int = 64 << 20,
        allow_http: bool = False,
        proxy: Optional[str] = None,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        if api_key is None and access_token is None:
            api_key = _settings.key_of_environment(os.environ)
        elif api_key is not None and access_token is not None:
            raise ValueError("give api_key or access_token, not both")
        self._credential = _settings.credential("access_token" if access_token is not None else "api_key", access_token if access_token is not None else api_key)
        self._signing_secret = _settings.credential("signing_secret", signing_secret)
        origin = _settings.origin(base_url, allow_http)
        if max_retries < 0:
            raise ValueError("max_retries must not be below 0")
        settings = _settings.Settings(
            origin=origin,
            timeout=_settings.positive("timeout", timeout),
            connect_timeout=_settings.positive("connect_timeout", connect_timeout),
            max_retries=max_retries,
            max_retry_wait=max_retry_wait,
            max_answer_bytes=max_answer_bytes,
            proxy=_settings.proxy_of(proxy),
            ssl_context=_settings.tls(ssl_context, origin.secure),
        )
        self._start(settings, Transport(settings))

    def _start(self, settings: _settings.Settings, transport: Transport) -> None:
        self._owner = True
        self._settings = settings
        self._signer = Signer(self._signing_secret) if self._signing_secret else None
        self._transport = transport
        self._agent = _settings.user_agent(__version__, sys.version_info[:2])
        self.accounts = Accounts(self)
        self.agents = Agents(self)
        self.alerts = Alerts(self)
        self.audit = Audit(self)
        self.auth = Auth(self)
        self.auth_profiles = AuthProfiles(self)
        self.keys = Keys(self)
        self.organizations = Organizations(self)
        self.runs = Runs(self)
        self.server = Server(self)
        self.usage = KeyUsages(self)

    def with_credential(
        self,
        *,
        api_key: Optional[str] = None,
        access_token: Optional[str] = None,
        signing_secret: Optional[str] = None,
    ) -> "Keyward":
        """Returns a client of the same server for somebody else, or for nobody.

        It uses the connections of this one, and is closed with it.
        """
        if api_key is not None and access_token is not None:
            raise ValueError("give api_key or access_token, not both")
        other = object.__new__(type(self))
        other._credential = _settings.credential("access_token" if access_token is not None else "api_key", access_token if access_token is not None else api_key)
        other._signing_secret = _settings.credential("signing_secret", signing_secret)
        other._start(self._settings, self._transport)
        other._owner = False
        return other

    @property
    def base_url(self) -> str:
        return str(self._settings.origin)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def close(self) -> None:
        """Closes all connections. The client can't be used any more."""
        if self._owner:
            self._transport.close()

    def __enter__(self) -> "Keyward":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # How calls are made.

    def _secrets(self) -> "tuple[Secret, ...]":
        return tuple(s for s in (self._credential, self._signing_secret) if s)

    def _request(self, call: Call, extra: Optional[Dict[str, str]] = None) -> _http1.Request:
        target = call.target
        body = body_text(call.body)
        headers = {
            "Host": Secret(self._settings.origin.authority.encode("ascii")),
            "User-Agent": Secret(self._agent.encode("ascii")),
            "Accept": Secret(b"text/event-stream" if call.stream else b"application/json"),
            "Accept-Encoding": Secret(b"identity"),
        }
        if body is not None:
            headers["Content-Type"] = Secret(b"application/json")
        named = {**call.headers, **(extra or {})}
        if self._credential is not None and not call.public:
            headers["Authorization"] = Secret(b"Bearer " + self._credential.reveal())
            if self._signer is not None:
                named.update(self._signer.sign(call.method, target, body.reveal() if body is not None else b""))
        for name, value in named.items():
            if not _http1.is_header_value(value):
                raise ValueError(f"{name} has characters in it that no header has")
            headers[name] = Secret(value.encode("ascii"))
        return _http1.Request(call.method, target, list(headers.items()), body)

    def _open(self, call: Call, extra: Optional[Dict[str, str]] = None) -> Exchange:
        """Sends a call once, and returns an answer that is no failure."""
        exchange: Optional[Exchange] = None
        most = self._settings.max_answer_bytes
        timeout = self._settings.timeout if call.timeout is None else call.timeout
        deadline = time.monotonic() + timeout
        failure: KeywardError
        try:
            exchange = self._transport.send(self._request(call, extra), timeout)
            if 200 <= exchange.status < 300:
                return exchange
            body = exchange.read(min(most, 1 << 20), deadline)
            failure = answer_error(self.base_url, exchange.status, exchange.headers, body, self._secrets())
        except Broken as broken:
            failure = broken_error(self.base_url, broken)
        except Late as late:
            failure = late_error(self.base_url, late)
        except TooLarge:
            failure = too_large_error(self.base_url, exchange.status if exchange is not None else 0)
        raise failure

    def _once(self, call: Call, kind: Type[T]) -> T:
        timeout = self._settings.timeout if call.timeout is None else call.timeout
        deadline = time.monotonic() + timeout
        exchange = self._open(call)
        failure: KeywardError
        try:
            body = exchange.read(self._settings.max_answer_bytes, deadline)
            found: T = parse(self.base_url, exchange.status, exchange.headers, body, kind)
            return found
        except Broken as broken:
            failure = broken_error(self.base_url, broken)
        except Late as late:
            failure = late_error(self.base_url, late)
        except TooLarge:
            failure = too_large_error(self.base_url, exchange.status)
        raise failure

    def _do(self, call: Call) -> None:
        """Makes a call that has no answer."""
        self._send(call, type(None))

    def _send(self, call: Call, kind: Type[T]) -> T:
        """Makes a call, again if it fails and may be repeated, and returns its answer."""
        attempt = 0
        while True:
            try:
                return self._once(call, kind)
            except KeywardError as error:
                self._pause(error, attempt, call.repeatable)
            attempt += 1

    def _begin(self, call: Call, extra: Dict[str, str]) -> Exchange:
        """Opens a stream, as _send makes a call."""
        attempt = 0
        while True:
            try:
                return self._open(call, extra)
            except KeywardError as error:
                self._pause(error, attempt, call.repeatable)
            attempt += 1

    def _pause(self, error: KeywardError, attempt: int, repeatable: bool) -> None:
        """Waits until a call that failed is repeated, or raises the error if it is not."""
        wait = None
        if attempt < self._settings.max_retries:
            wait = _retry.wait(error, attempt, repeatable, self._settings.max_retry_wait)
        if wait is None:
            raise error
        sleep(wait)

