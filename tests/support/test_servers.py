"""Tests of the broker and the store of the chosen kind: what the tests of the gateway take for granted."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from gateway.embedded import HOST, free_port
from tests.support.kafka import start_broker
from tests.support.proxy import Proxy


async def round_trip(bootstrap: str, topic: str, *, idempotence: bool) -> tuple[bytes, int]:
    """Make a topic, append one record, and return its value and partition as a consumer sees them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)])
    finally:
        await admin.close()
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=idempotence) as producer,
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer,
    ):
        await producer.send_and_wait(topic, b"hola", partition=2)
        record = await consumer.getone()
        return record.value, record.partition


async def test_the_shared_broker_carries_a_record(broker: str, idempotence: bool, namespace: str) -> None:
    """A topic has the partitions asked for, and a record appended to one is read from it."""
    assert await round_trip(broker, f"{namespace}.a", idempotence=idempotence) == (b"hola", 2)


async def test_a_private_broker_stays_behind_its_proxy(idempotence: bool, namespace: str) -> None:
    """Clients of a broker that advertises a proxy keep to the proxy, so a cut reaches them."""
    port = free_port()
    async with Proxy(HOST, port) as proxy, start_broker(port=port, advertised_port=proxy.port) as bootstrap:
        assert await round_trip(bootstrap, namespace, idempotence=idempotence) == (b"hola", 2)
        admin = AIOKafkaAdminClient(bootstrap_servers=f"{HOST}:{port}")
        await admin.start()
        cluster = await admin.describe_cluster()
        await admin.close()
        assert [(each["host"], each["port"]) for each in cluster["brokers"]] == [(HOST, proxy.port)]


async def test_the_shared_store_runs_scripts(store_url: str, namespace: str) -> None:
    """The store keeps a key, and its scripts read MessagePack as the ledger writes it."""
    async with Redis.from_url(store_url) as redis:
        await redis.set(namespace, "value")
        assert await redis.get(namespace) == b"value"
        assert await redis.eval("return cmsgpack.unpack(ARGV[1])", 0, b"\x07") == 7
        await redis.delete(namespace)
