"""Tests of how conditions reach all processes, outlive them, and are asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from redis.asyncio import Redis

from gateway import board as module
from gateway.board import Board, Poll, Polled
from gateway.conditions import Conditions, Whose
from gateway.embedded import HOST, free_port
from gateway.errors import GatewayError
from gateway.providers.contract import Call, Change, Reply
from gateway.providers.whatsapp import WhatsApp, WhatsAppSettings, failure_of
from gateway.store import Patience, Store
from gateway.tables import Secret
from tests.support.store import start_store

OURS = Whose("1065", "waba", "main")
RED, GREEN = (Change("number:1065", "quality", quality) for quality in ("RED", "GREEN"))
TEMPLATE = "template:payment_due/es_MX"
DAY = 86_400.0


class Process:
    """A board of its own, which counts how often it woke somebody."""

    def __init__(self, store: Store, namespace: str) -> None:
        self.conditions = Conditions()
        self.woken = 0
        self.board = Board(self.conditions, Patience(store), f"{namespace}:", self._wake)

    def _wake(self) -> None:
        self.woken += 1

    @property
    def quality(self) -> str:
        return self.conditions.quality("1065")


@asynccontextmanager
async def processes(store_url: str, namespace: str, number: int = 2) -> AsyncIterator[list[Process]]:
    stores = [Store(store_url) for _ in range(number)]
    try:
        yield [Process(store, namespace) for store in stores]
    finally:
        for store in stores:
            await store.close()


@asynccontextmanager
async def running(*tasks: Awaitable[None]) -> AsyncIterator[None]:
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.01)


async def test_what_one_process_learns_the_others_know(store_url: str, namespace: str) -> None:
    """Itself at once; the other looks twice a second. Both wake whoever sends."""
    async with processes(store_url, namespace) as (one, other), running(one.board.run(), other.board.run()):
        await until(lambda: other.board._version >= 0)
        one.board.changed([RED], OURS, time.time())
        assert (one.quality, one.woken) == ("RED", 1)
        await until(lambda: other.quality == "RED")
        assert other.woken == 1


async def test_what_was_learned_is_there_after_a_restart(store_url: str, namespace: str) -> None:
    """Before anything is sent."""
    async with processes(store_url, namespace) as (one, later):
        failure = failure_of(132016)
        assert failure is not None
        one.board.failed(failure, OURS, TEMPLATE, time.time())
        await one.board.load()
        await later.board.load()
        assert later.conditions.template_state("waba", TEMPLATE, time.time()).standing == "gone"


async def test_the_later_of_two_words_wins_whoever_tells_it_first(store_url: str, namespace: str) -> None:
    """A process that was slow to tell does not undo what came after."""
    now = time.time()
    async with processes(store_url, namespace) as (slow, quick):
        slow.board.changed([RED], OURS, now - 1)
        quick.board.changed([GREEN], OURS, now)
        await quick.board.load()
        await slow.board.load()
        await quick.board.load()
        assert (slow.quality, quick.quality) == ("GREEN", "GREEN")


async def test_nothing_is_read_while_the_version_is_the_same(store_url: str, namespace: str) -> None:
    """Telling the same again makes no other."""
    now = time.time()
    async with processes(store_url, namespace) as (one, other), Redis.from_url(store_url) as redis:
        one.board.changed([RED], OURS, now)
        other.board.changed([RED], OURS, now)
        await one.board.load()
        await other.board.load()
        await redis.hset(f"{namespace}:conditions", "number:1065|quality", f'[{now + 1},"GREEN",0]')
        await one.board.load()
        assert one.quality == "RED"
        other.board.changed([Change("portfolio", "limit", "TIER_2K")], OURS, now)
        await other.board.load()
        await one.board.load()
        assert one.quality == "GREEN"


async def test_a_store_that_has_forgotten_is_told_again(store_url: str, namespace: str) -> None:
    """By whoever is still there; and what others tell it meanwhile is not lost for that."""
    async with processes(store_url, namespace, 3) as (one, other, late), Redis.from_url(store_url) as redis:
        one.board.changed([RED], OURS, time.time())
        await one.board.load()
        await redis.delete(f"{namespace}:conditions")
        other.board.changed([Change("portfolio", "limit", "TIER_2K")], OURS, time.time())
        await other.board.load()
        await one.board.load()  # finds that something is missing
        await one.board.load()  # tells it
        await late.board.load()
        assert (late.quality, late.conditions.limit("main", 7)) == ("RED", 2000)


async def test_a_store_with_an_old_memory_is_told_what_came_after(store_url: str, namespace: str) -> None:
    """It came back from a snapshot."""
    now = time.time()
    key = f"{namespace}:conditions"
    async with processes(store_url, namespace) as (one, late), Redis.from_url(store_url) as redis:
        one.board.changed([GREEN], OURS, now - 60)
        await one.board.load()
        snapshot = await redis.dump(key)
        one.board.changed([RED], OURS, now)
        await one.board.load()
        await redis.restore(key, 0, snapshot, replace=True)
        await one.board.load()
        await one.board.load()
        await late.board.load()
        assert (one.quality, late.quality) == ("RED", "RED")


async def test_what_was_not_said_again_for_long_is_forgotten(store_url: str, namespace: str) -> None:
    """By the store, too: it holds no more than what counts."""
    now = time.time()
    async with processes(store_url, namespace) as (one, late), Redis.from_url(store_url) as redis:
        one.board.changed([RED], OURS, now - 91 * DAY)
        one.board.changed([Change("portfolio", "limit", "TIER_2K")], OURS, now - 89 * DAY)
        await one.board.load()
        await late.board.load()
        await late.board.load()
        assert (late.quality, late.conditions.limit("main", 7)) == ("UNKNOWN", 2000)
        assert await redis.hlen(f"{namespace}:conditions") == 2


async def test_what_is_learned_without_a_store_counts_here_and_is_told_later(namespace: str) -> None:
    """Nobody stands still for it."""
    port = free_port()
    url = f"redis://{HOST}:{port}/0"
    async with processes(url, namespace) as (one, late), running(one.board.run()):
        one.board.changed([RED], OURS, time.time())
        await asyncio.sleep(0)
        assert one.quality == "RED"
        async with start_store(port=port):
            await until(lambda: not one.board._untold)
            await late.board.load()
            assert late.quality == "RED"


async def test_a_callback_is_answered_when_what_it_said_is_safe(store_url: str, namespace: str) -> None:
    """It comes once; a crash after the answer must not lose it."""
    async with processes(store_url, namespace) as (one, late):
        one.board.changed([RED], OURS, time.time())
        await one.board.safe()
        await late.board.load()
        assert late.quality == "RED"


async def test_digits_of_a_number_are_not_logged(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its id is, with what changed."""
    async with processes(store_url, namespace, 1) as (one,):
        with caplog.at_level(logging.WARNING, "gateway.conditions"):
            changes = [
                RED,
                Change("number:1065", "display_phone_number", "+15550783881"),
                Change("number:+15550783881", "throughput", "HIGH"),
            ]
            one.board.changed(changes, OURS, time.time())
    assert "number:1065 quality='RED'" in caplog.text
    assert "15550783881" not in caplog.text


