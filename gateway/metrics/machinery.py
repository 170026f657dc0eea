"""What has to be asked or waited for to be known: how late the event loop is, and what waits in Kafka."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from gateway.flight import Queue
from gateway.metrics.meters import histogram

_TICK_S = 0.25
_FRESH_S = 2.0
"""A second scrape within so long is told the same: one request to each broker is cheap, one for every viewer is not."""
_PATIENCE_S = 1.0
"""A broker that does not answer must not hold up a scrape, which is needed most then."""


class LoopLag:
    """How late a timer is: what everything else in the process waits as well."""

    def __init__(self) -> None:
        self.seconds = histogram("recado_event_loop_lag_seconds")

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.seconds.observe(max(0.0, loop.time() - due))


class Backlog:
    """How far the ends of partitions are from where this worker is; `consumers` read what it is about.

    What was known last stays while brokers are away. A partition that was not asked for yet has its end at 0.
    """

    def __init__(self, *consumers: AIOKafkaConsumer) -> None:
        self._consumers = consumers
        self._ends: dict[TopicPartition, int] = {}
        self._positions: dict[AIOKafkaConsumer, dict[TopicPartition, int]] = {}
        self._looked_at = -_FRESH_S

    async def look(self) -> None:
        """Ask the brokers, unless somebody has just done so; returns within a second."""
        if time.monotonic() - self._looked_at < _FRESH_S:
            return
        self._looked_at = time.monotonic()
        await asyncio.gather(*(self._ask(consumer) for consumer in self._consumers))

    def behind(self, tp: TopicPartition, position: int) -> int:
        """Records from a position on."""
        return max(0, self._ends.get(tp, 0) - position)

    def waiting(self, queue: Queue) -> int:
        """Records of a queue that are not done; before any of it was, and while there is none, from where it is read."""
        progress = queue.progress
        if progress.position or progress.pending:
            return self.behind(queue.tp, progress.position)
        read = (positions.get(queue.tp) for positions in self._positions.values())
        return sum(self.behind(queue.tp, at) for at in read if at is not None)

    def unread(self, topic: str) -> int:
        """Records of a topic that this worker's consumers have not been given, of the partitions that it has."""
        return sum(
            self.behind(tp, at)
            for positions in self._positions.values()
            for tp, at in positions.items()
            if tp.topic == topic
        )

    async def _ask(self, consumer: AIOKafkaConsumer) -> None:
        assigned = consumer.assignment()
        # What went to another worker is its to tell, whether or not brokers answer.
        known = self._positions.get(consumer, {})
        self._positions[consumer] = {tp: at for tp, at in known.items() if tp in assigned}
        if not assigned:
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._ends |= await consumer.end_offsets(list(assigned))
                self._positions[consumer] = {tp: await consumer.position(tp) for tp in assigned}
        except (KafkaError, IllegalStateError, TimeoutError):
            return
