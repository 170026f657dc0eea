"""Owning slots: the consumer group gives and takes them, this makes binds and queues of them.

Owning a slot means holding its bind; there is no other lock. aiokafka's rebalance is eager: every partition is revoked, then
the assignment comes. On revoke all queues stop, drain (bounded), settle and commit; what comes back starts afresh from the
committed offset and the ledger, and a slot that stays never drops its bind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from gateway.consumers import beat, check, commit, committed, fetch, rejoins
from gateway.dispatch import Dispatcher
from gateway.flight import Queue
from gateway.inbox import Inbox
from gateway.lane import Lane, Slot
from gateway.ledger import BLOCK, Ledger
from gateway.model import TrafficClass
from gateway.publisher import Publisher
from ratelimit.lease import Lease

log = logging.getLogger("gateway.slots")

_COMMIT_S = 1.0
_POLL_MS = 50
"""A queue that gets room while others are waited for is asked for again after this."""
_LEAST = 100
"""Records that a queue may have however much all the others hold: it must not wait for those of lanes that do not move."""
_LAST_SETTLE_S = 5.0
"""How long settling may take once all is answered. The ledger knows as much: a broker or a store that is away may not hold up
a process that wants to stop."""
_UNBIND_S = 1.0
"""Whoever had a slot before unbinds when it learns of it, which is when we do: so long its bind is left alone."""
_LAST_COMMIT_S = 1.0
"""What the commit has at least of that."""


class Slots(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """The slots of one worker: fetches for them, commits for them, takes and releases them."""

    def __init__(
        self,
        *,
        consumer: AIOKafkaConsumer,
        lanes: Mapping[str, Lane],
        topics: Mapping[str, tuple[str, TrafficClass]],
        inbox: Inbox,
        ledger: Ledger,
        dispatcher: Dispatcher,
        publisher: Publisher,
        drain_s: float,
        buffered: int,
        batch: int,
    ) -> None:
        self._consumer = consumer
        self._lanes = lanes
        self._topics = topics
        self._inbox = inbox
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._publisher = publisher
        self._drain_s = drain_s
        self._buffered = buffered
        self._batch = batch
        self.slots = dispatcher.slots
        self.leases: dict[str, Lease] = {}
        """Of the lanes of which this process has ever had a slot."""
        self._queues: dict[TopicPartition, Queue] = {}
        self._unbounded: set[TopicPartition] = set()
        """Queues of which it is not known yet how much is in doubt, see `_bound`."""
        self._ready = asyncio.Event()
        """Cleared between revoke and assign: what is fetched then is fetched again."""
        self._rebalances = 0
        """What waited meanwhile is of an assignment that is over."""
        self._polling = asyncio.Lock()
        """Held while records are asked for, which aiokafka goes on with across a rebalance."""
        self._assigning: asyncio.Task[None] | None = None
        self._commit_now = asyncio.Event()
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        self._failed: Exception | None = None

    # The consumer group's calls. It would log an exception out of them and go on, with queues that nobody forwards.

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Stop, drain, settle, commit. Bounded by `drain_s`: what is still in flight then is the ledger's to tell."""
        try:
            self._ready.clear()
            self._rebalances += 1
            for queue in self._queues.values():
                self._dispatcher.release(queue)
            await self._settle(self._drain_s)
            for slot in self.slots.values():
                if slot.port.in_flight:  # its next owner binds, and the account has so many binds and no more
                    slot.port.abort()
        except Exception as error:
            self._fail(error)

    @property
    def taking_over(self) -> bool:
        """Slots came with a rebalance and are not ours yet: their ledgers are being read."""
        return self._assigning is not None and not self._assigning.done()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Release what went elsewhere, take what came, read the ledger of each queue, and go on; until `close`."""
        if self._closed:  # a rebalance that met our stop: nothing is bound any more
            return
        self._assigning = asyncio.create_task(self._assign(assigned), name="assignment of slots")
        await asyncio.wait([self._assigning])
        if not self._assigning.cancelled() and isinstance(error := self._assigning.exception(), Exception):
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Have `fetch` raise it, which ends the worker."""
        self._failed = error
        self._ready.set()

    async def _assign(self, assigned: set[TopicPartition]) -> None:
        beat(self._consumer)  # many ledgers, or a store that is away, take longer than a session
        self._unbounded.clear()
        # Partitions that were added to a topic are slots once the configuration says so: each is a bind.
        assigned = {tp for tp in assigned if tp.partition < self._lanes[self._topics[tp.topic][0]].config.slots}
        for tp in [tp for tp in self._queues if tp not in assigned]:
            del self._queues[tp]
        kept = {self._slot_of(tp) for tp in assigned}
        leaving = [self.slots.pop(key) for key in list(self.slots) if key not in kept]
        for slot in leaving:
            slot.queues.clear()
            self._close(slot, _UNBIND_S / 2)
        used = set()
        offsets = await committed(self._consumer, assigned)
        for tp in sorted(assigned):
            if rejoins(self._consumer):  # others may own the rest by now, and have committed more of it than we know
                return
            if await self._take(tp, offsets.get(tp, 0)):
                used.add(self._topics[tp.topic][0])
        async with self._polling:
            # What was fetched since the assignment is dropped: the position goes back with it, and may not move after that.
            for tp, queue in self._queues.items():
                if queue.committed:
                    self._consumer.seek(tp, queue.committed)
            if unseen := [tp for tp, queue in self._queues.items() if not queue.committed]:
                await self._consumer.seek_to_beginning(*unseen)
        owned = Counter(lane for lane, _ in self.slots)
        now = time.monotonic()
        for name, lane in self._lanes.items():
            lane.share(owned[name], now)
            lane.taken_over(now)
            if not owned[name]:  # nobody here says so any more, turn by turn
                lane.lease.want(0)
            if owned[name] and name not in self.leases:
                if name not in used and await self._is_new(name):
                    lane.lease.first_use()
                self.leases[name] = lane.lease
        log.info("slots owned=%d queues=%d released=%d", len(self.slots), len(self._queues), len(leaving))
        self._ready.set()
        self._inbox.wake.set()

    # The worker's loops.

    async def fetch(self) -> None:
        """Bring records to the queues that have room, until cancelled; a queue that does not move holds up only itself."""
        while True:
            await self._ready.wait()
            if self._failed is not None:
                raise self._failed
            wanting = self._wanting()
            if not wanting:
                await self._publisher.turned.wait()
                continue
            rebalances = self._rebalances
            try:
                async with self._polling:
                    fetched = await fetch(self._consumer, *wanting, timeout_ms=_POLL_MS, max_records=2 * self._batch)
            except (KafkaError, IllegalStateError) as error:
                log.warning("fetch: %s", error or type(error).__name__)
                await asyncio.sleep(0.2)
                continue
            if self._unbounded and self._ready.is_set():
                await self._bound()
            if not self._ready.is_set() or self._rebalances != rebalances:
                continue
            for tp, records in fetched.items():
                queue = self._queues.get(tp)
                if queue is None or not queue.owned:
                    continue
                if records[0].offset < queue.progress.end:
                    # What we asked for was beyond the end: of another topic, or of one that has lost its end.
                    queue.fenced = True
                    log.critical(
                        "a topic is shorter than what was read of it, a person has to look queue=%s", queue.name
                    )
                    continue
                queue.progress.begin([record.offset for record in records])
                queue.records.extend(records)
            if fetched:
                self._inbox.wake.set()

    async def commit(self) -> None:
        """Commit once a second, and earlier when a queue has used half of its span; until cancelled.

        Between revoke and assign, or with every queue full, nothing is fetched: what ails the group is heard here.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_COMMIT_S):
                    await self._commit_now.wait()
            self._commit_now.clear()
            try:
                check(self._consumer)
            except KafkaError as error:
                log.warning("group: %s", error or type(error).__name__)
            if self._ready.is_set():
                await self._commit()

    async def close(self) -> None:
        """Forward nothing more, drain and unbind every bind, settle what that brought, commit; bounded."""
        self._closed = True
        self._ready.clear()
        if self._assigning is not None:  # it may be waiting for a broker or a store that is away
            self._assigning.cancel()
            await asyncio.wait([self._assigning])
        for queue in self._queues.values():
            self._dispatcher.release(queue)
        for slot in self.slots.values():
            self._close(slot)
        await asyncio.gather(*self._closing)
        self.slots.clear()
        await self._settle(_LAST_SETTLE_S)

    def reconfigure(self) -> None:
        """Go on with what a reload has changed of the lanes."""
        now = time.monotonic()
        owned = Counter(lane for lane, _ in self.slots)
        for name, lane in self._lanes.items():
            lane.share(owned[name], now)
        for slot in {queue.slot for queue in self._queues.values()}:  # also of one that is only being taken
            slot.reconfigure()

    # Private.

    async def _settle(self, patience_s: float) -> None:
        """Wait until nothing is on its way any more, for so long at most, and commit."""
        deadline = time.monotonic() + patience_s
        turned = self._publisher.turned
        while not all(queue.quiet for queue in self._queues.values()) and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await turned.wait()
        patience_s = max(_LAST_COMMIT_S, deadline - time.monotonic())
        try:
            async with asyncio.timeout(patience_s):
                await self._commit()
        except TimeoutError:
            log.warning("commit: no answer within %.1f s, the next owner reads the ledger instead", patience_s)

    async def _commit(self) -> None:
        positions = {
            tp: position
            for tp, queue in self._queues.items()
            if (position := queue.progress.position) > queue.committed and not queue.fenced
        }
        if not positions:
            return
        try:
            await commit(self._consumer, positions)
        except (KafkaError, IllegalStateError) as error:
            log.warning("commit: %s", error or type(error).__name__)
            return
        passed = []
        for tp, position in positions.items():
            queue = self._queues.get(tp)
            if queue is not None and position > queue.committed:  # it may have been taken anew meanwhile
                passed.append((queue.name, queue.committed, position))
                queue.advance(position)
        await self._ledger.trim(passed)
        self._inbox.wake.set()

    async def _take(self, tp: TopicPartition, offset: int) -> bool:
        """Become the owner of a queue of which the group has committed `offset`; False if nobody has ever been."""
        lane_name, class_ = self._topics[tp.topic]
        key = self._slot_of(tp)
        slot = self.slots.get(key) or Slot(self._lanes[lane_name], tp.partition, self._inbox)
        queue = self._queues.get(tp)
        if queue is None:
            queue = self._queues[tp] = Queue(tp, slot, class_)
            slot.queue(queue)
        found = await self._dispatcher.acquire(queue, offset, offset + slot.lane.span if offset else -1)
        queue.recovered = found.outcomes
        queue.recover_before = queue.entry.intent = found.intent
        queue.unsure = found.lost
        if found.lost or (found.intent > 0 and not offset):
            self._unbounded.add(tp)
        elif found.intent > offset:
            log.warning(
                "recovering queue=%s committed=%d intent=%d known_outcomes=%d",
                *(queue.name, offset, found.intent, len(found.outcomes)),
            )
        queue.owned = True
        used = found.known or bool(offset)
        if key not in self.slots:
            self.slots[key] = slot
            slot.port.start(_UNBIND_S if used else 0.0)
        return used

    async def _bound(self) -> None:
        """Say of queues whose ledger is lost, or of another topic, what is in doubt: before any of their records is admitted.

        An earlier owner has written nothing that was not in the topic when the queue became ours.
        """
        rebalances = self._rebalances
        for tp in list(self._unbounded):
            end = self._consumer.highwater(tp)
            queue = self._queues[tp]
            if end is None or end < queue.committed:  # not fetched yet; or of a leader that does not know its end yet
                continue
            self._unbounded.discard(tp)
            if queue.unsure:
                queue.slot.lane.meter.ledgers_lost += 1
                log.critical(
                    "the ledger of a queue is lost: up to %d messages may have been written, their class decides queue=%s",
                    *(min(queue.recover_before, end) - queue.committed, queue.name),
                )
            elif queue.recover_before > end:
                log.critical(
                    "a topic was made anew, what the ledger says of the old one is forgotten queue=%s", queue.name
                )
                await self._ledger.trim([(queue.name, 0, queue.recover_before + BLOCK)])
                if self._rebalances != rebalances:  # the queue is another's, or ours anew
                    return
                queue.recovered = {}
                end = 0
            queue.recover_before = queue.entry.intent = min(queue.recover_before, end)
            self._dispatcher.tell(queue)

    async def _is_new(self, lane: str) -> bool:
        """Whether nothing was ever committed for a lane, in any process: then nobody can hold a share of its rate."""
        config = self._lanes[lane].config
        tps = [
            TopicPartition(topic, n)
            for topic, (name, _) in self._topics.items()
            if name == lane
            for n in range(config.slots)
        ]
        return not await committed(self._consumer, [tp for tp in tps if tp not in self._queues])

    def _slot_of(self, tp: TopicPartition) -> tuple[str, int]:
        return self._topics[tp.topic][0], tp.partition

    def _close(self, slot: Slot, patience_s: float | None = None) -> None:
        task = asyncio.create_task(_closed(slot, patience_s), name=f"close {slot.lane.name}/{slot.index}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _wanting(self) -> list[TopicPartition]:
        """Queues that have room for more records.

        The others are left out of the poll, not paused: aiokafka throws away what it has fetched of a paused partition.
        """
        high = max(self._batch, self._buffered // max(1, len(self._queues)))
        if sum(len(queue.records) for queue in self._queues.values()) >= self._buffered:
            high = min(high, _LEAST)
        wanting = []
        for tp, queue in self._queues.items():
            if queue.progress.position - queue.committed > queue.slot.lane.span // 2:
                self._commit_now.set()
            if len(queue.records) < high and not queue.fenced:
                wanting.append(tp)
        return wanting


async def _closed(slot: Slot, patience_s: float | None) -> None:
    """Drain and disconnect; after so many seconds without the provider's consent."""
    closing = asyncio.ensure_future(slot.port.close())
    done, _ = await asyncio.wait((closing,), timeout=patience_s)
    if not done:
        slot.port.abort()
    await closing