HEALTH = (
    b'{"quality_rating":"RED","throughput":{"level":"STANDARD"},"whatsapp_business_manager_messaging_limit":"TIER_2K"}'
)


class Numbers:
    """The far end: answers, or none."""

    def __init__(self, *answers: Reply | GatewayError) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self._count = count()
        secret = Secret("secret")
        self.provider = WhatsApp(
            WhatsAppSettings(phone_number_id="1065", token=secret, app_secret=secret, verify_token=secret)
        )

    async def call(self, call: Call) -> Reply:
        self.asked.append(call.url)
        answer = self.answers[min(next(self._count), len(self.answers) - 1)]
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    def lane(self, name: str) -> Polled:
        return Polled(name, self.provider, self.call, OURS)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


@pytest.mark.usefixtures("quickly")
async def test_the_health_of_owned_numbers_is_asked_for(store_url: str, namespace: str) -> None:
    """Once in a while each; one that comes later as soon as it is seen."""
    numbers = Numbers(Reply(200, {}, HEALTH))
    owned = [numbers.lane("alpha")]
    async with processes(store_url, namespace, 1) as (one,):
        async with running(Poll(one.board, lambda: owned, 1000.0).run()):
            await until(lambda: one.quality == "RED")
            owned.append(numbers.lane("beta"))
            await until(lambda: len(numbers.asked) == 2)
            await asyncio.sleep(0.05)
        assert len(numbers.asked) == 2
        assert one.conditions.limit("main", 7) == 2000


