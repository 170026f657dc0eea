"""The service window, in a real store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.store import Patience, Store
from gateway.window import WINDOW_S, Window, as_one

ANA = "+573001234567"
LUIS = "+573017654321"


@asynccontextmanager
async def window(store_url: str, namespace: str) -> AsyncIterator[Window]:
    store = Store(store_url)
    yield Window(Patience(store), f"{namespace}:")
    await store.close()


async def test_who_wrote_can_be_answered_for_a_day(store_url: str, namespace: str) -> None:
    """By the number that was written to, from every process, for 24 hours from when it was written."""
    now = time.time()
    async with window(store_url, namespace) as ours, window(store_url, namespace) as others:
        await ours.opened("1", [(ANA, now - 3600), (LUIS, now - WINDOW_S - 2)])
        assert await others.open_for("1", [LUIS, ANA, ANA]) == [False, True, True]
        assert await others.open_for("2", [ANA]) == [False]
        assert await others.open_for("1", []) == []
    async with Redis.from_url(store_url) as redis:
        left = await redis.ttl(f"{namespace}:w:1:573001234567")
    assert WINDOW_S - 3610 < left <= WINDOW_S - 3599


async def test_what_comes_late_or_again_shortens_nothing(store_url: str, namespace: str) -> None:
    """Callbacks are repeated for days, and overtake each other, also within one."""
    now = time.time()
    async with window(store_url, namespace) as ours:
        await ours.opened("1", [(ANA, now), (ANA, now - 5000), (LUIS, now - 100)])
        await ours.opened("1", [(ANA, now - 2 * WINDOW_S), (LUIS, now)])
        assert await ours.open_for("1", [ANA, LUIS]) == [True, True]
    async with Redis.from_url(store_url) as redis:
        assert await redis.ttl(f"{namespace}:w:1:573001234567") > WINDOW_S - 60
        assert await redis.ttl(f"{namespace}:w:1:573017654321") > WINDOW_S - 60


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("+573001234567", "573001234567"),
        ("+525512345678", "+5215512345678"),
        ("+541123456789", "+5491123456789"),
        ("+5531987654321", "553187654321"),
        ("CO.1234567890", "CO.1234567890"),
    ],
)
def test_a_number_is_one_however_it_is_written(ours: str, theirs: str) -> None:
    """Ours in E.164, WhatsApp's in a way of its own."""
    assert as_one(ours) == as_one(theirs)


@pytest.mark.parametrize("other", ["+525512345679", "+5531387654321", "+15215512345", "CO.1234567891", ""])
def test_other_numbers_stay_others(other: str) -> None:
    """Landlines of Brazil have no ninth digit to lose."""
    assert as_one(other) == other.removeprefix("+")
