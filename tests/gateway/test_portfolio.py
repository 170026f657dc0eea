"""Tests of the places of a portfolio: who gets one, for how long, and what is said to who does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.model import TrafficClass
from gateway.portfolio import DAY_MS, GOES, Answer, Portfolio, Wish, limits_of
from gateway.store import Patience, Store

OTP, TRANSACTIONAL, BULK = TrafficClass
NOW = 1_800_000_000_000
SECOND = 1000
HOUR = 3600 * SECOND
WINDOW = DAY_MS + HOUR
"""After which a place is certainly free."""
PLACED = Answer(0.0, placed=True)
SOON, LATE = 30.0, 900.0
"""Seconds after which those ask again for whom there is a place if others do not want it, and those for whom there is none."""


@asynccontextmanager
async def portfolios(
    store_url: str, namespace: str, kept: dict[TrafficClass, float] | None = None, names: tuple[str, ...] = ("main",)
) -> AsyncIterator[list[Portfolio]]:
    """Portfolios, each as a process of its own has it."""
    stores = [Store(store_url) for _ in names]
    try:
        yield [
            Portfolio(name, Patience(store), f"{namespace}:", kept or {})
            for name, store in zip(names, stores, strict=True)
        ]
    finally:
        for store in stores:
            await store.close()


def wishes(*people: str, class_: TrafficClass = BULK, window_open: bool = False, attempt: int = 1) -> list[Wish]:
    return [Wish(person, f"t/{person}/{attempt}", class_, window_open) for person in people]


async def granted(portfolio: Portfolio, limit: int, asked: list[Wish], now: int = NOW) -> list[bool]:
    return [not answer.wait_s for answer in await portfolio.reserve(limit, asked, now)]


async def test_distinct_people_have_places_up_to_the_limit(store_url: str, namespace: str) -> None:
    """Whoever comes after that waits."""
    async with portfolios(store_url, namespace) as (one,):
        assert await granted(one, 2, wishes("a", "b", "c")) == [True, True, False]
        assert (one.used, one.denied) == (2, 1)


async def test_all_processes_share_the_places(store_url: str, namespace: str) -> None:
    """What one has reserved another has not."""
    async with portfolios(store_url, namespace, names=("main", "main")) as (one, other):
        assert await granted(one, 2, wishes("a")) == [True]
        assert await granted(other, 2, wishes("b", "c")) == [True, False]


async def test_portfolios_do_not_share(store_url: str, namespace: str) -> None:
    """Each has a limit of its own."""
    async with portfolios(store_url, namespace, names=("one", "other")) as (one, other):
        await granted(one, 1, wishes("a"))
        assert await granted(other, 1, wishes("a")) == [True]


async def test_who_counts_already_is_free(store_url: str, namespace: str) -> None:
    """Also when all places are taken, or more than there are."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 2, wishes("a", "b"))
        assert await one.reserve(1, wishes("a", attempt=2), NOW) == [PLACED]
        assert await one.reserve(1, wishes("a", attempt=2), NOW) == [Answer(0.0, placed=True, had=True)]


async def test_two_ways_to_write_a_number_are_one_person(store_url: str, namespace: str) -> None:
    """Mexican ones with and without a 1."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("+525512345678"))
        assert await granted(one, 1, wishes("+5215512345678", attempt=2)) == [True]
        await one.settle([], [("+5215512345678", "t/+525512345678/1"), ("525512345678", "t/+5215512345678/2")], NOW)
        assert await granted(one, 1, wishes("b")) == [True]


async def test_an_attempt_keeps_its_place_when_it_is_asked_for_again(store_url: str, namespace: str) -> None:
    """A call that was cut short is repeated."""
    async with portfolios(store_url, namespace) as (one,):
        assert await granted(one, 1, wishes("a")) == await granted(one, 1, wishes("a")) == [True]
        await one.settle([], [("a", "t/a/1")], NOW)
        assert await granted(one, 1, wishes("b")) == [True]


async def test_an_open_window_needs_no_place(store_url: str, namespace: str) -> None:
    """Nothing is reserved, and nothing has to be settled."""
    async with portfolios(store_url, namespace) as (one,):
        assert await one.reserve(0, wishes("a", window_open=True), NOW) == [GOES]
        assert await one.reserve(1, wishes("a", window_open=True) + wishes("b"), NOW) == [GOES, PLACED]


async def test_without_a_limit_nothing_is_counted(store_url: str, namespace: str) -> None:
    """Millions would have to be remembered for nothing."""
    async with portfolios(store_url, namespace) as (one,):
        assert await one.reserve(None, wishes("a", "b"), NOW) == [GOES, GOES]
        assert await granted(one, 1, wishes("c")) == [True]


async def test_a_failure_gives_the_place_back_at_once(store_url: str, namespace: str) -> None:
    """It never reached anybody."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("a"))
        await one.settle([], [("a", "t/a/1")], NOW)
        assert await granted(one, 1, wishes("b")) == [True]


