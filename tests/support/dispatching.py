"""The stages of dispatch put together without sockets and brokers: what they write and produce is kept to be looked at."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from math import floor
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from msgspec.structs import replace

from gateway import config
from gateway.app import Worker
from gateway.delay import Waiting
from gateway.dispatch import Dispatcher
from gateway.failover import Failover
from gateway.flight import Flight, Part, Queue
from gateway.forward import Forwarder
from gateway.inbox import Inbox
from gateway.lane import Lane, Slot
from gateway.ledger import Outcome
from gateway.model import Message, TrafficClass, decode_message, encode_message
from gateway.outbox import Record
from gateway.publisher import Publisher
from gateway.routing import Router
from gateway.settle import Settler
from gateway.turn import Turn
from smpp.events import Response
from tests.support.stage import toml

NOW = 1_764_000_000.0
"""The Unix time of tests that do not wait."""

Table = Mapping[str, Any]
LANE: Table = {
    "host": "localhost",
    "port": 1,
    "system_id": "test",
    "password_env": "PASSWORD",
    "rate": 100_000,
    "window": 10,
    "sender": "89000",
}


def configured(
    lanes: Mapping[str, Table], routes: Iterable[Table] = (), store_url: str = "redis://localhost", **sections: Table
) -> config.Config:
    """A configuration of lanes, each given by what differs from `LANE`; the first takes what no other route takes."""
    tables: dict[str, Any] = {
        "kafka": {"bootstrap": "localhost:9092"},
        "store": {"url": store_url},
        "lanes": {name: {**LANE, **table} for name, table in lanes.items()},
        "routes": [*routes, {"lane": next(iter(lanes))}],
    }
    for name, table in sections.items():
        tables[name] = {**tables.get(name, {}), **table}
    text = "\n".join(f"{name} = {toml(table)}" for name, table in tables.items())
    return config.loads(text, {"PASSWORD": "secret"})


def numbers() -> config.Config:
    """Two numbers of WhatsApp, of which the first may carry collections."""
    keys = {"token_env": "S", "app_secret_env": "S", "verify_token_env": "S"}
    sections = {
        "kafka": {"bootstrap": "localhost:9092"},
        "store": {"url": "redis://localhost"},
        "lanes": {
            "a": {"provider": "whatsapp", "allow_collections": True, "whatsapp": {**keys, "phone_number_id": "1"}},
            "b": {"provider": "whatsapp", "whatsapp": {**keys, "phone_number_id": "2"}},
        },
        "routes": [{"channel": "whatsapp", "lanes": ["b", "a"]}],
    }
    return config.loads("\n".join(f"{name} = {toml(table)}" for name, table in sections.items()), {"S": "secret"})


def message(message_id: str = "m", **changes: Any) -> Message:
    """A short bulk message to one person, but for the changes."""
    plain = Message(
        message_id, "+573001234567", "Hola", "89000", "j", "", "banco", TrafficClass.BULK, 0.0, "0:7:0", NOW - 5
    )
    return replace(plain, **changes)


def messages(count: int, **changes: Any) -> list[Message]:
    """So many messages of different ids, to different people."""
    return [message(f"m{n}", to=f"+57300{n:07d}", source=f"0:7:{n}", **changes) for n in range(count)]


def long_text(parts: int) -> str:
    """A text that takes so many parts: 153 characters each (8-bit reference)."""
    return "a" * (153 * parts)


def lease(lane: Lane, now: float | None = None) -> None:
    """Give a lane its whole contract with its burst full, as the store would; it lasts an hour, however slow the machine."""
    now = time.monotonic() if now is None else now
    beat = lane.lease.request(now + 3600)[2]
    rate = floor(lane.config.rate * (1 << 20))
    lane.lease.answered([beat, "generation", rate, int(lane.config.burst), []], now - 1000)


class Port:
    """A bind without a socket, which keeps what is written, by batches."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.in_flight = 0
        self.bound = True
        self.down_reason = ""
        self.written: list[list[Part]] = []

    @property
    def room(self) -> int:
        return self.window - self.in_flight if self.bound else 0

    def start(self, after: float = 0.0) -> None: ...

    def abort(self) -> None: ...

    async def close(self) -> None: ...

    def set_window(self, window: int) -> None:
        self.window = window

    def submit(self, parts: list[tuple[bytes, Any]]) -> None:
        assert 0 < len(parts) <= self.room
        self.in_flight += len(parts)
        self.written.append([part for _, part in parts])

    def answer(self, inbox: Inbox, *answers: tuple[Part, int, str]) -> None:
        """The operator's answers, as one read brings them: part, command_status, message_id."""
        self.in_flight -= len(answers)
        inbox.answers.append([Response(*answer) for answer in answers])
        inbox.wake.set()


