"""From what was settled to Kafka and back to offsets: the second half of settling.

One loop, group commit: everything that was settled while the last batch was on its way makes the next one.
Only when Kafka has the events of a message, its retry or its dead letter, is its offset done.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import msgspec

from gateway import dead, events
from gateway.delay import Ladder
from gateway.failover import Address, with_step
from gateway.flight import Flight, Queue
from gateway.inbox import Delivery
from gateway.ledger import Outcome
from gateway.metrics.count import Tally
from gateway.metrics.meters import histogram
from gateway.model import Message, encode_message
from gateway.outbox import Batches, Outbox, Record
from gateway.settle import LANE_DOWN
from gateway.turn import Settled

_MANY = 64
"""Settled messages in a batch from which on the next is given time to grow."""
_GATHER_S = 0.05
"""Least time then between the starts of two batches. A request to Kafka costs as much as a hundred of its records."""
_STILL_S = 0.01
"""Deliveries that are waiting and have not become more for so long are all that an SMSC sends before it is answered."""

OUTCOMES = {
    "s": "submitted",
    "f": "failed",
    "x": "expired",
    "u": "unknown",
    "d": "duplicate",
    "j": "rejected",
    "q": "own_copy",
    "r": "retry",
    "w": "deferred",
    "m": "moved",
    "n": "fallback",
    "p": "dead",
}


class Pulse:
    """Wakes everybody who waits for it, as often as it beats."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return at the next beat. Cancelling is safe."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def beat(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Publisher:
    """Publishes what is settled. `capacity` is how many settled messages may wait before the dispatcher holds still."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        ladder: Ladder,
        events_topic: str,
        dead_topic: str,
        capacity: int,
        address: Callable[[str, Message], Address],
        wake_dispatcher: Callable[[], None],
        on_deliveries: Callable[[list[Delivery]], None],
    ) -> None:
        self._outbox = outbox
        self._ladder = ladder
        self._events_topic = events_topic
        self._dead_topic = dead_topic
        self._capacity = capacity
        self._address = address
        self._wake_dispatcher = wake_dispatcher
        self._on_deliveries = on_deliveries
        self._settled: list[Settled] = []
        self._records: list[Record] = []
        """Events of what is settled."""
        self._others: Batches = {}
        """What goes on from it: the next attempt, another lane, the next step, a dead letter."""
        self._under_way = 0
        """Settled messages of the batch that Kafka does not have yet."""
        self._deliveries: list[Delivery] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Settled attempts by lane, class and outcome."""
        self.troubles: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
        """Of those that were not simply accepted the codes, by lane and outcome."""
        self.batches = histogram("recado_settle_batch_messages")
        self._wake = asyncio.Event()
        self.turned = Pulse()
        """Beats after every batch and every turn of the dispatcher: who waits for a queue to change looks again then."""

    @property
    def waiting(self) -> int:
        """Settled messages that Kafka does not have."""
        return len(self._settled) + self._under_way

    @property
    def full(self) -> bool:
        return len(self._settled) >= self._capacity

    def add(self, settled: list[Settled], deliveries: list[Delivery]) -> None:
        """Take over what a turn of the dispatcher brought.

        Deliveries go on behind what was settled with them: nobody is told `delivered` before `submitted`.
        """
        self._settled += settled
        self._deliveries += deliveries
        self._write_down(settled)
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        loop = asyncio.get_running_loop()
        not_before = 0.0
        while True:
            await self._wake.wait()
            while (left := not_before - loop.time()) > 0:
                waiting = len(self._deliveries)
                await asyncio.sleep(min(left, _STILL_S))
                if 0 < waiting == len(self._deliveries):
                    break
            started = loop.time()
            self._wake.clear()
            settled, self._settled = self._settled, []
            not_before = started + _GATHER_S if len(settled) >= _MANY else 0.0
            deliveries, self._deliveries = self._deliveries, []
            was_full = len(settled) >= self._capacity
            self._under_way = len(settled)
            await self._publish(settled, deliveries)
            self._under_way = 0
            if was_full:
                self._wake_dispatcher()

    async def _publish(self, settled: list[Settled], deliveries: list[Delivery]) -> None:
        records, self._records = self._records, []
        others, self._others = self._others, {}
        if others:
            await self._outbox.send(others)
        # Whoever takes the deliveries gets its turn when this waits for Kafka: then our records stand in line before theirs.
        if deliveries:
            self._on_deliveries(deliveries)
        if records:
            await self._outbox.send_keyed(self._events_topic, records)
        self._count(settled)
        finished: dict[Queue, list[int]] = {}
        for flight, _ in settled:
            queue = flight.queue
            offset = flight.offset
            # A late answer settles a flight a second time; its offset is done already.
            if queue.flights.get(offset) is flight:
                del queue.flights[offset]
                if flight.stray:
                    queue.recovered[offset] = Outcome("q", 0.0)  # for when its record comes again
                elif queue in finished:
                    finished[queue].append(offset)
                else:
                    finished[queue] = [offset]
        for queue, offsets in finished.items():
            queue.progress.done_many(offsets)
        self.turned.beat()

    def _write_down(self, settled: list[Settled]) -> None:
        """Make the records at once, while the messages are in the processor's cache: a batch later it costs twice as much."""
        records, others = self._records, self._others
        now = time.time()
        for flight, outcome in settled:
            kind = outcome.kind
            if kind == "s":
                records.append(events.of_outcome(flight.message, outcome, flight.queue.slot.lane.name))
            elif kind in ("r", "w"):
                self._ladder.put(others, outcome.due, flight.queue.tp.topic, *_again(flight, outcome), now)
            elif kind in ("m", "n"):
                goes_on = (
                    _moved(flight, outcome) if kind == "m" else with_step(flight.message, outcome.step, outcome.attempt)
                )
                record = goes_on.to.encode(), encode_message(goes_on)
                others.setdefault(self._address(outcome.lane, goes_on), []).append(record)
                if kind == "n":
                    records.append(events.of_outcome(flight.message, outcome, flight.queue.slot.lane.name))
            elif kind == "p":
                others.setdefault((self._dead_topic, 0), []).append(
                    dead.letter(flight.message, outcome.error_text, events.utc(outcome.at))
                )
            elif kind != "q":
                records.append(events.of_outcome(flight.message, outcome, flight.queue.slot.lane.name))

    def _count(self, settled: list[Settled]) -> None:
        """By queue and kind first: two look-ups of names a message would cost more than all other counting together."""
        kinds = Counter([(flight.queue, outcome.kind) for flight, outcome in settled])
        for (queue, kind), count in kinds.items():
            self.counts[queue.slot.lane.name, queue.class_.value, OUTCOMES[kind]] += count
        for flight, outcome in settled:
            if outcome.error_code:
                self.troubles[flight.queue.slot.lane.name, OUTCOMES[outcome.kind]].add(outcome.error_code)
        if settled:
            self.batches.observe(len(settled))


def _again(flight: Flight, outcome: Outcome) -> tuple[bytes, bytes]:
    """The record that the delay ladder gives back: the next attempt, or the same one where nothing was written."""
    message = flight.message
    attempt = outcome.attempt or message.attempt + 1
    doubtful = message.doubtful or outcome.doubtful
    again = msgspec.structs.replace(message, attempt=attempt, accepted_ids=outcome.ids, doubtful=doubtful)
    return message.to.encode(), encode_message(again)


def _moved(flight: Flight, outcome: Outcome) -> Message:
    message = flight.message
    lane = flight.queue.slot.lane.name
    tried = message.tried if outcome.error_code == LANE_DOWN else (*message.tried, lane)
    return msgspec.structs.replace(message, attempt=outcome.attempt, tried=tried)
