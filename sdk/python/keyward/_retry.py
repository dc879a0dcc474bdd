"""Which calls are repeated, and when."""

from __future__ import annotations

import random
from typing import Optional

from .errors import KeywardError, TransportError, UnexpectedAnswerError

_FIRST = 0.25
_MOST = 8.0


def pause(attempt: int) -> float:
    """Returns how long to wait after the attempt of that number, from 0, failed."""
    return random.uniform(0, min(_MOST, _FIRST * (2 ** min(attempt, 10))))


def wait(error: KeywardError, attempt: int, repeatable: bool, most: float) -> Optional[float]:
    """Returns how long to wait until a call is repeated, or None if it is not.

    A call that changes something is repeated only if the failed attempt did nothing:
    the server was not reached, or says so. With ``repeatable`` it may have happened.
    """
    if not _may_repeat(error, repeatable):
        return None
    if error.retry_after is None:
        return pause(attempt)
    if error.retry_after > most:
        return None
    # All that were told the same moment would come at it together.
    return error.retry_after + random.uniform(0, min(1.0, 0.1 + error.retry_after / 10))


def _may_repeat(error: KeywardError, repeatable: bool) -> bool:
    if isinstance(error, TransportError):
        return error.trusted and (repeatable or not error.sent)
    if isinstance(error, UnexpectedAnswerError):
        return repeatable and error.status in (502, 503, 504)  # of something in front of the server
    return not_done(error)


def not_done(error: KeywardError) -> bool:
    """Whether the server says that it did nothing, and may do it later."""
    if isinstance(error, (TransportError, UnexpectedAnswerError)):
        return False
    if error.status == 503:
        return error.retry_after is not None
    return error.status == 429 or error.code == "SIGNATURE_REPLAYED"


def may_be_done(error: KeywardError) -> bool:
    """Whether the server may have done what was asked, although it failed."""
    return error.sent if isinstance(error, TransportError) else not not_done(error)


_GONE = frozenset({"KEY_NOT_FOUND", "AGENT_NOT_FOUND", "AUTH_PROFILE_NOT_FOUND", "ALERT_NOT_FOUND"})


def gone(method: str, path: str, error: KeywardError) -> bool:
    """Whether the error says of a deletion, whose first answer was lost, that it is done."""
    if method != "DELETE":
        return False
    return error.code in _GONE or (path == "/v1/keys/self" and error.code == "REVOKED_API_KEY")
