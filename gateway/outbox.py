"""Producing to Kafka by the batch: one record batch per partition, repeated until Kafka has it.

aiokafka's `send` makes a future and a task switch per record; a batch that we build ourselves costs an `append`. What
is sent here was already promised to somebody, so a broker that is away means waiting, not failing: the caller stands
still, which stops its stage. Repeating can append a batch twice where the broker has no idempotence; every reader of
our topics knows its records by an id (claims for lane topics, `event_id` for events).
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)

from gateway.metrics.meters import histogram

log = logging.getLogger("gateway.outbox")

Record: TypeAlias = tuple[bytes | None, bytes]
"""Key and value."""
Batches: TypeAlias = dict[tuple[str, int], list[Record]]
"""(topic, partition) → records."""

_AGAIN_S = 0.5
_SILENCE_S = 3.0
"""Kafka acknowledges within milliseconds: after so long it counts as away, though we go on waiting."""
_LOST_COUNT = (OutOfOrderSequenceNumber, UnknownProducerId, ProducerFenced)
"""Kafka counts the batches of a producer by partition. One that it refused for good is missing for ever, and it takes none
that is behind it; nor does aiokafka begin to count anew by itself."""


def partition_of(key: bytes, partitions: int) -> int:
    """Stable over processes and versions: the order of one person's messages hangs on it."""
    return zlib.crc32(key) % partitions


class _Batch:
    """What goes out together; `sent` once Kafka has all of it. Whoever gets the turn first and finds it unsent sends it."""

    __slots__ = ("records", "sent")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.sent = False


class _Group:
    """The batch of one topic that is being collected, and the turn to send."""

    __slots__ = ("batch", "turn")

    def __init__(self) -> None:
        self.batch = _Batch()
        self.turn = asyncio.Lock()


class Outbox:
    """Shares one producer among all stages."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._partitions: dict[str, int] = {}
        self._groups: dict[str, _Group] = {}
        self.away: set[str] = set()
        """Topics that Kafka does not take, or does not answer for."""
        self.seconds = histogram("recado_kafka_produce_seconds")
        self.failures: Counter[str] = Counter()
        """By the error's name."""

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; asked once, since key order would break if it changed under way.

        Raises `KafkaError` if Kafka is away before anybody has asked, or there is no such topic.
        """
        count = self._partitions.get(topic)
        if count is None:
            count = self._partitions[topic] = len(await self._producer.partitions_for(topic))
        return count

    async def send(self, batches: Batches) -> None:
        """Return when Kafka has acknowledged every record. Cancelling leaves open which ones it got.

        Raises `MessageSizeTooLargeError` for a record that the broker will never take: whoever made it must bound it.
        """
        started = time.monotonic()
        delay = 0.05
        left: Iterable[tuple[tuple[str, int], list[Record]]] = batches.items()
        # aiokafka takes its request timeout to find out; who looks at the log or the health page should know before.
        topics = {topic for topic, _ in batches}
        watch = asyncio.get_running_loop().call_later(_SILENCE_S, self._note, topics, f"no answer for {_SILENCE_S:g} s")
        try:
            while left := await self._attempt(left):
                await asyncio.sleep(delay)
                delay = min(1.0, delay * 2)
        finally:
            watch.cancel()
        self.seconds.observe(time.monotonic() - started)
        if back := self.away & topics:
            self.away -= back
            log.warning("kafka back topics=%s", ",".join(sorted(back)))

    async def send_keyed(self, topic: str, records: list[Record]) -> None:
        """Spread records over the partitions of a topic by their keys, and `send`.

        Group commit: what several stages want to publish while a batch of the topic is on its way goes in the next one.
        """
        if not records:
            return
        group = self._groups.get(topic)
        if group is None:
            group = self._groups[topic] = _Group()
        batch = group.batch
        batch.records += records
        async with group.turn:
            if not batch.sent:
                group.batch = _Batch()
                await self.send(await self._spread(topic, batch.records))
                batch.sent = True

    async def _spread(self, topic: str, records: list[Record]) -> Batches:
        while True:
            try:
                count = await self.partitions(topic)
                break
            except KafkaError as error:
                self._failed(error, topic)
                await asyncio.sleep(_AGAIN_S)
        if count == 1:
            return {(topic, 0): records}
        batches: Batches = {}
        batch: list[Record] = []
        last: bytes | None = b""
        for record in records:
            key = record[0]
            if key is not last or not batch:  # those of one job share theirs
                last = key
                batch = batches.setdefault((topic, partition_of(key or b"", count)), [])
            batch.append(record)
        return batches

    async def _attempt(
        self, batches: Iterable[tuple[tuple[str, int], list[Record]]]
    ) -> list[tuple[tuple[str, int], list[Record]]]:
        """Send all; what failed comes back, in order."""
        pending = []
        now = int(time.time() * 1000)
        failed: list[tuple[tuple[str, int], list[Record]]] = []
        for (topic, partition), records in batches:
            start = 0
            while start < len(records):
                builder = self._producer.create_batch()
                append = builder.append
                end = start
                for key, value in records[start:]:
                    if append(timestamp=now, key=key, value=value) is None:
                        break
                    end += 1
                chunk = records[start:end]
                start = end
                try:
                    future = await self._producer.send_batch(builder, topic, partition=partition)
                except KafkaError as error:
                    self._failed(error, topic)
                    failed.append(((topic, partition), chunk))
                else:
                    pending.append((future, (topic, partition), chunk))
        for future, where, chunk in pending:
            try:
                await future
            except KafkaError as error:
                self._failed(error, where[0])
                failed.append((where, chunk))
        return failed

    def _failed(self, error: KafkaError, topic: str) -> None:
        self.failures[type(error).__name__] += 1
        if isinstance(error, MessageSizeTooLargeError):
            raise error
        if isinstance(error, _LOST_COUNT):
            self._begin_anew()
        self._note({topic}, str(error) or type(error).__name__)

    def _begin_anew(self) -> None:
        """Be another producer to Kafka: aiokafka asks for an id when it has none, before it sends the next batch.

        What is on its way keeps its number, of the old one: that order is whole, whether or not it has to be repeated.
        """
        counting = self._producer._txn_manager
        counting.__init__(counting.transactional_id, counting.transaction_timeout_ms)

    def _note(self, topics: set[str], reason: str) -> None:
        if news := topics - self.away:
            self.away |= news
            log.error("kafka away, stages that produce stand still topics=%s reason=%r", ",".join(sorted(news)), reason)
