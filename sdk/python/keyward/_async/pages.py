"""Lists that are walked through page by page."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, AsyncIterator, Generic, Type, TypeVar

from .._calls import Call, unexpected
from .._decode import Model, WrongShape
from .._pages import Page, read_page

if TYPE_CHECKING:
    from .client import AsyncKeyward

M = TypeVar("M", bound=Model)


class AsyncListing(Generic[M]):
    """A list on the server. Walking through it asks for its pages as they are needed.

    ::

        async for key in client.keys.list():
            print(key.name)
    """

    def __init__(self, client: "AsyncKeyward", call: Call, kind: Type[M], name: str = "data") -> None:
        self._client = client
        self._call = call
        self._kind = kind
        self._name = name

    async def first_page(self) -> "Page[M]":
        """Returns the first page alone, or the one that was asked for."""
        return await self._page(self._call)

    async def pages(self) -> "AsyncIterator[Page[M]]":
        """Walks through the list page by page."""
        call, seen = self._call, set()
        while True:
            page = await self._page(call)
            yield page
            cursor = page.pagination.next_cursor
            if not cursor or self._call.query.get("page") is not None:
                return
            if cursor in seen:
                raise unexpected(self._client.base_url, 200, "a list has no end")
            seen.add(cursor)
            call = dataclasses.replace(self._call, query={**self._call.query, "cursor": cursor})

    async def __aiter__(self) -> "AsyncIterator[M]":
        async for page in self.pages():
            for item in page.data:
                yield item

    async def _page(self, call: Call) -> "Page[M]":
        why = ""
        try:
            return read_page(self._kind, self._name, await self._client._send(call, dict))
        except WrongShape as wrong:
            why = str(wrong)
        raise unexpected(self._client.base_url, 200, why)

    def __repr__(self) -> str:
        return f"<list of {self._kind.__name__}>"
