"""The client of a server."""

from __future__ import annotations

import os
import ssl
import sys
import time
from typing import Any, Callable, Dict, Optional, Type, TypeVar

from .. import _http1, _retry, _settings
from .._calls import Call, answer_error, body_text, broken_error, late_error, parse, too_large_error
from .._operations import operation
from .._secret import Secret
from .._transport import Broken, Late, TooLarge
from .._version import __version__
from ..errors import KeywardError
from ..models import Status, Tokens
from ..signing import Signer
from .nouns import (
    AsyncAccounts,
    AsyncAgents,
    AsyncAlerts,
    AsyncAudit,
    AsyncAuth,
    AsyncAuthProfiles,
    AsyncKeys,
    AsyncKeyUsages,
    AsyncOrganizations,
    AsyncRuns,
)
from .signin import AsyncSignIn
from .transport import AsyncExchange, AsyncTransport, sleep

T = TypeVar("T")


class AsyncKeyward:
    """A client of a Keyward server.

    ``base_url`` is the server's address, or else that in ``KEYWARD_SERVER``, or else
    ``http://127.0.0.1:8080``. The credential is ``api_key``, ``access_token`` or
    ``sign_in``, or else the key in ``KEYWARD_API_KEY`` or ``RUNAGENT_API_KEY``. With a
    ``signing_secret`` every request is signed. The tokens of a ``sign_in`` are renewed
    when they expire, and ``on_tokens`` is told the new ones, since the old are spent.

    ``timeout`` is for how many seconds an answer is waited for, and
    ``connect_timeout`` a connection. What is safe to repeat is repeated up to
    ``retries`` times, after the time that the server says, unless that is more
    than ``longest_wait`` seconds. An answer may have ``max_answer_bytes``.

    ``http://`` is for this machine alone unless ``allow_http`` says otherwise. No
    proxy is used but ``proxy``, and certificates are always checked, by
    ``ssl_context`` if it is given. No redirect is followed.

    ::

        async with AsyncKeyward("https://keyward.example.com", api_key=key) as client:
            async for agent in client.agents.list():
                print(agent.id)
    """

    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        api_key: Optional[str] = None,
        access_token: Optional[str] = None,
        sign_in: Optional[Tokens] = None,
        on_tokens: Optional[Callable[[Tokens], Any]] = None,
        signing_secret: Optional[str] = None,
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        retries: int = 3,
        longest_wait: float = 30.0,
        max_answer_bytes: int = 64 << 20,
        allow_http: bool = False,
        proxy: Optional[str] = None,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        key, token, signing = _settings.held(api_key), _settings.held(access_token), _settings.held(signing_secret)
        del api_key, access_token, signing_secret  # no traceback shows them
        if key is None and token is None and sign_in is None:
            key = _settings.key_of_environment(os.environ)
        self._identify(key, token, sign_in, on_tokens, signing)
        origin = _settings.origin(base_url, allow_http)
        if retries < 0:
            raise ValueError("retries must not be below 0")
        settings = _settings.Settings(
            origin=origin,
            timeout=_settings.positive("timeout", timeout),
            connect_timeout=_settings.positive("connect_timeout", connect_timeout),
            retries=retries,
            longest_wait=_settings.positive("longest_wait", longest_wait),
            max_answer_bytes=int(_settings.positive("max_answer_bytes", max_answer_bytes)),
            proxy=_settings.proxy_of(proxy),
            ssl_context=_settings.tls(ssl_context, origin.secure),
        )
        self._start(settings, AsyncTransport(settings))

    def _identify(
        self,
        api_key: Optional[Secret],
        access_token: Optional[Secret],
        sign_in: Optional[Tokens],
        on_tokens: Optional[Callable[[Tokens], Any]],
        signing_secret: Optional[Secret],
    ) -> None:
        if sum(given is not None for given in (api_key, access_token, sign_in)) > 1:
            raise ValueError("give one of api_key, access_token and sign_in")
        if access_token is not None:
            self._credential = _settings.credential("access_token", access_token)
        else:
            self._credential = _settings.credential("api_key", api_key)
        self._sign_in = AsyncSignIn(sign_in, on_tokens) if sign_in is not None else None
        self._signing_secret = _settings.credential("signing_secret", signing_secret)

    def _start(self, settings: _settings.Settings, transport: AsyncTransport) -> None:
        self._owner = True
        self._settings = settings
        self._signer = Signer(self._signing_secret) if self._signing_secret else None
        self._transport = transport
        self._agent = _settings.user_agent(__version__, sys.version_info[:2])
        self.accounts = AsyncAccounts(self)
        self.agents = AsyncAgents(self)
        self.alerts = AsyncAlerts(self)
        self.audit = AsyncAudit(self)
        self.auth = AsyncAuth(self)
        self.auth_profiles = AsyncAuthProfiles(self)
        self.keys = AsyncKeys(self)
        self.organizations = AsyncOrganizations(self)
        self.runs = AsyncRuns(self)
        self.usage = AsyncKeyUsages(self)

    def with_credential(
        self,
        *,
        api_key: Optional[str] = None,
        access_token: Optional[str] = None,
        sign_in: Optional[Tokens] = None,
        on_tokens: Optional[Callable[[Tokens], Any]] = None,
        signing_secret: Optional[str] = None,
    ) -> "AsyncKeyward":
        """Returns a client of the same server for somebody else, or for nobody.

        It uses the connections of this one, and is closed with it.
        """
        key, token, signing = _settings.held(api_key), _settings.held(access_token), _settings.held(signing_secret)
        del api_key, access_token, signing_secret
        other = object.__new__(type(self))
        other._identify(key, token, sign_in, on_tokens, signing)
        other._start(self._settings, self._transport)
        other._owner = False
        return other

    @property
    def base_url(self) -> str:
        return str(self._settings.origin)

    def __repr__(self) -> str:
        settings = self.__dict__.get("_settings")  # there is none before it is made
        return f"{type(self).__name__}({str(settings.origin) if settings is not None else ''!r})"

    async def close(self) -> None:
        """Closes all connections. The client can't be used any more."""
        if self._owner:
            await self._transport.close()

    async def __aenter__(self) -> "AsyncKeyward":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @operation("health")
    async def health(self) -> Status:
        """Asks whether the server is there."""
        return await self._send(Call("GET", "/healthz", public=True), Status)

    @operation("ready")
    async def ready(self) -> Status:
        """Asks whether the server can serve."""
        return await self._send(Call("GET", "/readyz", public=True), Status)

    # How calls are made.

    def _secrets(self) -> "tuple[Secret, ...]":
        mine = (self._credential, self._signing_secret, *(self._sign_in.secrets() if self._sign_in is not None else ()))
        return tuple(s for s in mine if s)

    @property
    def _held(self) -> Optional[Secret]:
        return self._sign_in.access_token() if self._sign_in is not None else self._credential

    def _request(self, call: Call, extra: Optional[Dict[str, str]] = None) -> _http1.Request:
        target = call.target
        body = body_text(call.body, self._signer is not None and not call.public)
        headers = {
            "Host": Secret(self._settings.origin.authority.encode("ascii")),
            "User-Agent": Secret(self._agent.encode("ascii")),
            "Accept": Secret(b"text/event-stream" if call.stream else b"application/json"),
            "Accept-Encoding": Secret(b"identity"),
        }
        if body is not None:
            headers["Content-Type"] = Secret(b"application/json")
        named = {**call.headers, **(extra or {})}
        held = self._held
        if held is not None and not call.public:
            headers["Authorization"] = Secret(b"Bearer " + held.reveal())
            if self._signer is not None:
                named.update(self._signer.sign(call.method, target, body.reveal() if body is not None else b""))
        for name, value in named.items():
            if not _http1.is_header_value(value):
                raise ValueError(f"{name} has characters in it that no header has")
            headers[name] = Secret(value.encode("ascii"))
        return _http1.Request(call.method, target, list(headers.items()), body)

    async def _open(self, call: Call, extra: Optional[Dict[str, str]] = None) -> AsyncExchange:
        """Sends a call once, and returns an answer that is no failure."""
        exchange: Optional[AsyncExchange] = None
        most = self._settings.max_answer_bytes
        timeout = self._settings.timeout if call.timeout is None else call.timeout
        deadline = time.monotonic() + timeout
        failure: KeywardError
        try:
            exchange = await self._transport.send(self._request(call, extra), timeout)
            if 200 <= exchange.status < 300:
                return exchange
            body = await exchange.read(min(most, 1 << 20), deadline)
            failure = answer_error(self.base_url, exchange.status, exchange.headers, body, self._secrets())
        except Broken as broken:
            failure = broken_error(self.base_url, broken)
        except Late as late:
            failure = late_error(self.base_url, late)
        except TooLarge:
            failure = too_large_error(self.base_url, exchange.status if exchange is not None else 0)
        raise failure

    async def _once(self, call: Call, kind: Type[T]) -> T:
        timeout = self._settings.timeout if call.timeout is None else call.timeout
        deadline = time.monotonic() + timeout
        exchange = await self._open(call)
        failure: KeywardError
        try:
            found: T = parse(self.base_url, exchange, await exchange.read(self._settings.max_answer_bytes, deadline), kind)
            return found
        except Broken as broken:
            failure = broken_error(self.base_url, broken)
        except Late as late:
            failure = late_error(self.base_url, late)
        except TooLarge:
            failure = too_large_error(self.base_url, exchange.status)
        raise failure

    async def _do(self, call: Call) -> None:
        """Makes a call that has no answer."""
        await self._send(call, type(None))

    async def _send(self, call: Call, kind: Type[T]) -> T:
        """Makes a call, again if it fails and may be repeated, and returns its answer."""
        attempt, lost, renewed = 0, False, False
        while True:
            credential = self._held
            try:
                return await self._once(call, kind)
            except KeywardError as error:
                if lost and kind is type(None) and _retry.gone(call.method, call.path, error):
                    return kind()
                if not renewed and await self._renewed(call, error, credential):
                    renewed = True
                    continue
                await self._pause(error, attempt, call.repeatable)
                lost = lost or _retry.may_be_done(error)
            attempt += 1

    async def _begin(self, call: Call, extra: Dict[str, str]) -> AsyncExchange:
        """Opens a stream, as _send makes a call."""
        attempt, renewed = 0, False
        while True:
            credential = self._held
            try:
                return await self._open(call, extra)
            except KeywardError as error:
                if not renewed and await self._renewed(call, error, credential):
                    renewed = True
                    continue
                await self._pause(error, attempt, call.repeatable)
            attempt += 1

    async def _refresh(self, spent: Secret) -> Tokens:
        return await self._send(Call("POST", "/auth/token/refresh", body={"refreshToken": spent}, public=True), Tokens)

    async def _renewed(self, call: Call, error: KeywardError, stale: Optional[Secret]) -> bool:
        """Gets new tokens if those of the sign-in have expired: the call did nothing then."""
        if self._sign_in is None or call.public or error.code != "EXPIRED_ACCESS_TOKEN":
            return False
        await self._sign_in.renew(self._refresh, stale)
        return True

    async def _pause(self, error: KeywardError, attempt: int, repeatable: bool) -> None:
        """Waits until a call that failed is repeated, or raises the error if it is not."""
        wait = None
        if attempt < self._settings.retries:
            wait = _retry.wait(error, attempt, repeatable, self._settings.longest_wait)
        if wait is None:
            # Without the frames below, which hold what was sent and what came.
            raise error.with_traceback(None)
        await sleep(wait)

