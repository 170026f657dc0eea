"""Tests of what is said of messages that have no place: how many they are in all processes, and when that is news."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.model import Event, EventStatus, TrafficClass, decode_event
from gateway.outbox import Record
from gateway.portfolio import Portfolio, Wish, limits_of
from gateway.shortage import Shortages, Waiting, is_news, short_of
from gateway.store import Patience, Script, Store

OTP, TRANSACTIONAL, BULK = TrafficClass
NOW = 1_800_000_000.0
MS = int(NOW * 1000)
HOUR = 3600.0


class Process:
    """What one process has of the portfolio `main`, and what it has published."""

    def __init__(self, store: Store, namespace: str, speaks: bool) -> None:
        self.portfolio = Portfolio("main", Patience(store), f"{namespace}:", {OTP: 0.1})
        self.limit: int | None = 100
        self.queued: dict[tuple[str, TrafficClass], int] = {}
        self.published: list[Event] = []
        self.broken = False
        self.shortages = Shortages(
            {"main": self.portfolio},
            Patience(store),
            limit_of=lambda _: self.limit,
            speaks=lambda _: speaks,
            waiting=self._waiting,
            publish=self._publish,
        )

    async def look(self, now: float = NOW, **queued: int) -> dict[TrafficClass, int]:
        """Look with so many in a queue of each class, and return who is short."""
        self.queued |= {(class_, TrafficClass(class_)): count for class_, count in queued.items()}
        await self.shortages.look(now)
        return dict(self.portfolio.short)

    @property
    def said(self) -> list[tuple[str | None, int]]:
        return [(event.class_, event.recipients) for event in self.published]

    async def _waiting(self) -> list[Waiting]:
        return [Waiting("main", queue, class_, count) for (queue, class_), count in self.queued.items()]

    async def _publish(self, records: list[Record]) -> None:
        self.published += [decode_event(value) for _, value in records]
        if self.broken:
            raise ConnectionError


@asynccontextmanager
async def processes(store_url: str, namespace: str, *speak: bool) -> AsyncIterator[list[Process]]:
    stores = [Store(store_url) for _ in speak]
    try:
        yield [Process(store, namespace, speaks) for store, speaks in zip(stores, speak, strict=True)]
    finally:
        for store in stores:
            await store.close()


def wishes(count: int, class_: TrafficClass = BULK) -> list[Wish]:
    return [Wish(f"{class_}{n}", f"t/{class_}{n}/1", class_) for n in range(count)]


async def test_what_will_not_fit_is_said_before_the_places_are_used_up(store_url: str, namespace: str) -> None:
    """Of a campaign that is larger than the limit, by class, and not again while it is the same."""
    async with processes(store_url, namespace, True) as (one,):
        assert await one.look(bulk=1000, otp=10) == {OTP: 0, TRANSACTIONAL: 0, BULK: 920}
        await one.look()
        [event] = one.published
    assert (event.status, event.class_, event.recipients) == (EventStatus.SHORT, BULK, 920)
    assert (event.portfolio, event.channel, event.message_id, event.job_id) == ("main", "whatsapp", "", "")
    assert event.time.timestamp() == NOW


async def test_a_shortage_is_said_to_change_and_to_end(store_url: str, namespace: str) -> None:
    """Each time under an id of its own."""
    async with processes(store_url, namespace, True) as (one,):
        for count in (90, 1000, 1005, 500, 90, 90):
            await one.look(bulk=count)
        assert one.said == [(BULK, 910), (BULK, 410), (BULK, 0)]
        assert len({event.event_id for event in one.published}) == 3


async def test_what_was_said_is_known_to_whoever_speaks_next(store_url: str, namespace: str) -> None:
    """A restart, or another owner, says nothing twice."""
    async with processes(store_url, namespace, True, True) as (one, other):
        await one.look(bulk=1000)
        await other.look()
        assert (len(one.published), other.published) == (1, [])
        await other.look(bulk=0)
        assert other.said == [(BULK, 0)]


async def test_a_store_that_has_forgotten_what_was_said_makes_no_id_twice(store_url: str, namespace: str) -> None:
    """Whoever reads events by their ids would take the second for the first."""
    async with processes(store_url, namespace, True) as (one,), Redis.from_url(store_url) as redis:
        await one.look(bulk=1000)
        await one.look(NOW + 2, bulk=500)
        await redis.delete(f"{one.portfolio.key}:said")
        await one.look(NOW + 4)
        assert len({event.event_id for event in one.published}) == len(one.published) == 3


async def test_what_was_published_and_not_noted_is_published_again_under_its_id(store_url: str, namespace: str) -> None:
    """Whoever reads it knows it."""
    async with processes(store_url, namespace, True, True) as (one, other):
        one.broken = True
        with pytest.raises(ConnectionError):
            await one.look(bulk=1000)
        await other.look()
        assert one.published[0].event_id == other.published[0].event_id


async def test_all_processes_are_counted_and_one_of_them_speaks(store_url: str, namespace: str) -> None:
    """A queue that went to another is counted once."""
    async with processes(store_url, namespace, True, False) as (one, other):
        one.queued = {("a", BULK): 50, ("b", BULK): 60}
        other.queued = {("c", BULK): 70}
        await one.look()
        await other.look()
        assert other.portfolio.short[BULK] == 90
        one.queued, other.queued = {("a", BULK): 50}, {("c", BULK): 70, ("b", BULK): 10}
        await other.look()
        assert (await one.look())[BULK] == 40
        assert other.published == []
        assert one.said[-1] == (BULK, 40)


async def test_who_was_put_off_counts_until_he_asks_again(store_url: str, namespace: str) -> None:
    """He is in no queue meanwhile, and not forgotten with the process that put him off."""
    async with processes(store_url, namespace, True, False) as (one, other):
        one.limit = other.limit = 10
        await other.portfolio.reserve(10, wishes(30), MS)
        assert (await other.look())[BULK] == 21
        assert (await one.look(NOW + 500))[BULK] == 21
        assert (await one.look(NOW + 920))[BULK] == 0


async def test_who_was_put_off_counts_once_when_the_answer_to_a_look_is_lost(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call had run and is repeated; the next look adds its own as ever."""
    once = Store.run

    async def twice(store: Store, script: Script, argument: Any) -> Any:
        await once(store, script, argument)
        return await once(store, script, argument)

    monkeypatch.setattr(Store, "run", twice)
    async with processes(store_url, namespace, True) as (one,):
        one.limit = 10
        await one.portfolio.reserve(10, wishes(30), MS)
        assert (await one.look())[BULK] == 21
        await one.portfolio.reserve(10, wishes(30), MS)
        assert (await one.look())[BULK] == 42


