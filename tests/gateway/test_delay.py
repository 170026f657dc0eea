"""Tests of the delay ladder: which rung, and that what it is given comes out when due, through failures too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from gateway.delay import DelayLoop, Ladder, rung_for
from gateway.outbox import Batches, Outbox

TARGET = "handler"


@given(st.sets(st.integers(1, 10_000), min_size=1), st.floats(-10, 20_000))
def test_a_rung_never_overshoots_while_another_would_not(rungs: set[int], wait: float) -> None:
    """The largest rung within the wait, or the smallest when even that is too long."""
    rung = rung_for(sorted(rungs), wait)
    within = [each for each in rungs if each <= wait]
    assert rung == (max(within) if within else min(rungs))


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
        self.loop = DelayLoop(
            consumer=consumer,
            outbox=outbox,
            ladder=self.ladder,
            rung_of={topic: rung for rung, (topic, _) in topics.items()},
            handlers={TARGET: self._take},
        )

    async def put(self, due: float, payload: bytes, target: str = TARGET) -> None:
        batches: Batches = {}
        self.ladder.put(batches, due, target, payload, payload)
        await self.outbox.send(batches)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)

    async def _take(self, payloads: Sequence[bytes]) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaError("not now")
        self.taken += [(payload, time.time()) for payload in payloads]


@asynccontextmanager
async def bench(broker: str, namespace: str) -> AsyncIterator[Bench]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    topics = [NewTopic(f"{namespace}.{name}", 2, 1) for name in ("delay.1", "delay.2", "target")]
    await admin.create_topics(topics)
    await admin.close()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=namespace,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
    )
    consumer.subscribe([f"{namespace}.delay.1", f"{namespace}.delay.2"])
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer, consumer:
        it = Bench(namespace, Outbox(producer), consumer)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(it.loop.run())
            yield it
            running.cancel()


async def test_what_is_due_reaches_its_handler_and_not_before(broker: str, namespace: str) -> None:
    """After one rung, after several, and what is overdue after the shortest; each once."""
    async with bench(broker, namespace) as it:
        now = time.time()
        due = {b'"now"': now, b'"one"': now + 1, b'"two"': now + 2, b'"three"': now + 3.2}
        for payload, moment in due.items():
            await it.put(moment, payload)
        await it.until(lambda: len(it.taken) >= len(due))
        taken = dict(it.taken)
        assert taken.keys() == due.keys()
        # Half a second early is on time: another round on the shortest rung would be later than that.
        assert all(taken[payload] >= moment - 0.5 for payload, moment in due.items())
        assert len(it.taken) == len(due)


async def test_what_is_meant_for_a_topic_goes_there(broker: str, namespace: str) -> None:
    """With its key, which keeps a person's messages in one partition."""
    async with (
        bench(broker, namespace) as it,
        AIOKafkaConsumer(it.target_topic, bootstrap_servers=broker, auto_offset_reset="earliest") as consumer,
    ):
        await it.put(time.time(), b'"+57300"', it.target_topic)
        record = await asyncio.wait_for(consumer.getone(), 20)
        assert (record.key, record.value) == (b'"+57300"', b'"+57300"')


async def test_what_could_not_be_handed_over_comes_again(broker: str, namespace: str) -> None:
    """A handler that fails twice is given the same records a third time, with those that came later, and none is lost."""
    async with bench(broker, namespace) as it:
        it.failures = 2
        for number in range(20):
            await it.put(time.time(), b"%d" % number)
        await it.until(lambda: not it.failures)
        for number in range(20, 40):
            await it.put(time.time(), b"%d" % number)
        await it.until(lambda: len(it.taken) >= 40)
        assert sorted(int(payload) for payload, _ in it.taken) == list(range(40))
