"""Group commit: what comes while one batch is on its way to Kafka goes in the next, whoever brought it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Generic, TypeVar

from gateway.errors import StoreUnavailable

T = TypeVar("T")


class Group(Generic[T]):
    """Hands what callers `put` to `commit`: one batch at a time, in their order, up to `most` items or one call's.

    `rest` is called when nobody waits any more.
    """

    def __init__(
        self, commit: Callable[[list[T]], Awaitable[None]], rest: Callable[[], Awaitable[None]], most: int
    ) -> None:
        self._commit = commit
        self._rest = rest
        self._most = most
        self._calls: dict[asyncio.Future[None], Sequence[T]] = {}
        self._wake = asyncio.Event()
        self.waiting = 0
        """Items whose callers wait."""

    async def put(self, items: Sequence[T]) -> None:
        """Return when `commit` has returned from a batch with these in it; raises `StoreUnavailable` when `run` ends.

        Cancelling takes back what is not in a batch yet; what is gets finished all the same. So a caller with a deadline
        leaves nothing behind, however long the batch before it takes.
        """
        done = asyncio.get_running_loop().create_future()
        self._calls[done] = items
        self.waiting += len(items)
        self._wake.set()
        try:
            await done
        finally:
            self.waiting -= len(items)
            self._calls.pop(done, None)

    async def run(self) -> None:
        """Commit until cancelled, or until a commit fails: its error goes to whoever runs this."""
        taken: list[asyncio.Future[None]] = []
        try:
            while True:
                await self._wake.wait()
                while self._calls:
                    taken, items = self._take()
                    await self._commit(items)
                    for done in taken:
                        if not done.done():
                            done.set_result(None)
                self._wake.clear()
                await self._rest()
        finally:
            for done in (*taken, *self._calls):
                if not done.done():
                    done.set_exception(StoreUnavailable("this process stops"))

    def _take(self) -> tuple[list[asyncio.Future[None]], list[T]]:
        taken: list[asyncio.Future[None]] = []
        batches: list[Sequence[T]] = []
        room = self._most
        while self._calls and room > 0:
            done = next(iter(self._calls))
            batches.append(self._calls.pop(done))
            taken.append(done)
            room -= len(batches[-1])
        return taken, list(chain.from_iterable(batches))
