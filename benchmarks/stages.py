"""Where the time goes: CPU µs a message of each stage of the pipeline, without sockets, brokers or stores.

`python -m benchmarks.stages [--meters]`. The least of many repeats, so that a noisy machine shows little. What the sum leaves
out is what a batch costs whatever its size: system calls, aiokafka's requests and fetches, the round trips to the store.

`--meters` says what of it is for metrics: the same, in turns, with and without what observes by the batch or counts by the
message. Sums that are kept by the batch stay; they are below what can be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import ConsumerRecord

from benchmarks import tables
from gateway import config as configuration
from gateway.app import Worker
from gateway.flight import Queue
from gateway.inbox import Delivery
from gateway.lane import Slot
from gateway.metrics.count import Histogram, Line, Tally
from gateway.model import TrafficClass
from gateway.publisher import Publisher
from ratelimit import TokenBucket
from smpp.pdu import DeliverSM, encode_response
from smpp.session import Role, Session, State

_BATCH = 100
_SETTINGS = {"rtt_ms": 0, "window": _BATCH, "receipts": 1.0, "long": 0.0, "backlog": 0}
"""What a batch goes through: answered at once, each message of one part, each with its receipt."""
_REPEATS = 200
_TURNS = 20
_METERS: tuple[tuple[type, str], ...] = (
    (Histogram, "observe"),
    (Line, "joined"),
    (Line, "left"),
    (Tally, "add"),
    (Publisher, "_count"),
)

_RECEIPT = b"id:%d sub:001 dlvrd:001 submit date:2611220130 done date:2611220130 stat:DELIVRD err:000 text:Hola"

_CONFIG = """
[kafka]
bootstrap = "localhost:9092"
[store]
url = "redis://localhost"
[lanes.andina]
host = "localhost"
port = 2775
system_id = "bench"
password_env = "PASSWORD"
rate = 100000
burst = 100000
window = 100
sender = "89000"
[[routes]]
lane = "andina"
"""


class _Share(TokenBucket):
    """A lease of which this process has all, without a store to say so."""

    def want(self, n: int, *, urgent: bool = False) -> None:
        pass


class _Producer:
    """Builds real record batches and drops them."""

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(900_000, 0)

    async def send_batch(self, builder: BatchBuilder, topic: str, partition: int) -> asyncio.Future[None]:
        builder._build()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}


class _Store:
    """Answers what the scripts would, out of nothing."""

    rows: list[bytes | None]

    async def run(self, script: Any, argument: Any) -> Any:
        import msgspec

        msgspec.msgpack.encode(argument)
        return [[], []] if len(argument) == 8 else self.rows[: len(argument[6])]


class _Port:
    """A bind without a socket: the session's bytes go nowhere."""

    lane = account = "andina"

    def __init__(self) -> None:
        self.session = Session(Role.ESME, window=_BATCH)
        self.session.state = State.BOUND_TRX

    @property
    def room(self) -> int:
        return self.session.room

    def submit(self, parts: list[tuple[bytes, Any]]) -> None:
        self.session.submit(parts, 0.0)
        self.session.data_to_send()


def _record(topic: str, offset: int, value: bytes) -> ConsumerRecord:
    return ConsumerRecord(topic, 0, offset, 0, 0, None, value, None, 0, 0, ())


