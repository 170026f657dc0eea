"""Where a gateway is measured: broker, store and simulated SMSC as processes of their own, topics, and our own clients."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from benchmarks.apache import ApacheKafka
from benchmarks.settings import APACHE, EMBEDDED
from benchmarks.smsc import map_stamps
from benchmarks.support import PASSWORD, PASSWORD_ENV, SMSC, BenchmarkError, Gateway, LastingStore
from gateway import config, topics
from gateway.embedded import EmbeddedBroker, EmbeddedStore, Server
from smpp.simulator import Behaviour, ControlClient


class Ground:
    """The broker and the store. `broker` is None for one that is not ours to start and stop."""

    def __init__(self, directory: Path, bootstrap: str, broker: Server | None, store: EmbeddedStore) -> None:
        self.directory = directory
        self.bootstrap = bootstrap
        self.broker = broker
        self.store = store

    @property
    def pids(self) -> dict[str, int]:
        """Of what runs beside the gateway, by what it is."""
        servers = {"store": self.store} | ({"broker": self.broker} if self.broker else {})
        return {name: server.pid for name, server in servers.items()}


@contextlib.asynccontextmanager
async def ground(broker: str, *, lasting: bool = False) -> AsyncIterator[Ground]:
    """Start broker and store; `lasting`: the store keeps its data when it is killed and started again."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recado-bench-")))
        server: EmbeddedBroker | ApacheKafka | None = None
        if broker == EMBEDDED:
            server = await stack.enter_async_context(EmbeddedBroker())
        elif broker == APACHE:
            server = await stack.enter_async_context(ApacheKafka(directory))
        store = LastingStore(directory) if lasting else EmbeddedStore()
        await stack.enter_async_context(store)
        yield Ground(directory, server.bootstrap if server else broker, server, store)


class Clients:
    """Our own producer, and a consumer of all events from the first."""

    def __init__(self, producer: AIOKafkaProducer, events: AIOKafkaConsumer) -> None:
        self.producer = producer
        self.events = events


@contextlib.asynccontextmanager
async def clients(gateway: config.Config) -> AsyncIterator[Clients]:
    """Make the topics and the clients; the topics of a broker that goes on living are deleted at the end."""
    bootstrap = list(gateway.kafka.servers)
    created = await topics.create(gateway)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=8 * 2**20, max_batch_size=900_000)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        # Seldom and much: our own CPU time is the gateway's loss where they share a machine.
        fetch_max_wait_ms=100,
        fetch_min_bytes=2**17,
        fetch_max_bytes=4 * 2**20,
    )
    partitions = range(gateway.kafka.events_partitions)
    consumer.assign([TopicPartition(gateway.kafka.events_topic, partition) for partition in partitions])
    await producer.start()
    await consumer.start()
    try:
        yield Clients(producer, consumer)
    finally:
        await consumer.stop()
        await producer.stop()
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.delete_topics(list(created))
        await admin.close()


class Site(Ground):
    """A ground with an SMSC, the configuration of a gateway, and our clients."""

    def __init__(self, on: Ground, smsc: SMSC, loaded: config.Config, file: Path) -> None:
        super().__init__(on.directory, on.bootstrap, on.broker, on.store)
        self.smsc = smsc
        self.config = loaded
        self.file = file
        self.clients: Clients
        self.control: ControlClient
        self.stamps: memoryview[float]

    @property
    def pids(self) -> dict[str, int]:
        return {"simulator": self.smsc.pid, **super().pids}

    def gateway(self, *options: str) -> Gateway:
        """A gateway with options for `recado run`, not yet started."""
        return Gateway(self.file, self.directory / "gateway.log", *options)

    async def counts(self, account: str = "") -> dict[str, Any]:
        """What the SMSC has seen of an account, or of all of them together."""
        stats = await self.control.call("stats")
        total: dict[str, Any] = {}
        for counts in [stats[account]] if account else stats.values():
            for name, value in counts.items():
                if isinstance(value, int):
                    total[name] = total.get(name, 0) + value
        return total

    async def until(
        self, condition: Callable[[dict[str, Any]], bool], patience_s: float = 30, account: str = ""
    ) -> None:
        """Return when the counts of the SMSC are as wished. Raises `BenchmarkError` with what they are if they never are."""
        deadline = time.monotonic() + patience_s
        while not condition(counts := await self.counts(account)):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"not within {patience_s:g} s, the SMSC has seen {counts}")
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def site(
    configure: Callable[[Ground, int], str],
    accounts: tuple[str, ...],
    behaviour: Behaviour,
    messages: int,
    broker: str = EMBEDDED,
    *,
    lasting: bool = False,
) -> AsyncIterator[Site]:
    """Build all but the gateway. `configure` writes its TOML for the ground and the SMSC's port."""
    async with contextlib.AsyncExitStack() as stack:
        on = await stack.enter_async_context(ground(broker, lasting=lasting))
        smsc = await stack.enter_async_context(SMSC(accounts, behaviour, on.directory / "stamps", messages))
        file = on.directory / "gateway.toml"
        file.write_text(configure(on, smsc.smpp_port))
        loaded = config.loads(file.read_text(), {PASSWORD_ENV: PASSWORD})
        built = Site(on, smsc, loaded, file)
        built.clients = await stack.enter_async_context(clients(loaded))
        built.control = await stack.enter_async_context(ControlClient(smsc.port))
        built.stamps = map_stamps(on.directory / "stamps", messages)
        yield built


@contextlib.asynccontextmanager
async def beside(loop: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a loop that does not end by itself while the context is open; what it failed with is raised at the end."""
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
