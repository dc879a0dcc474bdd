"""Pages of lists."""

from __future__ import annotations

from typing import Any, Dict, Generic, Iterator, List, Optional, Type, TypeVar

from ._decode import Model, WrongShape
from .models import Pagination, UsagePeriod

M = TypeVar("M", bound=Model)


class Page(Generic[M]):
    """One page of a list. ``period`` is that of a list of usage."""

    def __init__(self, data: List[M], pagination: Pagination, period: Optional[UsagePeriod], wire: Dict[str, Any]) -> None:
        self.data = data
        self.pagination = pagination
        self.period = period
        self._wire = wire

    def __iter__(self) -> Iterator[M]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Page({self.data!r})"

    def to_dict(self) -> Dict[str, Any]:
        """Returns the page as JSON has it."""
        return self._wire


def read_page(kind: Type[M], name: str, wire: Any) -> "Page[M]":
    if not isinstance(wire, dict) or not isinstance(wire.get(name), list):
        raise WrongShape(f"{name} is missing")
    period = UsagePeriod.from_dict(wire["period"]) if "period" in wire else None
    return Page([kind.from_dict(item) for item in wire[name]], Pagination.from_dict(wire.get("pagination")), period, wire)
