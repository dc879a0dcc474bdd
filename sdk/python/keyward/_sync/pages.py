# Written by unasync.py. Change keyward/_async/pages.py and run it.
"""Lists that are walked through page by page."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Iterator, Generic, Type, TypeVar

from .._calls import Call, unexpected
from .._decode import Model, WrongShape
from .._pages import Page, read_page

if TYPE_CHECKING:
    from .client import Keyward

M = TypeVar("M", bound=Model)


class Listing(Generic[M]):
    """A list on the server. Walking through it asks for its pages as they are needed.

    ::

        for key in client.keys.list():
            print(key.name)
    """

    def __init__(self, client: "Keyward", call: Call, kind: Type[M], name: str = "data") -> None:
        self._client = client
        self._call = call
        self._kind = kind
        self._name = name

    def first_page(self) -> "Page[M]":
        """Returns the first page alone, or the one that was asked for."""
        return self._page(self._call)

    def pages(self) -> "Iterator[Page[M]]":
        """Walks through the list page by page."""
        call, seen = self._call, set()
        while True:
            page = self._page(call)
            yield page
            cursor = page.pagination.next_cursor
            if not cursor or self._call.query.get("page") is not None:
                return
            if cursor in seen:
                raise unexpected(self._client.base_url, 200, "a list has no end")
            seen.add(cursor)
            call = dataclasses.replace(self._call, query={**self._call.query, "cursor": cursor})

    def __iter__(self) -> "Iterator[M]":
        for page in self.pages():
            for item in page.data:
                yield item

    def _page(self, call: Call) -> "Page[M]":
        why = ""
        try:
            return read_page(self._kind, self._name, self._client._send(call, dict))
        except WrongShape as wrong:
            why = str(wrong)
        raise unexpected(self._client.base_url, 200, why)

    def __repr__(self) -> str:
        return f"<list of {self._kind.__name__}>"
