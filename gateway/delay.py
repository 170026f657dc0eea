"""The delay ladder: topics in which every record waits the same time, for whatever has to happen later.

A record that is due at T takes the largest rung that does not overshoot, again and again, until it is due. In a rung
all records wait equally long, so a partition is in order of time and nobody has to look beyond the next few: what waits
costs no memory, and nothing is lost at a crash. Only on the smallest rung records are looked at before their time, since
there one may be due before the other; it is where the ladder gets exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from gateway.consumers import check, commit, fetch
from gateway.outbox import Batches, Outbox, partition_of
from gateway.progress import Progress

log = logging.getLogger("gateway.delay")

RECEIPT = "receipt"
"""Target: an early receipt is looked up again."""
JOIN = "join"
"""Target: the parts of a message from a person have had their time to come."""

_BEAT_S = 0.1
"""Between two turns. It is lateness; but what comes due in that time shares one request to Kafka a partition."""
_READ = 500
"""Records between two looks at the rest of the loop: some milliseconds."""
_READS = 4
"""In a turn."""
_AHEAD = 500
"""Records in hand from which on no more of a partition is read. They stand in line, so none behind them is due before."""
_AHEAD_SMALLEST = 10_000
"""The same on the smallest rung, where one behind them may be. With more in a second, some are late by a part of it."""
_COMMIT_S = 1.0
"""Between two commits. What is handed over again after a crash is known: a message by its claim, a receipt by its mark."""
_LAST_COMMIT_S = 1.0
"""What it may take when the process stops."""
_AGAIN_S = 0.5
"""After a failure of Kafka's."""

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
    return rungs[max(0, bisect_right(rungs, wait) - 1)]


class Ladder:
    """Puts records on rungs. `topics` maps a rung's seconds to its topic and that topic's partitions."""

    def __init__(self, topics: Mapping[int, tuple[str, int]]) -> None:
        self._topics = topics
        self._rungs = sorted(topics)

    def put(self, batches: Batches, due: float, target: str, key: bytes, payload: bytes, now: float) -> None:
        """Add to `batches` what has to be sent so that `payload` (JSON) reaches `target` at `due` (Unix seconds)."""
        value = _encode(Waiting(due, target, msgspec.Raw(payload)))
        self.climb(batches, due, key, value, now)

    def climb(self, batches: Batches, due: float, key: bytes, value: bytes, now: float) -> None:
        """Add to `batches` a record that has been on a rung, for the next one."""
        topic, partitions = self._topics[rung_for(self._rungs, due - now)]
        batches.setdefault((topic, partition_of(key, partitions)), []).append((key, value))


class _Stand:
    """A partition from the first record we read of it until it is revoked."""

    __slots__ = ("ahead", "committed", "end", "left", "progress", "rung")

    def __init__(self, rung: int, ahead: int, start: int) -> None:
        self.rung = rung
        self.ahead = ahead
        self.progress = Progress(start)
        self.committed = start
        self.end = start
        self.left = False


Due: TypeAlias = tuple[_Stand, ConsumerRecord, Waiting]
"""A record that has left its rung, and where it stood."""


