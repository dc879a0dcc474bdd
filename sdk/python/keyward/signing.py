"""Signing of requests, for keys that require it."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from typing import Dict, Optional, Tuple, Union

from ._secret import Secret

__all__ = ["sign_request"]


def sign_request(
    method: str,
    path: str,
    body: Union[str, bytes, None],
    secret: str,
    timestamp: Optional[int] = None,
) -> Dict[str, str]:
    """Returns the headers that sign a request.

    ``path`` is the path with its query, as it is sent, and ``body`` the body, as it
    is sent. ``secret`` is the key's signing secret, and not the key itself. A
    signature is good for 300 seconds and, but for GET, for one request.

    >>> sorted(sign_request("GET", "/v1/agents", "", "rs_secret"))
    ['X-Signature', 'X-Timestamp']
    """
    return _sign(method, path, _bytes(body), Secret(secret.encode()), int(time.time()) if timestamp is None else timestamp)


def _bytes(body: Union[str, bytes, None]) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else body


def _sign(method: str, path: str, body: bytes, secret: Secret, timestamp: int) -> Dict[str, str]:
    message = f"{method}\n{path}\n{timestamp}\n".encode() + body
    signature = hmac.new(secret.reveal(), message, hashlib.sha256).hexdigest()
    return {"X-Signature": signature, "X-Timestamp": str(timestamp)}


class Signer:
    """Signs the requests of a client, each in another way.

    The same request twice in one second would have the same signature, and the
    server refuses one that it has seen. The second is dated a second later, which is
    within what clocks may differ by.
    """

    _LIFE = 300
    _AHEAD = 60

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._dated: Dict[Tuple[str, str, bytes], int] = {}

    def sign(self, method: str, path: str, body: bytes) -> Dict[str, str]:
        now = int(time.time())
        if method not in ("GET", "HEAD"):
            now = self._date(now, (method, path, hashlib.sha256(body).digest()))
        return _sign(method, path, body, self._secret, now)

    def _date(self, now: int, request: Tuple[str, str, bytes]) -> int:
        with self._lock:
            if len(self._dated) > 4096:
                self._dated = {r: at for r, at in self._dated.items() if at >= now}
            last = self._dated.get(request, 0)
            if now <= last < now + self._AHEAD:
                now = last + 1
            self._dated[request] = now
            return now
