"""Producing by the batch, on a producer that fails as it is told to."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import TransactionManager

import gateway.topics  # noqa: F401 - what it mends of aiokafka
from gateway.outbox import Outbox, partition_of
from tests.support import kafka


class Producer:
    """Keeps what was sent; `failures` are raised first, one a batch, `unknown` where partitions are asked for.

    `hold` keeps acknowledgements back.
    """

    def __init__(self, partitions: int = 1, batch_octets: int = 10_000) -> None:
        self.sent: list[tuple[str, int, int]] = []
        self.failures: list[Exception] = []
        self.unknown: list[Exception] = []
        self.hold: asyncio.Event | None = None
        self._partitions = partitions
        self._batch_octets = batch_octets
        self._txn_manager = TransactionManager(None, 60_000)
        self._txn_manager.set_pid_and_epoch(7, 0)

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self._batch_octets, 0)

    async def partitions_for(self, topic: str) -> set[int]:
        if self.unknown:
            raise self.unknown.pop(0)
        return set(range(self._partitions))

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Any]:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((topic, partition, batch.record_count()))
        if self.hold is not None:
            await self.hold.wait()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_one_batch_for_each_partition() -> None:
    """However many records, a partition gets one batch of them."""
    producer = Producer()
    await Outbox(producer).send({("a", 0): [(b"k", b"v")] * 50, ("a", 1): [(b"k", b"v")] * 7})
    assert producer.sent == [("a", 0, 50), ("a", 1, 7)]


async def test_a_full_batch_is_followed_by_another() -> None:
    """What a batch has no room for goes in the next, in order."""
    producer = Producer(batch_octets=1_000)
    await Outbox(producer).send({("a", 0): [(None, b"v" * 300)] * 7})
    assert len(producer.sent) > 1
    assert sum(count for _, _, count in producer.sent) == 7


async def test_what_failed_is_sent_again_until_it_is_there() -> None:
    """A broker that is away means waiting: the call returns when everything was acknowledged."""
    producer = Producer()
    producer.failures = [KafkaConnectionError("away"), KafkaConnectionError("away")]
    outbox = Outbox(producer)
    await outbox.send({("a", 0): [(b"k", b"v")] * 3})
    assert producer.sent == [("a", 0, 3)]
    assert not outbox.away


async def test_events_wait_for_a_broker_that_is_away_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked how many partitions there are, and who publishes was promised to."""
    monkeypatch.setattr("gateway.outbox._AGAIN_S", 0.0)
    producer = Producer()
    producer.unknown = [KafkaConnectionError("away")]
    outbox = Outbox(producer)
    await outbox.send_keyed("a", [(b"k", b"v")])
    assert producer.sent == [("a", 0, 1)]
    assert not outbox.away


async def test_a_topic_that_is_gone_is_named_until_it_takes_something(caplog: pytest.LogCaptureFixture) -> None:
    """That others take what they are sent says nothing of it."""
    producer = Producer()
    outbox = Outbox(producer)
    producer.failures = [KafkaConnectionError("away")]
    sending = asyncio.create_task(outbox.send({("gone", 0): [(b"k", b"v")]}))
    while not outbox.away:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)
    assert "topics=gone" in caplog.text
    await outbox.send({("a", 0): [(b"k", b"v")]})
    assert outbox.away == {"gone"}
    await sending
    assert outbox.away == set()


async def test_a_record_that_no_broker_takes_is_an_error() -> None:
    """Repeating would last for ever."""
    producer = Producer()
    producer.failures = [MessageSizeTooLargeError()]
    with pytest.raises(MessageSizeTooLargeError):
        await Outbox(producer).send({("a", 0): [(None, b"v")]})


@pytest.mark.parametrize("error", [OutOfOrderSequenceNumber(), UnknownProducerId(), ProducerFenced()])
async def test_a_producer_that_kafka_does_not_follow_any_more_begins_anew(error: KafkaError) -> None:
    """As another one: the number of a batch that was refused for good is missing for ever."""
    producer = Producer()
    producer.failures = [error]
    await Outbox(producer).send({("a", 0): [(b"k", b"v")]})
    assert producer.sent == [("a", 0, 1)]
    assert not producer._txn_manager.has_pid()
    producer._txn_manager.set_pid_and_epoch(8, 0)