async def test_the_failure_of_one_attempt_leaves_the_place_to_another(store_url: str, namespace: str) -> None:
    """A person counts as long as any message may have been, or was, delivered."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("a") + wishes("a", attempt=2))
        await one.settle([], [("a", "t/a/1")], NOW)
        assert await granted(one, 1, wishes("b")) == [False]


async def test_a_place_counts_a_day_from_the_delivery(store_url: str, namespace: str) -> None:
    """Not from when it was reserved."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("a"))
        await one.settle([("a", "t/a/1")], [], NOW + 5 * HOUR)
        assert await granted(one, 1, wishes("b"), NOW + 5 * HOUR + DAY_MS - 1) == [False]
        assert await granted(one, 1, wishes("b"), NOW + 5 * HOUR + WINDOW) == [True]


async def test_a_place_that_is_never_confirmed_is_kept_for_a_whole_window(store_url: str, namespace: str) -> None:
    """It may have been delivered."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("a"))
        assert await granted(one, 1, wishes("b"), NOW + DAY_MS) == [False]
        assert await granted(one, 1, wishes("b"), NOW + WINDOW) == [True]


async def test_a_lower_limit_counts_at_once(store_url: str, namespace: str) -> None:
    """No new places until fewer are used than it allows."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 3, wishes("a", "b", "c"))
        assert await granted(one, 2, wishes("d")) == [False]
        await one.settle([], [("a", "t/a/1")], NOW)
        assert await granted(one, 2, wishes("d")) == [False]
        await one.settle([], [("b", "t/b/1")], NOW)
        assert await granted(one, 2, wishes("d")) == [True]


