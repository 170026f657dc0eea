"""Tests of the connection to the store, against a real one behind a proxy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.embedded import HOST
from gateway.errors import StoreUnavailable
from gateway.store import Patience, Script, Store, refuses_writes
from tests.support.proxy import Proxy

ECHO = Script("return cmsgpack.unpack(ARGV[1])")
PUSH = Script("local a = cmsgpack.unpack(ARGV[1]); return redis.call('RPUSH', a[1], a[2])")


@asynccontextmanager
async def proxied(store_url: str, timeout: float = 5.0) -> AsyncIterator[tuple[Store, Proxy]]:
    async with Proxy(HOST, urlsplit(store_url).port or 0) as proxy:
        store = Store(f"redis://{HOST}:{proxy.port}/0", timeout)
        yield store, proxy
        await store.close()


async def test_a_script_runs_also_after_the_store_has_forgotten_it(store_url: str) -> None:
    """The first call brings the source, later ones its hash, and one after a flush brings the source again."""
    async with proxied(store_url) as (store, _), Redis.from_url(store_url) as redis:
        for argument in (1, 2):
            assert await store.run(ECHO, argument) == argument
        await redis.script_flush()
        assert await store.run(ECHO, 3) == 3


async def test_calls_are_answered_each_its_own_and_in_their_order(store_url: str, namespace: str) -> None:
    """Many at once over one connection."""
    async with proxied(store_url) as (store, proxy):
        lengths = await asyncio.gather(*(store.run(PUSH, (namespace, number)) for number in range(50)))
        assert lengths == list(range(1, 51))
        assert proxy.connections == 1


async def test_a_cut_connection_is_a_store_that_is_away_and_is_made_anew(store_url: str) -> None:
    """Cut between two calls, while nobody reads or writes: the call says so, and the next after the return works."""
    async with proxied(store_url) as (store, proxy):
        assert await store.run(ECHO, 1) == 1
        proxy.cut()
        await asyncio.sleep(0.05)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.run(ECHO, 2)
        proxy.restore()
        assert await store.run(ECHO, 3) == 3


async def test_a_silent_store_is_away_and_its_late_answer_is_nobodys(store_url: str) -> None:
    """No answer within the timeout raises; after the thaw every call gets its own answer."""
    async with proxied(store_url, timeout=0.2) as (store, proxy):
        assert await store.run(ECHO, 1) == 1
        proxy.freeze()
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.2 s"):
            await store.run(ECHO, 2)
        proxy.thaw()
        assert await store.run(ECHO, 3) == 3


async def test_a_cancelled_call_leaves_no_answer_to_the_next(store_url: str) -> None:
    """The connection is dropped with what may still arrive on it."""
    async with proxied(store_url) as (store, proxy):
        assert await store.run(ECHO, 1) == 1
        proxy.freeze()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.run(ECHO, 2), 0.05)
        proxy.thaw()
        assert await store.run(ECHO, 3) == 3


async def test_patience_waits_and_says_so_once(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Several calls wait for a store that is away; the log has one line when it goes and one when it is back."""
    caplog.set_level(logging.WARNING, "gateway.store")
    async with proxied(store_url) as (store, proxy):
        patience = Patience(store)
        proxy.cut()
        calls = asyncio.gather(*(patience.run(ECHO, number) for number in range(3)))
        while not patience.away:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
        proxy.restore()
        assert await calls == [0, 1, 2]
        assert not patience.away
    assert [" ".join(record.message.split()[:2]).rstrip(",") for record in caplog.records] == [
        "store away",
        "store back",
    ]


async def test_a_store_that_takes_no_writes_is_waited_for(store_url: str, namespace: str) -> None:
    """It answers, and refuses: too few replicas here; a full disk or a script that does not end are said the same way."""
    async with proxied(store_url) as (store, _), Redis.from_url(store_url) as redis:
        await redis.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
                await store.run(PUSH, (namespace, 1))
        finally:
            await redis.config_set("min-replicas-to-write", 0)
        assert await store.run(PUSH, (namespace, 1)) == 1


@pytest.mark.parametrize(
    ("said", "refuses"),
    [
        ("MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.", True),
        ("ERR Error running script (call to f_1): @user_script:1: -MISCONF Redis is configured to save", True),
        ("BUSY Redis is busy running a script.", True),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("ERR user_script:1: Script attempted to access nonexistent global variable 'BUSYNESS'", False),
    ],
)
def test_what_passes_is_told_from_a_mistake_of_ours(said: str, refuses: bool) -> None:
    """A mistake would never end, and waiting for it would hide it."""
    assert refuses_writes(ResponseError(said)) is refuses
