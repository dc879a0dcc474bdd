"""Which operations of openapi.yaml the methods are."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., Any])



def operation(name: str) -> Callable[[F], F]:
    """Says which operation a method is."""

    def mark(method: F) -> F:
        method.__operation__ = name  # type: ignore[attr-defined]
        return method

    return mark