def port_of(slot: Slot) -> Port:
    """The port that `slot_of` gave a slot."""
    port: Any = slot.port
    assert isinstance(port, Port)
    return port


def slot_of(lane: Lane, index: int, inbox: Inbox) -> Slot:
    """A slot that is bound to nowhere."""
    slot = Slot(lane, index, inbox)
    slot.port = Port(lane.config.window)  # type: ignore[assignment]
    return slot


def queue_of(slot: Slot, class_: str = "bulk", number: int = 0) -> Queue:
    """A queue of a slot, owned and empty."""
    kafka = config.Kafka(bootstrap="localhost:9092")
    topic = kafka.lane_topic(slot.lane.name, TrafficClass(class_), number)
    queue = Queue(TopicPartition(topic, slot.index), slot, TrafficClass(class_))
    slot.queue(queue)
    queue.owned = True
    return queue


def put(queue: Queue, *several: Message) -> None:
    """Fetch these messages for a queue, as the next records of its partition."""
    start = queue.progress.position + queue.progress.pending
    begin(queue, [record(queue.tp.topic, start + n, encode_message(each)) for n, each in enumerate(several)])


def begin(queue: Queue, records: list[ConsumerRecord]) -> None:
    queue.progress.begin([each.offset for each in records])
    queue.records.extend(records)


def record(topic: str, offset: int, value: bytes | None, partition: int = 0) -> ConsumerRecord:
    """A record as the consumer brings it."""
    return ConsumerRecord(topic, partition, offset, 0, 0, None, value, None, 0, 0, ())


def ids(parts: Iterable[Part]) -> list[str]:
    """The message ids of parts, in their order."""
    return [part.flight.message.message_id for part in parts]


class Line:
    """Both halves of dispatch over the lanes of a configuration, without effects: `turn` holds what they want told."""

    def __init__(self, configuration: config.Config, *, batch: int = 1000) -> None:
        self.config = configuration
        self.inbox = Inbox(1000)
        self.lanes = {name: Lane(lane, time.monotonic()) for name, lane in configuration.lanes.items()}
        for lane in self.lanes.values():
            lease(lane)
        router = Router(configuration.routes, configuration.lanes, configuration.operators)
        self.failover = Failover(configuration.kafka, configuration.lanes, router)
        self.turn = Turn()
        self.settler = Settler(self.turn, configuration.classes, self.inbox, self.failover, 3600)
        self.forwarder = Forwarder(self.turn, self.settler, self.failover, batch)
        self.slots: dict[tuple[str, int], Slot] = {}

    def slot(self, lane: str, index: int = 0) -> Slot:
        slot = self.slots.get((lane, index))
        if slot is None:
            slot = self.slots[lane, index] = slot_of(self.lanes[lane], index, self.inbox)
        return slot

    def queue(self, lane: str, class_: str = "bulk", number: int = 0) -> Queue:
        return queue_of(self.slot(lane), class_, number)

    def choose(self, now: float = NOW) -> list[Part]:
        """What would be written this turn, of all slots."""
        chosen, _ = self.forwarder.choose(self.slots.values(), now)
        return [part for _, parts in chosen for part in parts]

    def write(self, now: float = NOW) -> list[Part]:
        """The same, and written."""
        parts = self.choose(now)
        for part in parts:
            part.written = time.monotonic()
            port_of(part.flight.queue.slot).submit([(part.body, part)])
        return parts

    def answer(self, parts: Iterable[Part], command_status: int = 0, now: float = NOW) -> None:
        """One read of a bind: the same answer for all parts, or an id for each."""
        answers = []
        for part in parts:
            port_of(part.flight.queue.slot).in_flight -= 1
            accepted = "" if command_status else f"id-{part.flight.message.message_id}-{part.number}"
            answers.append(Response(part, command_status, accepted))
        self.settler.answers(answers, now)

    def exchange(self, now: float = NOW) -> None:
        """What is not to be written turns out to be no second copy."""
        unwritten, self.turn.unwritten = self.turn.unwritten, []
        for flight in unwritten:
            self.settler.end(flight, now)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """What became of messages, by id; a test that settles one twice looks at `turn.settled`."""
        return {flight.message.message_id: outcome for flight, outcome in self.turn.settled}

    @property
    def told(self) -> list[tuple[int, str]]:
        """What the ledger is to be told of the queues that were touched: offset and kind of outcome."""
        return [
            (outcomes[n + 1], outcomes[n + 2][2])
            for queue in self.turn.touched.values()
            for outcomes in [queue.entry.outcomes]
            for n in range(0, len(outcomes), 3)
        ]