async def test_a_clock_that_steps_back_frees_nothing(store_url: str, namespace: str) -> None:
    """Nor does it make a place last for longer than it does for the others."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("a"), NOW)
        assert await granted(one, 1, wishes("b"), NOW - 10 * DAY_MS) == [False]
        assert await granted(one, 1, wishes("b"), NOW + WINDOW) == [True]


async def test_urgent_classes_come_first_in_a_batch(store_url: str, namespace: str) -> None:
    """Wherever they stand in it; the answers are in the order of the wishes."""
    async with portfolios(store_url, namespace) as (one,):
        batch = wishes("a", "b") + wishes("c", class_=TRANSACTIONAL) + wishes("d", class_=OTP)
        assert await granted(one, 2, batch) == [False, False, True, True]


async def test_a_class_leaves_places_to_more_urgent_ones_behind_it(store_url: str, namespace: str) -> None:
    """They are queued already: bulk that is read beside the first of them does not take the last places."""
    async with portfolios(store_url, namespace) as (one,):
        batch = wishes("a", "b", "c") + wishes("d", class_=OTP)
        answers = await one.reserve(4, batch, NOW, {OTP: 1, TRANSACTIONAL: 1, BULK: 50})
        assert [answer.placed for answer in answers] == [True, False, False, True]
        # Two places are left, should nobody want them.
        assert [answer.wait_s for answer in answers] == [0.0, SOON, SOON, 0.0]
        assert await granted(one, 4, wishes("e", class_=OTP) + wishes("f", class_=TRANSACTIONAL)) == [True, True]


async def test_no_more_ask_again_soon_than_there_are_places(store_url: str, namespace: str) -> None:
    """However many calls a campaign makes meanwhile: the rest of it would go round for nothing."""
    async with portfolios(store_url, namespace) as (one,):

        async def waits(people: str, now: int = NOW) -> list[float]:
            return [answer.wait_s for answer in await one.reserve(2, wishes(*people), now, {OTP: 2})]

        assert await waits("abc") == [SOON, SOON, LATE]
        assert await waits("def") == [LATE, LATE, LATE]
        assert await waits("ghi", NOW + int(SOON) * SECOND) == [SOON, SOON, LATE]


async def test_a_class_leaves_what_is_kept_for_more_urgent_ones(store_url: str, namespace: str) -> None:
    """Bulk ends first, then transactional; OTP may have all of it."""
    async with portfolios(store_url, namespace, {OTP: 0.1, TRANSACTIONAL: 0.2}) as (one,):
        for class_, most in ((BULK, 7), (TRANSACTIONAL, 2), (OTP, 1)):
            people = wishes(*(f"{class_}{n}" for n in range(10)), class_=class_)
            assert sum(await granted(one, 10, people)) == most


async def test_who_waits_is_told_when_the_next_places_become_free(store_url: str, namespace: str) -> None:
    """One each, so that they do not all come for the first; the next call is told of those after."""
    async with portfolios(store_url, namespace) as (one,):
        for n, person in enumerate("abc"):
            await granted(one, 3, wishes(person), NOW + n * 60 * SECOND)
        later = NOW + DAY_MS + 8 * 60 * SECOND
        first = [answer.wait_s for answer in await one.reserve(3, wishes("d", "e"), later)]
        second = [answer.wait_s for answer in await one.reserve(3, wishes("f", "g"), later)]
        assert first == [120.0, 180.0]
        assert second == [240.0, 900.0]


async def test_a_promise_is_forgotten_when_its_time_has_come(store_url: str, namespace: str) -> None:
    """Whoever was first by then, the next place is the next again."""
    async with portfolios(store_url, namespace) as (one,):
        for n, person in enumerate("abc"):
            await granted(one, 3, wishes(person), NOW + n * 60 * SECOND)
        later = NOW + DAY_MS + 8 * 60 * SECOND
        await one.reserve(3, wishes("d", "e"), later)
        assert await granted(one, 3, wishes("f", "g"), later + 180 * SECOND) == [True, True]
        assert [answer.wait_s for answer in await one.reserve(3, wishes("d"), later + 180 * SECOND)] == [60.0]


async def test_beyond_a_lower_limit_the_places_that_go_first_are_nobodys(store_url: str, namespace: str) -> None:
    """With three used of one, the third that becomes free is the next that can be had."""
    async with portfolios(store_url, namespace) as (one,):
        for n, person in enumerate("abc"):
            await granted(one, 3, wishes(person), NOW + n * 60 * SECOND)
        later = NOW + DAY_MS + 8 * 60 * SECOND
        assert [answer.wait_s for answer in await one.reserve(1, wishes("d"), later)] == [240.0]


async def test_nobody_waits_for_long_without_asking(store_url: str, namespace: str) -> None:
    """The limit may be raised, or be 0 for now."""
    async with portfolios(store_url, namespace) as (one,):
        await granted(one, 1, wishes("a"))
        assert [answer.wait_s for answer in await one.reserve(1, wishes("b"), NOW)] == [900.0]
        assert [answer.wait_s for answer in await one.reserve(0, wishes("b"), NOW)] == [900.0]


async def test_attempts_of_which_nobody_has_told_are_forgotten(store_url: str, namespace: str) -> None:
    """Also of a person who is written to every day, whose place never becomes free."""
    async with portfolios(store_url, namespace) as (one,), Redis.from_url(store_url) as redis:
        sizes = []
        for day in range(30):
            assert await granted(one, 1, wishes("a", attempt=100 + day), NOW + day * (DAY_MS - HOUR)) == [True]
            (key,) = await redis.keys(f"{namespace}:*:pending")
            sizes.append(await redis.hstrlen(key, ":a"))
        assert sizes[-1] == sizes[1] < 100


@pytest.mark.parametrize(
    ("limit", "kept", "limits"),
    [
        (2000, {}, (2000, 2000, 2000)),
        (2000, {OTP: 0.02, TRANSACTIONAL: 0.05}, (2000, 1960, 1860)),
        (250, {TRANSACTIONAL: 0.1, BULK: 0.9}, (250, 250, 225)),
        (0, {OTP: 0.5}, (0, 0, 0)),
    ],
)
def test_limits_of_the_classes(limit: int, kept: dict[TrafficClass, float], limits: tuple[int, ...]) -> None:
    """Each has what is not kept for more urgent ones."""
    assert tuple(limits_of(limit, kept).values()) == limits
