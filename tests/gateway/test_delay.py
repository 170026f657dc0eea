"""Tests of the delay ladder: which rung, what comes off it when, and that nothing is lost, through failures too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from gateway.delay import DelayLoop, Due, Ladder, Shelf, Waiting, rung_for
from gateway.outbox import Batches, Outbox
from tests.support.dispatching import FETCHER

TARGET = "handler"
LOW = TopicPartition("delay.1", 0)
HIGH = TopicPartition("delay.60", 0)
RUNGS = {"delay.1": 1, "delay.60": 60}


@given(st.sets(st.integers(1, 10_000), min_size=1), st.floats(-10, 20_000))
def test_a_rung_never_overshoots_while_another_would_not(rungs: set[int], wait: float) -> None:
    """The largest rung within the wait, or the smallest when even that is too long."""
    rung = rung_for(sorted(rungs), wait)
    within = [each for each in rungs if each <= wait]
    assert rung == (max(within) if within else min(rungs))


@given(st.lists(st.integers(1, 50_000), min_size=1, unique=True), st.floats(0, 100_000))
def test_every_climb_brings_a_record_nearer_and_the_last_is_on_the_smallest_rung(rungs: list[int], wait: float) -> None:
    """However long it waits: no rung is taken twice in vain, and what is left in the end is less than the smallest."""
    ladder = Ladder({rung: (str(rung), 1) for rung in rungs})
    now = 0.0
    while wait - now >= min(rungs):
        batches: Batches = {}
        ladder.climb(batches, wait, b"k", b"v", now)
        ((topic, _),) = batches
        assert now + int(topic) <= wait
        now += int(topic)


# The shelf.


def record(tp: TopicPartition, offset: int, at: float, due: float) -> ConsumerRecord:
    value = msgspec.json.encode(Waiting(due, TARGET, msgspec.Raw(b"1")))
    return ConsumerRecord(tp.topic, tp.partition, offset, int(at * 1000), 0, b"k", value, None, 1, len(value), ())


def offsets(taken: list[Due]) -> list[int]:
    return [record.offset for _, record, _ in taken]


@given(st.lists(st.floats(0, 5), min_size=1), st.floats(0, 10), st.sampled_from([LOW, HIGH]))
def test_what_comes_off_is_due_or_has_been_on_its_rung_for_long_enough(
    waits: list[float], now: float, tp: TopicPartition
) -> None:
    """All of that, nothing else, the earliest first."""
    shelf = Shelf(RUNGS)
    shelf.put(tp, [record(tp, n, 0.0, wait) for n, wait in enumerate(waits)], 0.0)
    taken = offsets(shelf.take(now, 1000))
    off = [min(wait, RUNGS[tp.topic]) for wait in waits]
    assert sorted(taken) == [n for n, moment in enumerate(off) if moment <= now]
    assert [off[n] for n in taken] == sorted(off[n] for n in taken)
    assert len(shelf) == len(waits) - len(taken)


@given(st.permutations(range(12)), st.integers(1, 12))
def test_the_position_never_passes_what_is_not_done(order: list[int], size: int) -> None:
    """In whatever order records are handed over; when all are, it is the end."""
    shelf = Shelf(RUNGS)
    shelf.put(LOW, [record(LOW, 100 + n, 0.0, 0.0) for n in range(12)], 0.0)
    taken = shelf.take(1.0, 12)
    done: set[int] = set()
    position = 100
    for start in range(0, 12, size):
        some = [taken[n] for n in order[start : start + size]]
        shelf.done(some)
        done.update(offsets(some))
        position = shelf.positions().get(LOW, position)
        assert set(range(100, position)) <= done
        assert position not in done
        shelf.committed({LOW: position})
        assert shelf.positions() == {}
    assert done == set(range(100, 112))
    assert position == 112


def test_a_partition_is_left_alone_while_much_of_it_is_in_hand() -> None:
    """However much waits, memory holds a bounded part of it; more where any record may be due next."""
    held = {}
    for tp in (LOW, HIGH):
        shelf = Shelf(RUNGS)
        offset = 0
        while shelf.wanting([tp]) and offset < 1_000_000:
            shelf.put(tp, [record(tp, offset + n, 0.0, 1e9) for n in range(100)], 0.0)
            offset += 100
        held[tp] = len(shelf)
        shelf.done(shelf.take(1e8, 100))
        assert shelf.wanting([tp]) == [tp]
    assert held[HIGH] < held[LOW] <= 10_000


def test_a_clock_that_is_ahead_holds_nobody_up_for_longer_than_the_rung() -> None:
    """Whoever wrote them thought it was tomorrow."""
    shelf = Shelf(RUNGS)
    shelf.put(LOW, [record(LOW, 0, 86_400.0, 172_800.0)], 10.0)
    assert len(shelf.take(10.0 + RUNGS[LOW.topic], 1)) == 1


def test_a_partition_that_comes_back_is_read_anew() -> None:
    """What was held of it comes off once, not twice; what is done of the old does not count for the new."""
    shelf = Shelf(RUNGS)
    shelf.put(LOW, [record(LOW, n, 0.0, 0.0) for n in range(10)], 0.0)
    before = shelf.take(1.0, 4)
    shelf.put(LOW, [record(LOW, n, 0.0, 0.0) for n in range(2, 10)], 0.0)
    shelf.done(before)
    after = shelf.take(1.0, 100)
    assert offsets(after) == list(range(2, 10))
    assert shelf.positions() == {}
    shelf.done(after)
    assert shelf.positions() == {LOW: 10}


def test_what_is_taken_away_is_forgotten() -> None:
    """Nothing of it comes off, and nothing of it is committed."""
    shelf = Shelf(RUNGS)
    shelf.put(LOW, [record(LOW, n, 0.0, 0.0) for n in range(10)], 0.0)
    taken = shelf.take(1.0, 5)
    shelf.clear()
    shelf.done(taken)
    assert (shelf.take(1.0, 100), shelf.positions(), len(shelf)) == ([], {}, 0)


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"{}", b'["soon","t",1]'])
def test_a_record_that_is_not_ours_holds_nothing_up(value: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    """It is said where it was, and passed."""
    shelf = Shelf(RUNGS)
    shelf.put(LOW, [ConsumerRecord("delay.1", 0, 7, 0, 0, b"k", value, None, 0, 0, ())], 0.0)
    assert shelf.positions() == {LOW: 8}
    assert [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR] == [
        "delay ladder: not ours topic=delay.1 offset=7"
    ]


# The loop.


class Bench:
    """A ladder with rungs of one and two seconds, in topics of its own, and who takes what comes off it."""

    def __init__(self, namespace: str, outbox: Outbox, consumer: AIOKafkaConsumer) -> None:
        self.outbox = outbox
        self.target_topic = f"{namespace}.target"
        topics = {rung: (f"{namespace}.delay.{rung}", 2) for rung in (1, 2)}
        self.ladder = Ladder(topics)
        self.taken: list[tuple[bytes, float]] = []
        """What the handler was given, and when (Unix seconds)."""
        self.failures = 0
        """How many times the handler is still to fail."""
        self.asked = asyncio.Event()
        """The handler was called."""
        self.open = asyncio.Event()
        """Without it the handler takes nothing."""
        self.open.set()
        self.loop = DelayLoop(
            consumer=consumer,
            outbox=outbox,
            ladder=self.ladder,
            rung_of={topic: rung for rung, (topic, _) in topics.items()},
            handlers={TARGET: self._take},
        )

    async def put(self, due: float, *payloads: bytes, target: str = TARGET) -> None:
        batches: Batches = {}
        for payload in payloads:
            self.ladder.put(batches, due, target, payload, payload, time.time())
        await self.outbox.send(batches)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)

    async def _take(self, payloads: Sequence[bytes]) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaError("not now")
        self.asked.set()
        await self.open.wait()
        self.taken += [(payload, time.time()) for payload in payloads]


async def topics(broker: str, namespace: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(f"{namespace}.{name}", 2, 1) for name in ("delay.1", "delay.2", "target")])
    await admin.close()


@asynccontextmanager
async def running(broker: str, namespace: str) -> AsyncIterator[Bench]:
    """A loop on topics that are there; leaving stops it as a worker does."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=namespace,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
        session_timeout_ms=2000,
        heartbeat_interval_ms=200,
    )
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        it = Bench(namespace, Outbox(producer), consumer)
        consumer.subscribe([f"{namespace}.delay.1", f"{namespace}.delay.2"], listener=it.loop)
        async with consumer, asyncio.TaskGroup() as group:
            task = group.create_task(it.loop.run())
            yield it
            task.cancel()