async def test_other_failures_leave_the_producer_as_it_is() -> None:
    """What it has on its way counts as sent once."""
    producer = Producer()
    producer.failures = [KafkaConnectionError("away")]
    await Outbox(producer).send({("a", 0): [(b"k", b"v")]})
    assert producer._txn_manager.producer_id == 7


@pytest.mark.skipif(not kafka.IDEMPOTENCE, reason="the embedded broker knows no producer ids")
async def test_a_refusal_is_over_when_its_cause_is(
    broker: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a clock that was two hours ahead; what others send to the same partition goes on as well."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    limit = {"message.timestamp.after.max.ms": "3600000"}
    await admin.create_topics([NewTopic(namespace, 1, 1, topic_configs=limit)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True) as producer:
        outbox = Outbox(producer)
        await outbox.send({(namespace, 0): [(b"k", b"1")]})
        now = time.time()
        monkeypatch.setattr("gateway.outbox.time.time", lambda: now + 7200)
        sending = asyncio.create_task(outbox.send({(namespace, 0): [(b"k", b"2")]}))
        while not outbox.failures:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
        monkeypatch.undo()
        async with asyncio.timeout(10):
            await sending
            await outbox.send({(namespace, 0): [(b"k", b"3")]})
        assert "InvalidTimestampError" in outbox.failures


@pytest.mark.skipif(not kafka.IDEMPOTENCE, reason="the embedded broker knows no producer ids")
async def test_a_producer_goes_on_after_two_thousand_million_records(broker: str, namespace: str) -> None:
    """Kafka numbers them from 0 again, and takes no number below."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(namespace, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True) as producer:
        where = TopicPartition(namespace, 0)
        # A broker begins with any number for a producer that it does not know.
        producer._txn_manager._sequence_numbers[where] = 2**31 - 5
        outbox = Outbox(producer)
        async with asyncio.timeout(20):
            for n in range(1, 8):
                await outbox.send({where: [(b"k", b"%d" % number) for number in range(n)]})
        assert not outbox.failures


async def test_a_number_of_a_record_is_never_below_zero() -> None:
    """As Kafka's own producer counts: after the last comes 0."""
    manager = TransactionManager(None, 60_000)
    where = TopicPartition("events", 0)
    counted = []
    for records in (2**31 - 2, 1, 1, 5):
        manager.increment_sequence_number(where, records)
        counted.append(manager.sequence_number(where))
    assert counted == [2**31 - 2, 2**31 - 1, 0, 5]


async def test_stages_that_publish_at_the_same_time_share_a_batch() -> None:
    """What is published while a batch is on its way goes in one batch behind it."""
    producer = Producer()
    producer.hold = asyncio.Event()
    outbox = Outbox(producer)
    first = asyncio.create_task(outbox.send_keyed("events", [(b"k", b"1")]))
    await asyncio.sleep(0)
    others = [asyncio.create_task(outbox.send_keyed("events", [(b"k", b"v")] * 5)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in (first, *others))
    producer.hold.set()
    await asyncio.gather(first, *others)
    assert producer.sent == [("events", 0, 1), ("events", 0, 15)]


async def test_a_cancelled_sender_leaves_the_batch_to_the_next() -> None:
    """Nobody who waits for a shared batch is told that it was sent when it was not."""
    producer = Producer()
    producer.hold = asyncio.Event()
    outbox = Outbox(producer)
    first = asyncio.create_task(outbox.send_keyed("events", [(b"k", b"1")]))
    await asyncio.sleep(0)
    leader = asyncio.create_task(outbox.send_keyed("events", [(b"k", b"2")]))
    follower = asyncio.create_task(outbox.send_keyed("events", [(b"k", b"3")]))
    await asyncio.sleep(0)
    leader.cancel()
    producer.hold.set()
    await asyncio.gather(first, follower)
    assert sum(count for _, _, count in producer.sent) >= 2 + 1
    assert leader.cancelled()


async def test_keys_decide_the_partition() -> None:
    """The same key always goes to the same partition, and records keep their order in it."""
    producer = Producer(partitions=4)
    await Outbox(producer).send_keyed("events", [(b"job-%d" % (n % 3), b"v") for n in range(30)])
    expected = {partition_of(b"job-%d" % n, 4) for n in range(3)}
    assert {partition for _, partition, _ in producer.sent} == expected
    assert sum(count for _, _, count in producer.sent) == 30
