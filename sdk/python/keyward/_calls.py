"""A call before it is sent, and what becomes of its answer."""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Protocol, Tuple, Type, Union
from urllib.parse import quote

from . import _http1, errors
from ._decode import Model, WrongShape, format_time
from ._secret import Secret, hide
from ._transport import Broken, Late

# Of what answers with a secret, as PUT does here, a second answer would not have it.
_SAFE = frozenset({"GET", "HEAD", "DELETE"})


@dataclass(repr=False)
class Call:
    """A call. Its path is the template of openapi.yaml, filled in.

    ``public`` is one that needs no credential and gets none; ``stream`` one that is
    answered with events.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Dict[str, str] = field(default_factory=dict)
    public: bool = False
    stream: bool = False
    timeout: Optional[float] = None

    @property
    def repeatable(self) -> bool:
        """Whether it may happen twice and nobody minds."""
        return self.method in _SAFE or "Idempotency-Key" in self.headers

    @property
    def target(self) -> str:
        pairs = [f"{quote(n, safe='')}={quote(_text(v), safe='')}" for n, v in self.query.items() if v is not None]
        return self.path + ("?" + "&".join(pairs) if pairs else "")

    def __repr__(self) -> str:
        return f"<call {self.method} {self.path}>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else format_time(value) if hasattr(value, "isoformat") else str(value)


def at(template: str, **parts: Union[str, int]) -> str:
    """Returns the path with its parts in it.

    An empty one, or one that leads up, would make the path that of another call. It
    is refused as the server refuses bad input.
    """
    for name, part in parts.items():
        text = str(part)
        if isinstance(part, bool) or not isinstance(part, (str, int)) or text in ("", ".", ".."):
            reason = "must be an id"
            raise errors.InvalidRequestError("INVALID_REQUEST", f"{name}: {reason}", status=400, details={"field": name, "reason": reason})
        template = template.replace("{" + name + "}", quote(text, safe=""))
    return template


def new_idempotency_key() -> str:
    return str(uuid.uuid4())


def body_text(body: Any, distinct: bool) -> Optional[Secret]:
    """Returns the JSON that is sent, if distinct with white space after it that no other has.

    A signature is taken once, and is made of the second in which it is made, so
    without it the same call twice in a second would be refused.
    """
    if body is None:
        return None
    # Escaped, so that what is no Unicode is the server's to refuse.
    text = json.dumps(body, allow_nan=False, separators=(",", ":"), default=_revealed)
    if distinct:
        text += "".join(secrets.choice(" \t\n\r") for _ in range(64))
    return Secret(text.encode("ascii"))


def _revealed(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal().decode()
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def _is_json(headers: _http1.Headers) -> bool:
    kind = headers.get("content-type").partition(";")[0].strip().lower()
    return kind == "application/json" and headers.get("content-encoding").lower() in ("", "identity")


def _load(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        # The error of the parser holds all of the text.
        raise WrongShape("is not JSON") from None


class _Answered(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> _http1.Headers: ...


def parse(server: str, answered: _Answered, body: bytes, kind: Type[Any]) -> Any:
    """Returns what a good answer says, as kind; None if that is NoneType."""
    why = ""
    try:
        if kind is type(None):
            # Anything else, as of a page that asks to sign in to a network, has done nothing.
            if answered.status != 204:
                raise WrongShape(f"status {answered.status}")
            return None
        if not _is_json(answered.headers):
            raise WrongShape("is not JSON")
        loaded = _load(body)
        return kind.from_dict(loaded) if issubclass(kind, Model) else loaded
    except WrongShape as wrong:
        why = str(wrong)
    raise unexpected(server, answered.status, why, answered.headers.get("x-request-id"))


def unexpected(server: str, status: int, why: str, request_id: str = "") -> errors.UnexpectedAnswerError:
    return errors.UnexpectedAnswerError(
        "NOT_KEYWARD",
        f"What {server} answered is not what this version of the package expects ({why}). Is it a Keyward server?",
        status=status,
        request_id=_printable(request_id),
    )


def answer_error(server: str, status: int, headers: _http1.Headers, body: bytes, hidden: Tuple[Secret, ...]) -> errors.KeywardError:
    """Returns the error that a failed answer is."""
    if 300 <= status < 400:
        return errors.UnexpectedAnswerError(
            "NOT_KEYWARD",
            f"{server} sends elsewhere ({status}), which is not followed, since keys are for this server alone. Give its address as base_url.",
            status=status,
            request_id=_printable(headers.get("x-request-id")),
        )
    loaded: Any = None
    try:
        loaded = _load(hide(body.decode("utf-8", "replace"), hidden).encode()) if _is_json(headers) else None
    except WrongShape:
        pass
    told = loaded.get("error") if isinstance(loaded, dict) else None
    if not isinstance(told, dict) or not isinstance(told.get("code"), str) or not isinstance(told.get("message"), str):
        found = unexpected(server, status, f"status {status}", headers.get("x-request-id"))
        found.retry_after = _seconds(headers.get("retry-after"))
        return found
    retry_after = told.get("retry_after")
    if isinstance(retry_after, bool) or not isinstance(retry_after, (int, float)) or retry_after < 0:
        retry_after = _seconds(headers.get("retry-after"))
    request_id, details = told.get("request_id"), told.get("details")
    return errors.of(told["code"], status)(
        told["code"],
        told["message"],
        status=status,
        request_id=request_id if isinstance(request_id, str) else _printable(headers.get("x-request-id")),
        retry_after=retry_after,
        details=details if isinstance(details, dict) else None,
    )


def stream_error(data: Any, hidden: Tuple[Secret, ...]) -> errors.KeywardError:
    """Returns the error with which a stream ends that can't go on."""
    told = data if isinstance(data, dict) else {}
    code, message = hide(str(told.get("code", "NOT_KEYWARD")), hidden), hide(str(told.get("message", "The stream ended.")), hidden)
    status = _STREAM_STATUS.get(code, 0)
    return errors.of(code, status)(code, message, status=status, request_id=_printable(str(told.get("request_id", ""))))