class _Batch:
    """A record batch that is a list."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, *, timestamp: int, key: bytes | None, value: bytes) -> bool:
        self.records.append((key, value))
        return True


FETCHER = SimpleNamespace(error_future=SimpleNamespace(done=lambda: False))
"""Of what is a consumer to us: its fetching goes on (`consumers.fetch`)."""
COORDINATOR = SimpleNamespace(check_errors=lambda: None)
"""Of the same: nothing ails its group (`consumers.check`)."""


class Broker:
    """What a producer of aiokafka's is to the outbox; it keeps what it is sent.

    `hold` keeps acknowledgements back, `refusal` is raised.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.records: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        self.hold: asyncio.Event | None = None
        self.refusal: Exception | None = None
        self._partitions = partitions

    def create_batch(self) -> _Batch:
        return _Batch()

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self._partitions))

    async def send_batch(self, batch: _Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        if self.refusal is not None:
            raise self.refusal
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.hold is not None:
            await self.hold.wait()
        self.records[topic, partition] += batch.records
        done.set_result(None)
        return done

    async def stop(self) -> None: ...

    def messages(self, topic: str, partition: int = 0) -> list[Message]:
        """The messages in a partition of a lane topic."""
        return [decode_message(value) for _, value in self.records[topic, partition]]

    def waiting(self, topic: str) -> list[tuple[float, str, Message]]:
        """When due, for which topic, and what: the messages on a rung of the ladder."""
        import msgspec

        return [
            (waiting.due, waiting.target, decode_message(bytes(waiting.payload)))
            for (name, _), records in self.records.items()
            if name == topic
            for waiting in (msgspec.json.decode(value, type=Waiting) for _, value in records)
        ]

    def topics(self) -> set[str]:
        return {topic for (topic, _), records in self.records.items() if records}


class Works:
    """A worker whose loops do not run: a test takes its turns. The store is real, the broker is `broker`."""

    def __init__(self, worker: Worker, broker: Broker) -> None:
        self.worker = worker
        self.broker = broker
        self.dispatcher: Dispatcher = worker.dispatcher
        self.publisher: Publisher = worker.publisher
        self.inbox = worker.inbox

    async def queue(self, lane: str, class_: str = "bulk", index: int = 0, committed: int = 0) -> Queue:
        """Become the owner of a queue, of a bind to nowhere, with what the ledger knows of it."""
        slots = self.dispatcher.slots
        slot = slots.get((lane, index))
        if slot is None:
            slot = slots[lane, index] = slot_of(self.worker.lanes[lane], index, self.inbox)
        queue = queue_of(slot, class_)
        found = await self.dispatcher.acquire(queue, committed)
        queue.recovered = found.outcomes
        queue.recover_before = queue.entry.intent = found.intent
        return queue

    async def turn(self) -> None:
        """One turn of the dispatcher."""
        self.inbox.wake.clear()
        await self.dispatcher._take_turn()

    async def turns(self, most: int = 100) -> None:
        """Turns for as long as there is reason for the next."""
        self.inbox.wake.set()
        while self.inbox.wake.is_set():
            most -= 1
            assert most, "turns without end"
            await self.turn()

    async def publish(self) -> None:
        """Publish what is settled."""
        settled, self.publisher._settled = self.publisher._settled, []
        await self.publisher._publish(settled, [])

    def written(self, lane: str, index: int = 0) -> list[Part]:
        return [part for batch in port_of(self.dispatcher.slots[lane, index]).written for part in batch]


@asynccontextmanager
async def works(configuration: config.Config, *, leased: bool = True) -> AsyncIterator[Works]:
    """A worker that has not started, over the store of its configuration; `leased`: its lanes hold their contracts."""
    worker = Worker(configuration)
    broker = Broker()
    producer, worker.outbox._producer = worker.outbox._producer, broker
    await producer.stop()
    for lane in worker.lanes.values() if leased else ():
        lease(lane)
    try:
        yield Works(worker, broker)
    finally:
        worker.dispatcher.slots.clear()
        await worker.stop()


def flight_of(queue: Queue, message: Message, ids: Iterable[str] = ("",)) -> Flight:
    """A message on its way, as if its record had come and been admitted."""
    offset = queue.progress.position + queue.progress.pending
    queue.progress.begin([offset])
    flight = Flight(queue, offset, message, list(ids))
    queue.flights[offset] = flight
    return flight
