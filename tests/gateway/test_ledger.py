"""Tests of the ledger: what a crash may and may not do, as one worker after another finds it in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.ledger import BLOCK, Entry, Exchanged, Ledger, Outcome, forget
from gateway.store import Patience, Store

QUEUE = "recado.lane.alpha.bulk:0"
SUBMITTED = Outcome("s", 1.5, ("id-1",))
OPEN = Outcome("o", 2.5)


class Book:
    """A ledger in a namespace, with the exchanges that a dispatcher makes."""

    def __init__(self, store: Store, redis: Redis, namespace: str) -> None:
        self.ledger = Ledger(Patience(store), f"{namespace}:", 1000, 500)
        self.redis = redis
        self.namespace = namespace

    async def exchange(self, *entries: Entry, claims: tuple[str, ...] = ()) -> Exchanged:
        return await self.ledger.exchange(list(entries), list(claims), [], [], [])

    async def keys(self) -> list[str]:
        return sorted([key.decode() async for key in self.redis.scan_iter(f"{self.namespace}:*", count=10_000)])


@asynccontextmanager
async def book(store_url: str, namespace: str) -> AsyncIterator[Book]:
    store = Store(store_url)
    async with Redis.from_url(store_url) as redis:
        yield Book(store, redis, namespace)
    await store.close()


async def owned(book: Book, *, intent: int = -1, name: str = QUEUE) -> Entry:
    entry = Entry(name, (await book.ledger.acquire(name, 0)).epoch)
    entry.intent = intent
    return entry


async def test_a_queue_that_nobody_has_had_is_new(store_url: str, namespace: str) -> None:
    """No intent, no outcomes, and not known; the second owner knows it and comes later."""
    async with book(store_url, namespace) as it:
        first = await it.ledger.acquire(QUEUE, 0)
        assert (first.intent, first.known, first.outcomes) == (-1, False, {})
        second = await it.ledger.acquire(QUEUE, 0)
        assert second.known
        assert second.epoch > first.epoch


async def test_a_call_that_ran_twice_gave_one_owner(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first answer was lost, or it came late: the epoch is the same, and what was known still is as it was."""
    monkeypatch.setattr("gateway.ledger.token_hex", lambda octets: "the same call")
    async with book(store_url, namespace) as it:
        first = await it.ledger.acquire(QUEUE, 5, 20)
        assert await it.ledger.acquire(QUEUE, 5, 20) == first
        monkeypatch.setattr("gateway.ledger.token_hex", lambda octets: "another")
        assert (await it.ledger.acquire(QUEUE, 5, 30)).epoch > first.epoch


async def test_a_queue_that_was_lost_is_so_until_somebody_says_better(store_url: str, namespace: str) -> None:
    """Also for the next owner, who finds it known again."""
    async with book(store_url, namespace) as it:
        first = await it.ledger.acquire(QUEUE, 5, 20)
        assert (first.known, first.lost, first.intent) == (False, True, 20)
        second = await it.ledger.acquire(QUEUE, 5, 30)
        assert (second.known, second.lost, second.intent) == (True, True, 20)
        entry = Entry(QUEUE, second.epoch)
        entry.intent = 8
        await it.exchange(entry)
        third = await it.ledger.acquire(QUEUE, 5, 40)
        assert (third.known, third.lost, third.intent) == (True, False, 8)


async def test_an_earlier_owner_is_fenced_though_the_store_forgot_who_came_after(
    store_url: str, namespace: str
) -> None:
    """A failover has lost that the queue was taken: its owner's next exchange says it again, and that data was lost."""
    async with book(store_url, namespace) as it:
        before, after = await owned(it), await owned(it)
        await it.redis.hset(f"{namespace}:q:{QUEUE}", "epoch", before.epoch)
        found = await it.exchange(after)
        assert (found.fenced, found.lost) == ([], [QUEUE])
        assert (await it.exchange(before)).fenced == [QUEUE]
        assert (await it.exchange(after)).fenced == []
        assert (await owned(it)).epoch > after.epoch


async def test_an_earlier_owner_is_fenced_by_the_first_of_an_empty_store(store_url: str, namespace: str) -> None:
    """However many there were before."""
    async with book(store_url, namespace) as it:
        before = [await owned(it) for _ in range(3)][-1]
        await asyncio.sleep(0.01)  # they took it within a millisecond, and each is later than the last
        await forget(it.ledger._store, f"{namespace}:", [QUEUE])
        after = await owned(it)
        assert (await it.exchange(before)).fenced == [QUEUE]
        assert (await it.exchange(after)).fenced == []


async def test_a_queue_that_is_forgotten_is_new(store_url: str, namespace: str) -> None:
    """With all that became of its offsets."""
    async with book(store_url, namespace) as it:
        entry = await owned(it, intent=2 * BLOCK + 1)
        for offset in (0, BLOCK, 2 * BLOCK):
            entry.settle(offset, SUBMITTED)
        await it.exchange(entry)
        await forget(it.ledger._store, f"{namespace}:", [QUEUE])
        assert await it.keys() == []