class Shelf:
    """What was read of the rungs and is not handed over yet, bounded by partition; pure.

    `rung_of` maps a topic to its seconds. A record comes off when it is due or has been on its rung for as long as the rung
    is, whichever is first. `positions` never passes one that is not done.
    """

    def __init__(self, rung_of: Mapping[str, int]) -> None:
        self._rung_of = rung_of
        self._smallest = min(rung_of.values())
        self._stands: dict[TopicPartition, _Stand] = {}
        self._held: list[tuple[float, int, _Stand, ConsumerRecord, Waiting]] = []
        """A heap, by when they come off."""
        self._serial = count()

    def __len__(self) -> int:
        return len(self._held)

    def wanting(self, assigned: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Those partitions that have room for more."""
        stands = self._stands
        return [tp for tp in assigned if tp not in stands or stands[tp].progress.pending < stands[tp].ahead]

    def put(self, tp: TopicPartition, records: Sequence[ConsumerRecord], now: float) -> None:
        """Add the next records of a partition. Records from before the last ones mean that it was given to us anew."""
        first = records[0].offset
        stand = self._stands.get(tp)
        if stand is None or first < stand.end:
            if stand is not None:
                stand.left = True
            rung = self._rung_of[tp.topic]
            stand = _Stand(rung, _AHEAD_SMALLEST if rung == self._smallest else _AHEAD, first)
            self._stands[tp] = stand
        stand.end = records[-1].offset + 1
        stand.progress.begin([record.offset for record in records])
        for record in records:
            try:
                waiting = _decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
                log.error("delay ladder: not ours topic=%s offset=%d", record.topic, record.offset)
                stand.progress.done(record.offset)
                continue
            # A clock that is ahead stamps what nobody would otherwise read for so long, nor what is behind it.
            off = min(waiting.due, min(now, record.timestamp / 1000) + stand.rung)
            heappush(self._held, (off, next(self._serial), stand, record, waiting))

    def take(self, now: float, most: int) -> list[Due]:
        """Take off what has come to its time, `most` records of it, the earliest first; each is to be `done`."""
        held = self._held
        taken: list[Due] = []
        while held and held[0][0] <= now and len(taken) < most:
            _, _, stand, record, waiting = heappop(held)
            if not stand.left:
                taken.append((stand, record, waiting))
        return taken

    def done(self, taken: Iterable[Due]) -> None:
        """Note what is safe elsewhere."""
        offsets: dict[_Stand, list[int]] = {}
        for stand, record, _ in taken:
            offsets.setdefault(stand, []).append(record.offset)
        for stand, passed in offsets.items():
            stand.progress.done_many(passed)

    def positions(self) -> dict[TopicPartition, int]:
        """What is to be committed, where that is news; `committed` says that it was."""
        return {
            tp: position
            for tp, stand in self._stands.items()
            if (position := stand.progress.position) > stand.committed
        }

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        for tp, position in positions.items():
            if stand := self._stands.get(tp):
                stand.committed = position

    def clear(self) -> None:
        """Forget everything: who has the partitions now reads again from what was committed."""
        for stand in self._stands.values():
            stand.left = True
        self._stands.clear()
        self._held.clear()


class _Desk:
    """Where what is due for one target is handed over: one batch at a time, and what comes meanwhile makes the next."""

    __slots__ = ("busy", "hand_over", "line")

    def __init__(self, hand_over: Callable[[list[Due]], Awaitable[None]]) -> None:
        self.hand_over = hand_over
        self.line: list[Due] = []
        self.busy = False


class DelayLoop(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Takes records off the rungs when their time has come: up the ladder again, to their topic, or to a handler.

    It is the listener of its consumer's group. A target that takes nothing holds up only itself, until what waits for it
    fills its partitions' share of the shelf.
    """

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
        self._handlers = handlers
        self._shelf = Shelf(rung_of)
        self._climbing = _Desk(self._climb)
        self._desks: dict[str, _Desk] = {}
        self._commit_at = 0.0
        self.counts: Counter[str] = Counter()
        """climbed, due."""

    @property
    def held(self) -> int:
        """Records in memory whose time has not come."""
        return len(self._shelf)

    async def run(self) -> None:
        """Go on until cancelled; what was handed over is committed, what was not comes again."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as serving:
                while True:
                    beat = loop.time() + _BEAT_S
                    if not await self._turn(serving):
                        await asyncio.sleep(max(0.0, beat - loop.time()))
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_COMMIT_S):
                    await self._commit()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Commit what was handed over and forget the rest, which is read again by who has the partitions then."""
        positions = self._shelf.positions()
        self._shelf.clear()
        await self._commit_positions(positions)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing: the first records of a partition make its place on the shelf."""

    async def _turn(self, serving: asyncio.TaskGroup) -> bool:
        """Read, hand over what is due, commit; True when there is more to do at once."""
        try:
            more = await self._read()
        except (KafkaError, IllegalStateError) as error:
            log.warning("delay ladder: %s", error or type(error).__name__)
            await asyncio.sleep(_AGAIN_S)
            more = False
        now = time.time()
        most = _READ * _READS
        taken = self._shelf.take(now, most)
        self._line_up(taken, now, serving)
        if (monotonic := time.monotonic()) >= self._commit_at:
            self._commit_at = monotonic + _COMMIT_S
            await self._commit()
        return more or len(taken) == most

    async def _read(self) -> bool:
        """Take over what has been fetched for the partitions that have room; True when there may be more of it.

        The others are left out of the poll, not paused: aiokafka throws away what it has fetched of a paused partition.
        """
        for _ in range(_READS):
            wanting = self._shelf.wanting(self._consumer.assignment())
            if not wanting:
                check(self._consumer)
                return False
            fetched = await fetch(self._consumer, *wanting, timeout_ms=0, max_records=_READ)
            if not fetched:
                return False
            for tp, records in fetched.items():
                self._shelf.put(tp, records, time.time())
            await asyncio.sleep(0)
        return True

    def _line_up(self, taken: list[Due], now: float, serving: asyncio.TaskGroup) -> None:
        touched: set[_Desk] = set()
        for due in taken:
            waiting = due[2]
            desk = self._desk(waiting.target) if waiting.due <= now else self._climbing
            desk.line.append(due)
            touched.add(desk)
        for desk in touched:
            if not desk.busy:
                desk.busy = True
                serving.create_task(self._serve(desk))

    def _desk(self, target: str) -> _Desk:
        desk = self._desks.get(target)
        if desk is None:
            handler = self._handlers.get(target)

            async def to_topic(taken: list[Due]) -> None:
                await self._publish(target, taken)

            async def to_handler(taken: list[Due]) -> None:
                assert handler is not None
                await handler([bytes(waiting.payload) for _, _, waiting in taken])

            desk = self._desks[target] = _Desk(to_handler if handler else to_topic)
        return desk

    async def _serve(self, desk: _Desk) -> None:
        """Hand over until nobody stands in line; what fails is handed over again, unless somebody else has it by then."""
        while desk.line:
            taken, desk.line = desk.line, []
            while taken := [due for due in taken if not due[0].left]:
                try:
                    await desk.hand_over(taken)
                except (KafkaError, IllegalStateError) as error:
                    log.warning("delay ladder: %s", error or type(error).__name__)
                    await asyncio.sleep(_AGAIN_S)
                else:
                    self._shelf.done(taken)
                    self.counts["climbed" if desk is self._climbing else "due"] += len(taken)
                    break
        desk.busy = False

    async def _climb(self, taken: list[Due]) -> None:
        now = time.time()
        batches: Batches = {}
        for _, record, waiting in taken:
            self._ladder.climb(batches, waiting.due, record.key, record.value, now)
        await self._outbox.send(batches)

    async def _publish(self, topic: str, taken: list[Due]) -> None:
        partitions = await self._outbox.partitions(topic)
        batches: Batches = {}
        for _, record, waiting in taken:
            where = (topic, partition_of(record.key, partitions))
            batches.setdefault(where, []).append((record.key, bytes(waiting.payload)))
        await self._outbox.send(batches)

    async def _commit(self) -> None:
        await self._commit_positions(self._shelf.positions())

    async def _commit_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        owned = self._consumer.assignment()
        positions = {tp: position for tp, position in positions.items() if tp in owned}
        if not positions:
            return
        try:
            await commit(self._consumer, positions)
        except (KafkaError, IllegalStateError) as error:
            # Across a rebalance: whoever has the partition now hands them over again, which is harmless.
            log.warning("delay ladder: commit: %s", error or type(error).__name__)
        else:
            self._shelf.committed(positions)
