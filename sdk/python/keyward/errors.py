"""What goes wrong, by kind.

Every failure of a call is a :class:`KeywardError`. Its ``code`` says exactly what
went wrong, and is the same in every SDK; its class says of what kind that is::

    try:
        client.keys.revoke(key_id)
    except keyward.NotFoundError:
        pass
    except keyward.KeywardError as error:
        print(error.code, error.request_id)

No key and no token is ever in an error.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple, Type

__all__ = [
    "AuthenticationError",
    "ConflictError",
    "ConnectionFailedError",
    "ForbiddenError",
    "InvalidRequestError",
    "KeywardError",
    "NotFoundError",
    "RateLimitedError",
    "RequestTimeoutError",
    "RunFailedError",
    "ServerError",
    "TransportError",
    "UnavailableError",
    "UnexpectedAnswerError",
]


class KeywardError(Exception):
    """A call that failed.

    ``code`` is for programs, ``message`` for people. ``status`` is the HTTP status
    of the answer, 0 if there was none. ``request_id`` is what the server's log has
    it under. ``retry_after`` is after how many seconds to try again, if that was
    said, and ``details`` more for programs, such as the field that is wrong.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 0,
        request_id: str = "",
        retry_after: Optional[float] = None,
        details: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.details: Dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        return f"{text} (request {self.request_id})" if self.request_id else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, status={self.status!r}, message={self.message!r}, request_id={self.request_id!r})"

    def __reduce__(self) -> Tuple[Any, ...]:
        # An exception is made again of its positional arguments alone.
        return (_again, (type(self), self.__dict__.copy()))


def _again(kind: Type[KeywardError], held: Dict[str, Any]) -> KeywardError:
    error = kind(held["code"], held["message"])
    error.__dict__.update(held)
    return error


class InvalidRequestError(KeywardError):
    """The request is not valid (400, 413, 415). ``details["field"]`` says which field."""


class AuthenticationError(KeywardError):
    """The key, token, signature or password is not good (401)."""


class ForbiddenError(KeywardError):
    """A good key that may not do that (403)."""


class NotFoundError(KeywardError):
    """There is no such thing, or not for this caller (404)."""


class ConflictError(KeywardError):
    """What is there stands against it (409): a name that is taken, a quota."""


class RateLimitedError(KeywardError):
    """Too many requests (429). ``retry_after`` says when to come again."""


class RunFailedError(KeywardError):
    """A run that was waited for did not succeed.

    ``code`` is ``RUN_FAILED``, ``RUN_TIMED_OUT``, ``RUN_CANCELLED`` or
    ``RUN_INTERRUPTED``, and ``message`` what the agent says.
    """

    @property
    def run_id(self) -> str:
        return str(self.details.get("run_id", ""))

    @property
    def run_status(self) -> str:
        return str(self.details.get("status", ""))


class ServerError(KeywardError):
    """Something went wrong on the server (5xx)."""


class UnavailableError(ServerError):
    """The server can't do this just now (503)."""


class TransportError(KeywardError):
    """There was no answer (``UNREACHABLE``). ``sent`` says whether the server may have got the request."""

    sent = False
    trusted = True


class ConnectionFailedError(TransportError):
    """The server can't be reached, or the connection broke."""


class RequestTimeoutError(TransportError, TimeoutError):
    """There was no whole answer in time."""


class UnexpectedAnswerError(KeywardError):
    """What answered is no Keyward server that this package understands.

    Its code is ``NOT_KEYWARD``: it is not JSON, leads elsewhere, where no key is sent,
    or is larger than allowed.
    """


_BY_STATUS: Dict[int, Type[KeywardError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
    503: UnavailableError,
}

_RUN_CODES = frozenset({"RUN_FAILED", "RUN_TIMED_OUT", "RUN_CANCELLED", "RUN_INTERRUPTED"})


def of(code: str, status: int) -> Type[KeywardError]:
    """Returns the class of a failure that the server told of."""
    if code in _RUN_CODES:
        return RunFailedError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return InvalidRequestError
    if status >= 500:
        return ServerError
    return KeywardError
