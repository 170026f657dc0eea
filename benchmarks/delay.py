"""Does the delay ladder let go in time, what does a record cost it, and does it grow with what waits?

`python -m benchmarks.delay [--records N] [--rate PER_S] [--waiting N] [--json FILE]`: a table on stderr, JSON on stdout. Records
for a topic are put on the ladder so that they come due one after the other at a rate; a process with nothing but the loop
takes them off. That is measured twice: with nothing else on the ladder, and with many more that wait for hours. Lateness
is the time at which a record was given to Kafka for its topic, against the time at which it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.support import BenchmarkError, machine, versions
from gateway import topics
from gateway.config import Config, loads
from gateway.delay import DelayLoop, Ladder
from gateway.embedded import EmbeddedBroker
from gateway.outbox import Batches, Outbox

TARGET_S = 1.0
"""How late a record may be."""

_LEAD_S = 8.0
"""From the first record that is put to the first that is due: the process has to start and to join its group in that time."""
_PATIENCE_S = 60.0
_WAIT_S = 6 * 3600.0
_BATCH = 5000
_RUNGS = [1, 5, 15, 60, 300, 900, 3600, 14_400]
_SETTINGS = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
group = "{prefix}"
idempotence = false
events_partitions = 4
session_timeout_s = 3
fetch_wait_ms = 50
[store]
url = "redis://unused"
[delay]
rungs_s = {rungs}
[lanes.unused]
host = "unused"
port = 1
system_id = "unused"
password_env = "PASSWORD"
rate = 1
[[routes]]
lane = "unused"
"""
# As long as a message with a short text is.
_TEXT = "Hola Ana, su factura 12345 vence el 25 nov. Pague en https://x.co/a1b2c3" + 80 * "."


class Task(msgspec.Struct):
    """What the process that is measured has to do."""

    bootstrap: str
    prefix: str
    records: int
    patience_s: float

    def config(self) -> Config:
        text = _SETTINGS.format(bootstrap=self.bootstrap, prefix=self.prefix, rungs=_RUNGS)
        return loads(text, {"PASSWORD": "unused"})

    def rungs(self) -> Mapping[int, tuple[str, int]]:
        kafka = self.config().kafka
        return {rung: (kafka.delay_topic(rung), kafka.delay_partitions) for rung in _RUNGS}


def work(task: Task) -> dict[str, float]:
    """The process that is measured: a loop on the ladder until all records that are due soon have left it."""
    return uvloop.run(_work(task))


