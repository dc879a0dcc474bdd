"""Both clients, as one to a test: what holds for one holds for the other."""

from __future__ import annotations

import asyncio
import inspect
import unittest
from typing import Any, Callable, List, Type

import keyward


class Face:
    """Calls a client, and waits for what it returns."""

    asynchronous = False
    kind: Type[Any] = keyward.Keyward
    agent_kind: Type[Any] = keyward.RunAgentClient

    def __init__(self) -> None:
        self.opened: List[Any] = []

    def client(self, *arguments: Any, **options: Any) -> Any:
        """Returns a client that is closed at the end of the test."""
        self.opened.append(self.kind(*arguments, **options))
        return self.opened[-1]

    def agent_client(self, *arguments: Any, **options: Any) -> Any:
        self.opened.append(self.agent_kind(*arguments, **options))
        return self.opened[-1]

    def __call__(self, result: Any) -> Any:
        return result

    def all(self, iterable: Any) -> List[Any]:
        return list(iterable)

    def next(self, iterator: Any) -> Any:
        return next(iter(iterator))

    def end(self) -> None:
        for client in self.opened:
            self(client.close())


class AsyncFace(Face):
    asynchronous = True
    kind = keyward.AsyncKeyward
    agent_kind = keyward.AsyncRunAgentClient

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def __call__(self, result: Any) -> Any:
        return self.loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def all(self, iterable: Any) -> List[Any]:
        async def collect() -> List[Any]:
            return [item async for item in iterable]

        return self(collect())

    def next(self, iterator: Any) -> Any:
        return self(iterator.__aiter__().__anext__())

    def end(self) -> None:
        super().end()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(asyncio.sleep(0.01))  # connections that were aborted
        self.loop.close()


def each(test: Callable[[Any, Face], None]) -> Callable[[Any], None]:
    """Makes a test of one that takes a face: for each of them."""

    def run(self: Any) -> None:
        for kind in (Face, AsyncFace):
            with self.subTest("async" if kind.asynchronous else "sync"):
                face = kind()
                try:
                    test(self, face)
                finally:
                    face.end()

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class TestCase(unittest.TestCase):
    maxDiff = 4000

    def fails(self, code: str, do: Callable[[], Any]) -> keyward.KeywardError:
        """Does what must fail with an error of the code, and returns the error."""
        try:
            got = do()
        except keyward.KeywardError as error:
            self.assertEqual(error.code, code, str(error))
            return error
        self.fail(f"no {code}, but {got!r}")


