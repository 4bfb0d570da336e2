"""The asynchronous face of `Memory`, made from the synchronous one: nothing is written twice."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halflife.agent.memory import Memory


class AsyncMemory:
    """Every method of a `Memory`, run in a worker thread, so that the event loop is never blocked.

    A method that returns an iterator (`export`) gives an asynchronous one.

    >>> import asyncio
    >>> from halflife import Memory
    >>> async def main():
    ...     memory = Memory(embedder="hash").aio
    ...     await memory.add("The key is under the mat.")
    ...     return [hit.text for hit in await memory.search("key")]
    >>> asyncio.run(main())
    ['The key is under the mat.']
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._memory, name)
        if name.startswith("_") or not callable(value):
            return value
        if name == "export":
            return functools.partial(_iterate, value)
        return _threaded(value)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._memory) if not name.startswith("_")]

    async def __aenter__(self) -> AsyncMemory:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._memory.close)


def _threaded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(method, *args, **kwargs)

    return call


async def _iterate(method: Callable[..., Iterator[Any]], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    iterator = await asyncio.to_thread(method, *args, **kwargs)
    end = object()
    while (item := await asyncio.to_thread(next, iterator, end)) is not end:
        yield item