async def _measure() -> dict[str, float]:
    worker = Worker(configuration.loads(_CONFIG, {"PASSWORD": "secret"}))
    worker.outbox._producer = _Producer()
    store = _Store()
    worker.ledger._store = worker.receipts._store = store  # type: ignore[assignment]
    lane = worker.lanes["andina"]
    lane.lease = _Share(100_000, 100_000, time.monotonic() - 1)  # type: ignore[assignment]
    slot = Slot(lane, 0, worker.inbox)
    port = slot.port = _Port()  # type: ignore[assignment]
    queue = Queue(TopicPartition("recado.lane.andina.bulk", 0), slot, TrafficClass.BULK)
    slot.queue(queue)
    queue.owned = True
    worker.dispatcher.slots["andina", 0] = slot
    await worker.outbox.partitions("recado.lane.andina.bulk")
    text = "Hola {nombre}, su factura vence el {fecha}. Pague en https://x.co/{ref}"
    recipients = [
        {"to": f"+5730{n:08d}", "message_id": f"opt-{n}", "params": {"nombre": "Ana", "fecha": "25 nov", "ref": "a1"}}
        for n in range(_BATCH)
    ]
    job = json.dumps(
        {"job_id": "job", "campaign": "cartera", "tenant": "banco", "text": text, "recipients": recipients}
    ).encode()
    best: dict[str, float] = {}

    def note(stage: str, started: float) -> None:
        best[stage] = min(best.get(stage, 1e9), (time.process_time() - started) / _BATCH * 1e6)

    sent: list[Any] = []
    worker.outbox.send = _capturing(sent)  # type: ignore[method-assign,assignment]
    await _taken(worker, job)
    values = [
        value for batches in sent for (topic, _), records in batches.items() if "lane" in topic for _, value in records
    ]
    del worker.outbox.send
    offset = 0
    for _ in range(_REPEATS):
        started = time.process_time()
        await _taken(worker, job)
        note("intake (decode, validate, personalise, route, encode, record batch)", started)

        records = [_record(queue.tp.topic, offset + n, value) for n, value in enumerate(values)]
        offset += len(values)
        started = time.process_time()
        queue.progress.begin([record.offset for record in records])
        queue.records.extend(records)
        note("fetch (offsets, queue)", started)

        started = time.process_time()
        now = time.time()
        await asyncio.sleep(0)
        worker.dispatcher._forwarder.refill([slot], now)
        note("admit (decode, encode)", started)
        started = time.process_time()
        chosen, _ = worker.dispatcher._forwarder.choose([slot], now)
        note("choose (class, tokens, window, intents, claims)", started)
        started = time.process_time()
        await worker.dispatcher._exchange(now)
        note("exchange of intents and claims (without the round trip)", started)
        started = time.process_time()
        worker.dispatcher._write(chosen, now)
        note("write (sequence numbers, window, bytes)", started)

        last = port.session._sequence
        answers = b"".join(
            encode_response(0x80000004, 0, last - _BATCH + 1 + n, b"%d\0" % (10_000_000 + n)) for n in range(_BATCH)
        )
        started = time.process_time()
        events = port.session.receive(answers, 0.0)
        note("submit_sm_resp (parse, match)", started)
        started = time.process_time()
        worker.dispatcher._settler.answers(events, now)
        note("settle (outcome, correlation row)", started)
        rows = [row.encode() for row in worker.dispatcher._turn.rows[1::3]]
        started = time.process_time()
        await worker.dispatcher._exchange(now)
        note("exchange of outcomes and rows (without the round trip)", started)
        settled, worker.dispatcher._turn.settled = worker.dispatcher._turn.settled, []
        started = time.process_time()
        worker.publisher.add(settled, [])
        settled, worker.publisher._settled = worker.publisher._settled, []
        await worker.publisher._publish(settled, [])
        note("publish (event, record batch, progress)", started)

        receipts = b"".join(
            DeliverSM(
                source_addr=f"5730{n:08d}",
                destination_addr="89000",
                esm_class=4,
                short_message=_RECEIPT % (10_000_000 + n),
            ).encode(n + 1)
            for n in range(_BATCH)
        )
        started = time.process_time()
        pdus: list[Any] = port.session.receive(receipts, 0.0)
        note("deliver_sm (parse)", started)
        store.rows = list(rows)
        delivery = Delivery(port, _Link(port), 0, pdus)  # type: ignore[arg-type]
        started = time.process_time()
        await worker.receipts._turn([delivery])
        note("receipt (parse, correlate, event, record batch, answer)", started)
        worker.receipts._marks.clear()
    for client in (worker._jobs, worker._delay_consumer, worker._lane_consumer, worker._producer):
        client._closed = True  # it was never opened, and would complain of that
    return best


async def _taken(worker: Worker, job: bytes) -> None:
    await worker.intake._take([_record("recado.jobs", 0, job)])
    producing, worker.intake._producing = worker.intake._producing, []
    await asyncio.gather(*producing)


class _Link:
    generation = 0

    def __init__(self, port: _Port) -> None:
        self._session = port.session

    def answer(self, pdus: list[Any], command_status: int = 0) -> None:
        self._session.answer_deliveries(pdus, command_status)
        self._session.data_to_send()


def _capturing(sent: list[Any]) -> Callable[[Any], Any]:
    async def send(batches: Any) -> None:
        sent.append(batches)

    return send


@contextlib.contextmanager
def _unmetered() -> Iterator[None]:
    kept = [(owner, name, getattr(owner, name)) for owner, name in _METERS]
    for owner, name in _METERS:
        setattr(owner, name, _nothing)
    try:
        yield
    finally:
        for owner, name, meter in kept:
            setattr(owner, name, meter)


def _nothing(*_: object) -> None: ...


async def _metered() -> tuple[float, float]:
    """CPU µs a message of all stages together, and how much of it is for metrics."""
    with_, without = [], []
    for _ in range(_TURNS):
        with_.append(await _measure())
        with _unmetered():
            without.append(await _measure())
    whole, rest = (sum(min(turn[stage] for turn in turns) for stage in turns[0]) for turns in (with_, without))
    return whole, whole - rest


def main() -> None:
    print(f"{tables.conditions({'settings': _SETTINGS})}; in batches of {_BATCH}")
    if "--meters" in sys.argv:
        whole, meters = asyncio.run(_metered())
        print(f"{meters:7.2f} µs of {whole:.2f} for metrics, {meters / whole:.1%}")
        return
    best = asyncio.run(_measure())
    for stage, cost in best.items():
        print(f"{cost:7.2f} µs  {stage}")
    print(f"{sum(best.values()):7.2f} µs  together")
    if "--json" in sys.argv:
        print(json.dumps({"settings": _SETTINGS, **best}))


if __name__ == "__main__":
    main()