@asynccontextmanager
async def bench(broker: str, namespace: str) -> AsyncIterator[Bench]:
    await topics(broker, namespace)
    async with running(broker, namespace) as it:
        yield it


async def test_what_is_due_reaches_its_handler_and_never_before(broker: str, namespace: str) -> None:
    """After one rung, after several, and what is overdue or due at once; each once."""
    async with bench(broker, namespace) as it:
        now = time.time()
        due = {b'"now"': now, b'"soon"': now + 0.3, b'"one"': now + 1, b'"two"': now + 2.2}
        for payload, moment in due.items():
            await it.put(moment, payload)
        await it.until(lambda: len(it.taken) >= len(due))
        taken = dict(it.taken)
        assert taken.keys() == due.keys()
        assert all(taken[payload] >= moment for payload, moment in due.items())
        assert len(it.taken) == len(due)


async def test_what_is_meant_for_a_topic_goes_there(broker: str, namespace: str) -> None:
    """With its key, which keeps a person's messages in one partition."""
    async with (
        bench(broker, namespace) as it,
        AIOKafkaConsumer(it.target_topic, bootstrap_servers=broker, auto_offset_reset="earliest") as consumer,
    ):
        await it.put(time.time(), b'"+57300"', target=it.target_topic)
        record = await asyncio.wait_for(consumer.getone(), 20)
        assert (record.key, record.value) == (b'"+57300"', b'"+57300"')


