"""A text that is never printed."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Holds a key, a token or a request that has one in it.

    It prints as a placeholder, also where a traceback shows local variables, and
    can be neither copied nor pickled. ``reveal`` is the one way to what it holds.
    """

    __slots__ = ("__held",)

    def __init__(self, held: bytes) -> None:
        self.__held = held

    def reveal(self) -> bytes:
        return self.__held

    def __bool__(self) -> bool:
        return bool(self.__held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.__held, other.__held)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can be neither copied nor pickled")


def hide(text: str, secrets: "tuple[Secret, ...]") -> str:
    """Returns text without any of the secrets in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret.reveal().decode("utf-8", "replace"), "…")
    return text