# A stream has no status but 200, so its error has that of its code.
_STREAM_STATUS = {
    "UNAVAILABLE": 503,
    "INTERNAL_ERROR": 500,
    "RATE_LIMITED": 429,
    "TOO_MANY_STREAMS": 429,
    "RUN_NOT_FOUND": 404,
    "INSUFFICIENT_SCOPE": 403,
    "AGENT_NOT_ALLOWED": 403,
    "IP_NOT_ALLOWED": 403,
    "NOT_ALLOWED": 403,
    "INVALID_API_KEY": 401,
    "EXPIRED_API_KEY": 401,
    "REVOKED_API_KEY": 401,
    "DISABLED_API_KEY": 401,
    "INVALID_ACCESS_TOKEN": 401,
    "EXPIRED_ACCESS_TOKEN": 401,
}


def broken_error(server: str, broken: Broken) -> errors.ConnectionFailedError:
    what = "broke" if broken.sent else "failed"
    found = errors.ConnectionFailedError("UNREACHABLE", f"The connection to {server} {what}: {broken.why}. Is the server running there?")
    found.sent, found.trusted = broken.sent, broken.trusted
    return found


def late_error(server: str, late: Late) -> errors.RequestTimeoutError:
    found = errors.RequestTimeoutError("UNREACHABLE", f"{server} did not answer in time. See timeout and connect_timeout.")
    found.sent = late.sent
    return found


def too_large_error(server: str, status: int) -> errors.UnexpectedAnswerError:
    return errors.UnexpectedAnswerError("NOT_KEYWARD", f"The answer of {server} is larger than max_answer_bytes.", status=status)


def _seconds(text: str) -> Optional[float]:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _printable(text: str) -> str:
    return text if len(text) <= 64 and text.isascii() and text.isprintable() else ""