async def test_what_could_not_be_handed_over_comes_again(broker: str, namespace: str) -> None:
    """A handler that fails twice is given the same records a third time, with those that came later, and none is lost."""
    async with bench(broker, namespace) as it:
        it.failures = 2
        await it.put(time.time(), *(b"%d" % number for number in range(20)))
        await it.until(lambda: not it.failures)
        await it.put(time.time(), *(b"%d" % number for number in range(20, 40)))
        await it.until(lambda: len(it.taken) >= 40)
        assert sorted(int(payload) for payload, _ in it.taken) == list(range(40))


async def test_a_target_that_takes_nothing_holds_up_only_itself(broker: str, namespace: str) -> None:
    """A handler that waits for its store keeps no message from its lane; what waits for it comes after all."""
    async with (
        bench(broker, namespace) as it,
        AIOKafkaConsumer(it.target_topic, bootstrap_servers=broker, auto_offset_reset="earliest") as consumer,
    ):
        it.open.clear()
        await it.put(time.time(), *(b"%d" % number for number in range(20)))
        await asyncio.wait_for(it.asked.wait(), 20)
        await it.put(time.time(), b'"+57300"', target=it.target_topic)
        await asyncio.wait_for(consumer.getone(), 20)
        assert it.taken == []
        it.open.set()
        await it.until(lambda: len(it.taken) >= 20)


async def test_after_a_stop_only_what_was_not_handed_over_comes_again(broker: str, namespace: str) -> None:
    """What was, is committed, also in the last moment; what was in hand is not."""
    async with bench(broker, namespace) as it:
        await it.put(time.time(), *(b"%d" % number for number in range(20)))
        await it.until(lambda: len(it.taken) >= 20)
        it.open.clear()
        await it.put(time.time(), *(b"%d" % number for number in range(20, 25)))
        await it.put(time.time() + 1.5, *(b"%d" % number for number in range(25, 30)))
    async with running(broker, namespace) as again:
        await again.until(lambda: len(again.taken) >= 10)
        assert sorted(int(payload) for payload, _ in again.taken) == list(range(20, 30))


async def test_a_loop_without_partitions_hears_what_ails_its_group() -> None:
    """Nothing is read for it, and aiokafka tries no more until somebody has heard why it could not join."""
    errors = [GroupAuthorizationFailedError("recado.delay")]

    def heard() -> None:
        raise errors.pop()

    coordinator = SimpleNamespace(check_errors=heard)
    consumer = SimpleNamespace(assignment=set, _fetcher=FETCHER, _coordinator=coordinator)
    loop = DelayLoop(
        consumer=consumer, outbox=Outbox(None), ladder=Ladder({1: ("delay.1", 1)}), rung_of=RUNGS, handlers={}
    )
    with pytest.raises(GroupAuthorizationFailedError):
        await loop._read()


async def test_a_rebalance_loses_nothing(broker: str, namespace: str) -> None:
    """A second process joins while records are held and handed over: each comes to one of them or both."""
    async with bench(broker, namespace) as it:
        start = time.time()
        for number in range(200):
            await it.put(start + number / 80, b"%d" % number)
        async with running(broker, namespace) as other:
            put = 200
            await it.until(lambda: len({payload for payload, _ in it.taken + other.taken}) == put)
            while not other.taken:  # however long the group takes to let it in
                for number in range(put, put + 20):
                    await it.put(time.time() + 0.2, b"%d" % number)
                put += 20
                await it.until(lambda put=put: len({payload for payload, _ in it.taken + other.taken}) == put)