@pytest.mark.usefixtures("quickly")
async def test_a_number_that_is_given_up_while_it_is_asked_is_not_complained_of(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connections are closed then, by ourselves: at a stop, or when another process takes the slot."""
    numbers = Numbers(GatewayError("closed"))
    owned: list[Polled] = []

    async def given_up(call: Call) -> Reply:
        owned.clear()
        return await numbers.call(call)

    owned.append(Polled("alpha", numbers.provider, given_up, OURS))
    async with processes(store_url, namespace, 1) as (one,), running(Poll(one.board, lambda: list(owned), 0.0).run()):
        await until(lambda: bool(numbers.asked))
        await asyncio.sleep(0.05)
    assert "cannot be asked for" not in caplog.text


@pytest.mark.usefixtures("quickly")
async def test_a_number_that_does_not_answer_is_complained_of_once(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it answers again; what was known stays."""
    caplog.set_level(logging.INFO, "gateway.conditions")
    numbers = Numbers(
        Reply(200, {}, HEALTH),
        *[GatewayError("connection refused"), Reply(400, {}, b"{}"), Reply(200, {}, b"garbage")],
        Reply(200, {}, HEALTH),
    )
    async with processes(store_url, namespace, 1) as (one,):
        async with running(Poll(one.board, lambda: [numbers.lane("alpha")], 0.0).run()):
            await until(lambda: len(numbers.asked) > 5)
        assert one.quality == "RED"
    assert caplog.text.count("cannot be asked for") == 1
    assert caplog.text.count("known again") == 1


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ([Change("number:1065", "quality", "RED")], "WARNING"),
        ([Change("number:1065", "quality", "RED"), Change("number:1065", "quality", "YELLOW")], "INFO"),
        ([Change("number:1065", "quality", "YELLOW"), Change("number:1065", "quality", "GREEN")], "INFO"),
        ([Change("number:1065", "quality", "GREEN"), Change("number:1065", "quality", "YELLOW")], "WARNING"),
        ([Change("number:1065", "quality", "UNKNOWN")], "INFO"),
        ([Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE")], "WARNING"),
        ([Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE"), Change(TEMPLATE, "status", "APPROVED")], "INFO"),
        ([Change(TEMPLATE, "status", "FLAGGED", "NONE")], "WARNING"),
        ([Change(TEMPLATE, "category", "MARKETING", "UTILITY")], "WARNING"),
        ([Change(TEMPLATE, "category", "MARKETING"), Change(TEMPLATE, "category", "MARKETING")], "INFO"),
        ([Change(TEMPLATE, "category", "UTILITY", "MARKETING")], "INFO"),
        ([Change("portfolio", "limit", "TIER_2K")], "INFO"),
        ([Change("portfolio", "limit", "TIER_2K"), Change("portfolio", "limit", "10000")], "INFO"),
        ([Change("portfolio", "limit", "TIER_UNLIMITED"), Change("portfolio", "limit", "TIER_100K")], "WARNING"),
        ([Change("portfolio", "limit", "TIER_250"), Change("portfolio", "limit", "-1")], "INFO"),
        ([Change("number:1065", "throughput", "HIGH"), Change("number:1065", "throughput", "STANDARD")], "WARNING"),
        ([Change("number:1065", "throughput", "STANDARD"), Change("number:1065", "throughput", "HIGH")], "INFO"),
        ([Change("account:1", "ban", "DISABLE")], "WARNING"),
        ([Change("account:1", "ban", "DISABLE"), Change("account:1", "ban", "REINSTATE")], "INFO"),
        ([Change("account:1", "restriction", "RESTRICTED_BIZ_INITIATED_MESSAGING")], "WARNING"),
    ],
)
async def test_bad_news_are_warnings_and_good_ones_are_not(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture, said: list[Change], level: str
) -> None:
    """What holds something up, or is worse than it was."""
    caplog.set_level(logging.INFO, "gateway.conditions")
    async with processes(store_url, namespace, 1) as (one,):
        for n, change in enumerate(said):
            one.board.changed([change], OURS, time.time() + n)
    assert caplog.records[-1].levelname == level
