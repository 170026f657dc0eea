"""Group commit: who waits for what, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.errors import StoreUnavailable
from gateway.group import Group


class Log:
    """Keeps what was committed; `hold` keeps the next commits back, `failure` is raised by them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.rests = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.failure: Exception | None = None

    async def commit(self, items: list[str]) -> None:
        self.batches.append(items)
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure

    async def rest(self) -> None:
        self.rests += 1


@asynccontextmanager
async def running(log: Log, most: int = 100) -> AsyncIterator[Group[str]]:
    group = Group(log.commit, log.rest, most)
    task = asyncio.create_task(group.run())
    yield group
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_during_a_batch_goes_in_the_next() -> None:
    """In order, and everybody returns only with the batch of his own."""
    log = Log()
    log.hold.clear()
    async with running(log) as group:
        callers = [asyncio.create_task(group.put([name, name])) for name in "abc"]
        await turns(1)
        callers += [asyncio.create_task(group.put([name])) for name in "de"]
        await turns()
        assert not any(caller.done() for caller in callers)
        log.hold.set()
        await asyncio.gather(*callers)
        assert [item for batch in log.batches for item in batch] == [*"aabbcc", *"de"]
        assert len(log.batches) == 2
        await turns()
    assert (group.waiting, log.rests) == (0, 1)


async def test_a_batch_has_a_bound() -> None:
    """Calls stay whole; one that is larger than the bound goes alone."""
    log = Log()
    async with running(log, most=3) as group:
        await asyncio.gather(*(group.put([str(size)] * size) for size in (2, 1, 7, 1)))
    assert [len(batch) for batch in log.batches] == [3, 7, 1]


async def test_who_gives_up_before_his_batch_leaves_nothing_behind() -> None:
    """However often: a caller that comes again and again while nothing moves costs nothing."""
    log = Log()
    log.hold.clear()
    async with running(log) as group:
        first = asyncio.create_task(group.put(["first"]))
        await turns()
        for _ in range(50):
            caller = asyncio.create_task(group.put(["again"] * 10))
            await turns(2)
            caller.cancel()
            await asyncio.wait([caller])
        assert group.waiting == 1
        first.cancel()  # his batch has begun, and is finished
        await asyncio.wait([first])
        log.hold.set()
        await group.put(["last"])
    assert log.batches == [["first"], ["last"]]


async def test_a_commit_that_fails_ends_the_loop_and_everybody_knows() -> None:
    """Nobody waits for ever, those of the next batch included, and the error reaches whoever watches the loop."""
    log = Log()
    log.hold.clear()
    log.failure = RuntimeError("a bug")
    group = Group(log.commit, log.rest, 100)
    task = asyncio.create_task(group.run())
    callers = [asyncio.create_task(group.put(["a"]))]
    await turns()
    callers.append(asyncio.create_task(group.put(["b"])))
    await turns(2)
    log.hold.set()
    for caller in callers:
        with pytest.raises(StoreUnavailable):
            await caller
    with pytest.raises(RuntimeError, match="a bug"):
        await task