async def test_the_next_owner_finds_the_intent_and_every_outcome_since_the_commit(
    store_url: str, namespace: str
) -> None:
    """Over several blocks: what was recorded from the committed offset's block on."""
    async with book(store_url, namespace) as it:
        entry = await owned(it, intent=3 * BLOCK)
        offsets = [0, BLOCK - 1, BLOCK, 2 * BLOCK + 5, 3 * BLOCK - 1]
        for offset in offsets:
            entry.settle(offset, SUBMITTED)
        await it.exchange(entry)
        found = await it.ledger.acquire(QUEUE, BLOCK + 1)
        assert found.intent == 3 * BLOCK
        assert found.outcomes == dict.fromkeys(offsets[2:], SUBMITTED)


async def test_an_open_offset_is_in_doubt_again_once_it_is_rewritten(store_url: str, namespace: str) -> None:
    """Open, then about to be written: the next owner finds no outcome."""
    async with book(store_url, namespace) as it:
        entry = await owned(it, intent=8)
        entry.settle(7, OPEN)
        await it.exchange(entry)
        assert (await it.ledger.acquire(QUEUE, 0)).outcomes == {7: OPEN}
        entry = await owned(it, intent=8)
        entry.rewrite(7)
        await it.exchange(entry)
        assert (await it.ledger.acquire(QUEUE, 0)).outcomes == {}


async def test_an_earlier_owner_is_turned_away(store_url: str, namespace: str) -> None:
    """It is told, nothing of it is recorded, and its other queues are served."""
    async with book(store_url, namespace) as it:
        stale = await owned(it, intent=100)
        mine = await owned(it, intent=5, name="other:0")
        await it.ledger.acquire(QUEUE, 0)
        stale.settle(50, SUBMITTED)
        mine.settle(4, SUBMITTED)
        found = await it.exchange(stale, mine)
        assert (found.fenced, found.lost) == ([QUEUE], [])
        assert (await it.ledger.acquire(QUEUE, 0)).outcomes == {}
        assert (await it.ledger.acquire(QUEUE, 0)).intent == -1
        assert (await it.ledger.acquire("other:0", 0)).outcomes == {4: SUBMITTED}


async def test_the_first_claim_of_a_message_holds(store_url: str, namespace: str) -> None:
    """Again with the same coordinates it is no other's; with different ones its holder is named; each by its index."""
    async with book(store_url, namespace) as it:
        first = ("banco/m1/1", "0:7:0|q:1", "banco/m2/1", "0:7:1|q:2")
        assert (await it.exchange(claims=first)).taken == {}
        assert (await it.exchange(claims=first)).taken == {}
        again = ("banco/m3/1", "0:8:0|q:3", "banco/m2/1", "0:8:1|q:4", "banco/m1/2", "0:8:2|q:5")
        assert (await it.exchange(claims=again)).taken == {1: "0:7:1|q:2"}


async def test_a_store_that_lost_its_data_is_told_the_intent_again(store_url: str, namespace: str) -> None:
    """The loss is reported once, and a crash right after it finds what may have been written."""
    async with book(store_url, namespace) as it:
        entry = await owned(it, intent=40)
        assert (await it.exchange(entry)).lost == []
        await it.redis.delete(*await it.keys())
        entry.settle(39, SUBMITTED)
        assert (await it.exchange(entry)).lost == [QUEUE]
        assert (await it.exchange(entry)).lost == []
        found = await it.ledger.acquire(QUEUE, 0)
        assert (found.known, found.intent, found.outcomes) == (True, 40, {39: SUBMITTED})


async def test_an_exchange_may_be_repeated(store_url: str, namespace: str) -> None:
    """A call that timed out may have run: the second time it finds and leaves the same."""
    async with book(store_url, namespace) as it:
        entry = await owned(it)
        keys = []
        for _ in range(2):
            entry.intent = 3
            entry.settle(1, OPEN)
            entry.settle(1, SUBMITTED)
            entry.rewrite(2)
            found = await it.ledger.exchange(
                [entry], ["t/m/1", "0:0:0|q:0"], ["d:acc:1", "row", 60], ["u:acc:+57", "field", "row", 60], []
            )
            assert (found.fenced, found.lost, found.taken) == ([], [], {})
            keys.append(await it.keys())
        assert keys[0] == keys[1]
        assert (await it.ledger.acquire(QUEUE, 0)).outcomes == {1: SUBMITTED}


async def test_every_key_has_a_time_to_live(store_url: str, namespace: str) -> None:
    """Queues, outcomes, claims, rows and doubts: nothing stays in the store for ever."""
    async with book(store_url, namespace) as it:
        entry = await owned(it, intent=1)
        entry.settle(0, SUBMITTED)
        await it.ledger.exchange(
            [entry], ["t/m/1", "0:0:0|q:0"], ["d:acc:1", "row", 60], ["u:acc:+57", "field", "row", 60], []
        )
        keys = await it.keys()
        assert len(keys) == 5
        assert all([await it.redis.ttl(key) > 0 for key in keys])


async def test_what_the_commit_has_passed_is_forgotten(store_url: str, namespace: str) -> None:
    """Whole blocks below the committed offset go, the block that it is in stays."""
    async with book(store_url, namespace) as it:
        entry = await owned(it, intent=3 * BLOCK)
        for offset in (0, BLOCK, 2 * BLOCK, 3 * BLOCK - 1):
            entry.settle(offset, SUBMITTED)
        await it.exchange(entry)
        await it.ledger.trim([(QUEUE, 0, 2 * BLOCK + 9)])
        assert (await it.ledger.acquire(QUEUE, 0)).outcomes.keys() == {2 * BLOCK, 3 * BLOCK - 1}
