"""The delay ladder: topics in which every record waits the same time, for whatever has to happen later.

A record that is due at T takes the largest rung that does not overshoot, again and again, until it is due. In a rung
all records wait equally long, so a partition is in order of time and only its head has to be looked at: no timer heap,
nothing in memory, nothing lost at a crash.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from gateway.outbox import Batches, Outbox, partition_of

log = logging.getLogger("gateway.delay")

RECEIPT = "receipt"
"""Target: an early receipt is looked up again."""
JOIN = "join"
"""Target: the parts of a message from a person have had their time to come."""

Handler = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes the payloads that are due; when it returns they are safe elsewhere."""


class Waiting(msgspec.Struct, array_like=True, gc=False):
    """One record of a rung: when it is due (Unix seconds), for whom, and what. `target` is a topic or one of the above."""

    due: float
    target: str
    payload: msgspec.Raw


_decode = msgspec.json.Decoder(Waiting).decode
_encode = msgspec.json.Encoder().encode


def rung_for(rungs: Sequence[int], wait: float) -> int:
    """The largest rung within `wait` seconds, or the smallest there is. `rungs` ascend."""
    best = rungs[0]
    for rung in rungs:
        if rung <= wait:
            best = rung
    return best


class Ladder:
    """Puts records on rungs. `topics` maps a rung's seconds to its topic and that topic's partitions."""

    def __init__(self, topics: Mapping[int, tuple[str, int]]) -> None:
        self._topics = topics
        self._rungs = sorted(topics)

    def put(self, batches: Batches, due: float, target: str, key: bytes, payload: bytes) -> None:
        """Add to `batches` what has to be sent so that `payload` reaches `target` at `due` (Unix seconds)."""
        topic, partitions = self._topics[rung_for(self._rungs, due - time.time())]
        value = _encode(Waiting(due, target, msgspec.Raw(payload)))
        batches.setdefault((topic, partition_of(key, partitions)), []).append((key, value))


class DelayLoop:
    """Takes records off the rungs when their time has come: up the ladder again, to their topic, or to a handler."""

    def __init__(
        self,
        *,
        consumer: AIOKafkaConsumer,
        outbox: Outbox,
        ladder: Ladder,
        rung_of: Mapping[str, int],
        handlers: Mapping[str, Handler],
    ) -> None:
        self._consumer = consumer
        self._outbox = outbox
        self._ladder = ladder
        self._rung_of = rung_of
        self._handlers = handlers
        self._resume: dict[TopicPartition, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Go on until cancelled; what was handed over is committed, what was not comes again."""
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=1000, max_records=2000)
            except (KafkaError, IllegalStateError) as error:
                log.warning("delay ladder: %s", error or type(error).__name__)
                await asyncio.sleep(0.5)
            else:
                await self._turn(fetched)

    async def _turn(self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        now = time.time()
        due = {tp: self._due(tp, records, now) for tp, records in fetched.items()}
        try:
            await self._hand_over([record for records in due.values() for record in records], now)
        except (KafkaError, IllegalStateError) as error:
            log.warning("delay ladder: %s", error or type(error).__name__)
            await asyncio.sleep(0.5)
            for tp, records in fetched.items():  # the position is behind them, and the next commit would pass them
                if self._owns(tp):
                    self._consumer.seek(tp, records[0].offset)
            return
        for tp, records in fetched.items():
            handed = len(due[tp])
            if handed < len(records):
                self._rest(tp, records[handed], now)
        if passed := {tp: records[-1].offset + 1 for tp, records in due.items() if records and self._owns(tp)}:
            try:
                await self._consumer.commit(passed)
            except (KafkaError, IllegalStateError) as error:
                # Across a rebalance: whoever has the partition now hands them over again, which is harmless.
                log.warning("delay ladder: commit: %s", error or type(error).__name__)

    def _due(self, tp: TopicPartition, records: list[ConsumerRecord], now: float) -> list[ConsumerRecord]:
        """The head of a partition as far as it is due."""
        rung = self._rung_of[tp.topic]
        for index, record in enumerate(records):
            if record.timestamp / 1000 + rung > now:
                return records[:index]
        return records

    def _rest(self, tp: TopicPartition, record: ConsumerRecord, now: float) -> None:
        """Leave a partition alone until the record at its head is due."""
        if not self._owns(tp):
            return
        self._consumer.seek(tp, record.offset)
        self._consumer.pause(tp)
        wait = record.timestamp / 1000 + self._rung_of[tp.topic] - now
        self._resume[tp] = asyncio.get_running_loop().call_later(wait, self._wake, tp)

    def _wake(self, tp: TopicPartition) -> None:
        self._resume.pop(tp, None)
        if self._owns(tp):
            self._consumer.resume(tp)

    def _owns(self, tp: TopicPartition) -> bool:
        return tp in self._consumer.assignment()

    async def _hand_over(self, records: list[ConsumerRecord], now: float) -> None:
        batches: Batches = {}
        handed: dict[str, list[bytes]] = {}
        for record in records:
            try:
                waiting = _decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                log.error("delay ladder: not ours topic=%s offset=%d", record.topic, record.offset)
                continue
            payload = bytes(waiting.payload)
            if waiting.due > now + 0.5:
                self._ladder.put(batches, waiting.due, waiting.target, record.key, payload)
            elif waiting.target in self._handlers:
                handed.setdefault(waiting.target, []).append(payload)
            else:
                partitions = await self._outbox.partitions(waiting.target)
                where = (waiting.target, partition_of(record.key, partitions))
                batches.setdefault(where, []).append((record.key, payload))
        if batches:
            await self._outbox.send(batches)
        for target, payloads in handed.items():
            await self._handlers[target](payloads)
