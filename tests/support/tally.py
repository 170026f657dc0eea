"""What the publisher was told: every event of a deployment, kept so that a test can close the account."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from gateway.model import Event, EventStatus, decode_event

ENDS = frozenset(
    (EventStatus.REJECTED, EventStatus.DELIVERED, EventStatus.FAILED, EventStatus.EXPIRED, EventStatus.UNKNOWN)
)
"""What may become of a message in the end. One that is `unknown` may still get one of the others."""


class Tally:
    """Follows a topic of events from its beginning. Repetitions, known by their `event_id`, are counted and left out."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.events: dict[str, Event] = {}
        """By `event_id`, in the order in which they came first."""
        self.repeated: Counter[str] = Counter()
        """`event_id` → how many times it came again."""
        self.statuses: defaultdict[str, set[EventStatus]] = defaultdict(set)
        """`message_id` → what it has been."""
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50, enable_auto_commit=False
        )
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Event()

    async def start(self) -> None:
        """Begin to follow; the topic must exist."""
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        self._task = asyncio.create_task(self._follow(), name="tally")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._consumer.stop()

    async def until(self, condition: Callable[[], bool], patience_s: float = 30) -> None:
        """Wait until what has come so far fulfils a condition; TimeoutError with the counts if it never does."""
        try:
            async with asyncio.timeout(patience_s):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise TimeoutError(f"after {patience_s} s: {dict(self.counts())}") from None

    async def until_ended(self, message_ids: Iterable[str], patience_s: float = 30) -> None:
        """Wait until all these messages have come to an end, `unknown` included."""
        left = set(message_ids)

        def ended() -> bool:
            left.difference_update([each for each in left if self.statuses[each] & ENDS])
            return not left

        try:
            await self.until(ended, patience_s)
        except TimeoutError as error:
            some = {each: sorted(self.statuses[each]) for each in sorted(left)[:5]}
            raise TimeoutError(f"{len(left)} messages have not ended, such as {some}; {error}") from None

    def counts(self) -> Counter[EventStatus]:
        """How many different events there were of each status."""
        return Counter(event.status for event in self.events.values())

    def of(self, message_id: str) -> list[Event]:
        """The different events of one message, in the order in which they came first."""
        return [event for event in self.events.values() if event.message_id == message_id]

    def end_of(self, message_id: str) -> EventStatus | None:
        """What became of a message; AssertionError if it ended in two ways."""
        ends = self.statuses[message_id] & ENDS
        if len(ends) > 1:
            ends -= {EventStatus.UNKNOWN}
        assert len(ends) <= 1, f"{message_id} ended as {sorted(ends)}"
        return next(iter(ends), None)

    def ends(self, message_ids: Iterable[str]) -> Counter[EventStatus | None]:
        """How many of these messages ended in which way; None for those that have not."""
        return Counter(map(self.end_of, message_ids))

    async def _follow(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=1000)
            for records in fetched.values():
                self._add(records)
            if fetched:
                self._came.set()

    def _add(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            event = decode_event(record.value)
            first = self.events.setdefault(event.event_id, event)
            if first is event:
                if event.message_id:
                    self.statuses[event.message_id].add(event.status)
            else:
                assert (first.status, first.message_id) == (event.status, event.message_id), "one id for two events"
                self.repeated[event.event_id] += 1
