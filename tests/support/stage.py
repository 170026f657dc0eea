"""A deployment in a namespace of its own: its configuration, its topics, a publisher, and what the publisher is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, Self, TypeAlias

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from gateway import config, topics
from gateway.app import Worker
from gateway.outbox import Outbox
from tests.support import kafka
from tests.support.gateway_process import GatewayProcess
from tests.support.tally import Tally

PASSWORD = "secret12"

Table: TypeAlias = Mapping[str, Any]

SESSION_TIMEOUT_S = 6 if kafka.IDEMPOTENCE else 2
"""After which the slots of a worker that is gone without a word are given to others."""

# A static member that is killed comes back at once on Apache Kafka. On the embedded broker a dynamic one with a short
# session does sooner than a static one.
_MEMBERSHIP: Table = {"session_timeout_s": SESSION_TIMEOUT_S, "fetch_wait_ms": 100 if kafka.IDEMPOTENCE else 10}


class Stage:
    """A deployment over a broker and a store, entered as a context: then its topics exist and its events are followed.

    `lanes` maps a lane's name to what differs from `lane()`; the first one takes what no other route takes. `sections`
    are those of the configuration file, with what differs from the defaults.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker: str,
        store_url: str,
        namespace: str,
        lanes: Mapping[str, Table],
        routes: Iterable[Table] = (),
        hours: Iterable[Table] = (),
        **sections: Table,
    ) -> None:
        self.namespace = namespace
        self._broker = broker
        self._folder = folder
        (folder / "password").write_text(PASSWORD)
        partitions = {f"{name}_partitions": 2 for name in ("jobs", "events", "inbound", "delay")}
        self._tables: dict[str, Any] = {
            "kafka": {
                "bootstrap": broker,
                "prefix": namespace,
                "group": namespace,
                "idempotence": kafka.IDEMPOTENCE,
                **partitions,
                **_MEMBERSHIP,
            },
            "store": {"url": store_url},
            "delay": {"rungs_s": [1, 5]},
            "receipts": {"early_limit_s": 10},
            "lanes": dict(lanes),
            "routes": [*routes, _last_route(lanes)],
            "hours": [*hours],
        }
        for name, table in sections.items():
            self._tables[name] = {**self._tables.get(name, {}), **table}
        self.config = self.configure()
        self.tally = Tally(broker, self.config.kafka.events_topic, self.config.kafka.events_partitions)
        self._producer = topics.producer(self.config.kafka)
        self._outbox = Outbox(self._producer)

    async def __aenter__(self) -> Self:
        created = await topics.create(self.config)
        assert set(created.values()) == {"created"}, created
        await self._producer.start()
        await self.tally.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tally.stop()
        await self._producer.stop()

    # Gateways.

    def file(self, instance: str = "a") -> Path:
        """Write the configuration file of one instance and return where it is."""
        tables = {**self._tables, "kafka": {**self._tables["kafka"], **_static(instance)}}
        path = self._folder / f"{instance}.toml"
        path.write_text("\n".join(f"{name} = {toml(table)}" for name, table in tables.items()))
        return path

    def configure(self, instance: str = "a") -> config.Config:
        return config.load(self.file(instance))

    def change(self, name: str, **values: Any) -> None:
        """Say something else of a lane from now on; who runs already learns of it by `file` or `configure`, and a reload."""
        self._tables["lanes"] = {**self._tables["lanes"], name: {**self._tables["lanes"][name], **values}}

    def process(self, instance: str = "a", *options: str, module: str = "gateway.cli") -> GatewayProcess:
        """A gateway as a process of its own with options for `recado run`, started by entering it."""
        return GatewayProcess(self.file(instance), self._folder / f"{instance}.log", *options, module=module)

    @asynccontextmanager
    async def worker(
        self, instance: str = "a", kind: Callable[[config.Config], Worker] = Worker
    ) -> AsyncIterator[Worker]:
        """A gateway within this process. What ends one of its loops ends the test; leaving stops it as SIGTERM does."""
        worker = kind(self.configure(instance))
        await worker.start()
        stopping = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.wait(stopping), name=f"worker {instance}")
                yield worker
                stopping.set()
        finally:
            await worker.stop()

    # The publisher.

    async def publish(self, *jobs: Table) -> None:
        """Append jobs to the jobs topic, each as a record, and return when the broker has them."""
        await self.publish_raw(*(json.dumps(job, ensure_ascii=False).encode() for job in jobs))

    async def publish_raw(self, *values: bytes) -> None:
        """Append records to partition 0 of the jobs topic, in this order."""
        await self._outbox.send({(self.config.kafka.jobs_topic, 0): [(None, value) for value in values]})

    async def read(self, topic: str, count: int, patience_s: float = 30) -> list[ConsumerRecord]:
        """The first records of a topic, as soon as there are so many."""
        found: list[ConsumerRecord] = []
        partitions = await self._outbox.partitions(topic)
        async with AIOKafkaConsumer(
            bootstrap_servers=self._broker, auto_offset_reset="earliest", fetch_max_wait_ms=50
        ) as consumer:
            consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
            async with asyncio.timeout(patience_s):
                while len(found) < count:
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        found += records
        return found

    async def until(self, condition: Callable[[], bool], patience_s: float = 30) -> None:
        """Wait until a condition holds that nothing announces, such as what the simulator has seen."""
        try:
            async with asyncio.timeout(patience_s):
                while not condition():  # noqa: ASYNC110 - nothing announces it
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise TimeoutError(f"after {patience_s} s; {dict(self.tally.counts())}") from None


def _last_route(lanes: Mapping[str, Table]) -> Table:
    name, first = next(iter(lanes.items()))
    return {"lane": name, "channel": "whatsapp"} if first.get("provider") == "whatsapp" else {"lane": name}


def lane(port: int, **other: Any) -> dict[str, Any]:
    """A lane to the simulator on `port` that is fast and comes back soon, with what differs from that."""
    return {
        "host": "127.0.0.1",
        "port": port,
        "system_id": "alpha",
        "password_file": "password",
        "rate": 100_000,
        "window": 100,
        "sender": "89000",
        "reconnect_min_s": 0.05,
        "reconnect_max_s": 0.5,
        "drain_s": 5,
        **other,
    }


def job(job_id: str, recipients: Iterable[Table | str], text: str = "Hola", **other: Any) -> dict[str, Any]:
    """A job; a recipient given as a number gets its message_id from the gateway."""
    listed = [{"to": each} if isinstance(each, str) else dict(each) for each in recipients]
    return {"job_id": job_id, "text": text, "recipients": listed, **other}


def people(job_id: str, count: int, start: int = 0) -> dict[str, str]:
    """`count` different numbers, by the message_id that the gateway gives each in a job of that id."""
    return {f"{job_id}:{index}": f"+57300{start + index:07d}" for index in range(count)}


def toml(value: Any) -> str:
    """Write plain values as TOML. What is no table is written as in JSON, and a table on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return value.isoformat() if isinstance(value, date) else json.dumps(value)


def _static(instance: str) -> Table:
    return {"instance": instance} if kafka.IDEMPOTENCE else {}


Stages: TypeAlias = Callable[..., Stage]


@pytest.fixture
def stage(broker: str, store_url: str, namespace: str, tmp_path: Path) -> Stages:
    """Makes deployments over the shared broker and store; other arguments as for `Stage`, and they win."""

    def make(**arguments: Any) -> Stage:
        return Stage(tmp_path, **{"broker": broker, "store_url": store_url, "namespace": namespace, **arguments})

    return make
