# Written by unasync.py. Change keyward/_async/signin.py and run it.
"""The tokens of somebody who has signed in."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

from .. import _settings
from .._secret import Secret
from ..models import Tokens
from .transport import Lock, finished


class SignIn:
    """Tokens that are renewed. Clients that come from one sign-in share it."""

    def __init__(self, tokens: Tokens, keep: Optional[Callable[[Tokens], Any]]) -> None:
        self._keep = keep
        self._lock = Lock()
        self._set(tokens)

    def _set(self, tokens: Tokens) -> None:
        access = _settings.credential("access_token", _settings.held(tokens.access_token))
        refresh = _settings.credential("refresh_token", _settings.held(tokens.refresh_token))
        assert access is not None and refresh is not None
        self._tokens = (access, refresh)

    def access_token(self) -> Secret:
        return self._tokens[0]

    def secrets(self) -> Tuple[Secret, ...]:
        return self._tokens

    def renew(self, refresh: Callable[[Secret], Any], stale: Optional[Secret]) -> None:
        """Gets new tokens, unless somebody has since stale was the access token.

        A refresh token is spent at once, so one does it and the others wait.
        """
        with self._lock:
            if self._tokens[0] != stale:
                return
            tokens: Tokens = refresh(self._tokens[1])
            self._set(tokens)
            if self._keep is not None:
                finished(self._keep(tokens))