async def _work(task: Task) -> dict[str, float]:
    config = task.config()
    rungs = task.rungs()
    consumer = topics.consumer(config.kafka, "delay")
    async with topics.producer(config.kafka) as producer:
        ladder = Ladder(rungs)
        rung_of = {topic: rung for rung, (topic, _) in rungs.items()}
        loop = DelayLoop(consumer=consumer, outbox=Outbox(producer), ladder=ladder, rung_of=rung_of, handlers={})
        consumer.subscribe(list(rung_of), listener=loop)
        async with consumer:
            joined, cpu, rss = time.time(), time.process_time(), psutil.Process().memory_info().rss
            running = asyncio.create_task(loop.run())
            held = 0
            while loop.counts["due"] < task.records:
                if time.time() > joined + task.patience_s:
                    raise BenchmarkError(f"{task.records - loop.counts['due']} records have not come")
                await asyncio.sleep(0.05)
                held = max(held, loop.held)
            cpu = time.process_time() - cpu
            running.cancel()
            await asyncio.wait([running])
    handed = loop.counts.total()
    return {
        "joined": joined,
        "hops": handed / task.records,
        "cpu_us_per_hop": cpu / handed * 1e6,
        "cpu_share": cpu / (time.time() - joined),
        "held_most": held,
        "rss_before_mb": rss / 1e6,
        "rss_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


async def put(outbox: Outbox, ladder: Ladder, target: str, moments: Iterator[tuple[int, float]]) -> None:
    """Put records on the ladder, each with the time at which it is due in its payload."""
    batches: Batches = {}
    now = time.time()
    for number, due in moments:
        key = f"+57300{number:07d}".encode()
        payload = msgspec.json.encode([due, key.decode(), _TEXT])
        ladder.put(batches, due, target, key, payload, now)
        if number % _BATCH == _BATCH - 1:
            await outbox.send(batches)
            batches, now = {}, time.time()
    if batches:
        await outbox.send(batches)


async def lateness(config: Config, target: str, records: int) -> list[float]:
    """By how many seconds each record of the topic was late, least first; of one that left twice the first time counts."""
    found: dict[bytes, float] = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(config.kafka.servers), auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with consumer:
        consumer.assign([TopicPartition(target, number) for number in range(config.topics()[target])])
        async with asyncio.timeout(_PATIENCE_S):
            while len(found) < records:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    for record in batch:
                        due: float = msgspec.json.decode(record.value)[0]
                        found.setdefault(record.key, record.timestamp / 1000 - due)
    return sorted(found.values())


async def measure(bootstrap: str, prefix: str, records: int, rate: float, waiting: int) -> dict[str, Any]:
    """One run in topics of its own."""
    task = Task(bootstrap, prefix, records, _LEAD_S + records / rate + _PATIENCE_S)
    config = task.config()
    await topics.create(config)
    target = config.kafka.events_topic
    ladder = Ladder(task.rungs())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        async with topics.producer(config.kafka) as producer:
            outbox = Outbox(producer)
            if waiting:
                later = time.time() + _WAIT_S
                await put(outbox, ladder, target, ((n, later + n / rate) for n in range(waiting)))
            start = time.time() + _LEAD_S
            await put(outbox, ladder, target, ((n, start + n / rate) for n in range(records)))
        measured = await asyncio.get_running_loop().run_in_executor(pool, work, task)
    if measured.pop("joined") > start:
        raise BenchmarkError("the process was not there in time: the machine is too busy")
    late = await lateness(config, target, records)
    return {
        "waiting": waiting,
        "p50_ms": round(1000 * late[len(late) // 2]),
        "p99_ms": round(1000 * late[len(late) * 99 // 100]),
        "max_ms": round(1000 * late[-1]),
        "min_ms": round(1000 * late[0]),
        **{key: round(value, 2) for key, value in measured.items()},
    }


async def run(records: int, rate: float, waiting: int, broker: str | None) -> dict[str, Any]:
    """Both runs, the second with records that wait for hours."""
    async with AsyncExitStack() as stack:
        bootstrap = broker or (await stack.enter_async_context(EmbeddedBroker())).bootstrap
        prefix = f"bench{time.time_ns() // 1_000_000}"
        runs = [await measure(bootstrap, f"{prefix}.{n}", records, rate, n * waiting) for n in range(2)]
    return {"records": records, "rate": rate, "rungs_s": _RUNGS, "runs": runs}


def main() -> int:
    """Measure and print; the exit code is 1 when a record was later than the target, or early."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=50_000, metavar="N", help="come due during the run")
    parser.add_argument("--rate", type=float, default=5000, metavar="PER_S", help="at which they come due")
    parser.add_argument("--waiting", type=int, default=100_000, metavar="N", help="wait for hours in the second run")
    parser.add_argument("--broker", metavar="HOST:PORT", help="instead of the embedded one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    given = parser.parse_args()
    result = uvloop.run(run(given.records, given.rate, given.waiting, given.broker))
    names = list(result["runs"][0])
    print("".join(f"{name:>16}" for name in names), file=sys.stderr)
    for row in result["runs"]:
        print("".join(f"{row[name]:>16}" for name in names), file=sys.stderr)
    text = msgspec.json.format(
        msgspec.json.encode({**result, "versions": versions(), "machine": machine()}), indent=2
    ).decode()
    if given.json is not None:
        given.json.write_text(text + "\n")
    print(text)
    return 0 if all(row["max_ms"] <= 1000 * TARGET_S and row["min_ms"] >= 0 for row in result["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