async def test_places_that_become_free_in_time_are_counted_on(store_url: str, namespace: str) -> None:
    """Those of who was reached today are free tomorrow."""
    async with processes(store_url, namespace, True) as (one,):
        one.limit = 10
        await one.portfolio.reserve(10, wishes(9), MS)
        assert (await one.look(bulk=5))[BULK] == 5
        assert (await one.look(NOW + HOUR))[BULK] == 0


async def test_without_a_limit_nothing_is_short(store_url: str, namespace: str) -> None:
    """And what was said before is over."""
    async with processes(store_url, namespace, True) as (one,):
        await one.look(bulk=1000)
        one.limit = None
        assert await one.look() == dict.fromkeys(TrafficClass, 0)
        assert one.said == [(BULK, 910), (BULK, 0)]


async def test_bulk_leaves_its_places_to_passwords_that_wait_in_another_process(store_url: str, namespace: str) -> None:
    """As of the last look, less those that have asked since."""
    async with processes(store_url, namespace, True, False) as (one, other):
        await one.look(otp=40)
        await other.look()
        answers = await other.portfolio.reserve(100, wishes(100), MS)
        assert sum(answer.placed for answer in answers) == 100 - 40 - 10  # waiting, and kept
        answers = await other.portfolio.reserve(100, wishes(40, OTP) + wishes(100), MS)
        assert [answer.placed for answer in answers].count(True) == 40 + 50
        answers = await other.portfolio.reserve(100, wishes(20, OTP), MS)
        assert all(answer.placed for answer in answers)


@pytest.mark.parametrize(
    ("kept", "taken", "waiting", "short"),
    [
        ({}, 40, {BULK: 60}, (0, 0, 0)),
        ({}, 40, {BULK: 61}, (0, 0, 1)),
        ({}, 40, {OTP: 30, BULK: 40}, (0, 0, 10)),
        ({}, 40, {OTP: 70, TRANSACTIONAL: 5, BULK: 40}, (10, 5, 40)),
        ({OTP: 0.1}, 40, {BULK: 60}, (0, 0, 10)),
        ({OTP: 0.1}, 95, {OTP: 5, BULK: 1}, (0, 0, 1)),
        ({}, 130, {OTP: 7}, (7, 0, 0)),  # a limit that was lowered
        ({}, -20, {BULK: 100}, (0, 0, 0)),
    ],
)
def test_how_many_will_not_fit(
    kept: dict[TrafficClass, float], taken: int, waiting: dict[TrafficClass, int], short: tuple[int, ...]
) -> None:
    """What is kept for others is not theirs."""
    assert tuple(short_of(limits_of(100, kept), taken, waiting).values()) == short


@given(st.integers(0, 50), st.integers(0, 50), st.tuples(*[st.integers(0, 60)] * 3))
def test_nobody_is_short_while_less_urgent_ones_have_places(
    limit: int, taken: int, counts: tuple[int, int, int]
) -> None:
    """The most urgent come first, and nothing is left free while somebody waits."""
    short = short_of(limits_of(limit, {}), taken, dict(zip(TrafficClass, counts, strict=True)))
    given = [count - short[class_] for class_, count in zip(TrafficClass, counts, strict=True)]
    for n, class_ in enumerate(TrafficClass):
        if short[class_]:
            assert not any(given[n + 1 :])
    assert sum(given) == min(sum(counts), max(0, limit - taken))


def test_a_shortage_is_news_when_it_begins_changes_by_a_tenth_and_ends() -> None:
    """Not at every look."""
    said, news = 0, []
    for short in (0, 1000, 1100, 1101, 1050, 990, 3, 0, 0):
        news.append(is_news(said, short))
        said = short if news[-1] else said
    assert news == [False, True, False, True, False, True, True, True, False]
