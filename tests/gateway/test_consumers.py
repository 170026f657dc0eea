"""Fetching and committing when connections go away under them."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from gateway import topics
from gateway.config import Kafka
from gateway.consumers import commit, fetch
from gateway.embedded import HOST, free_port
from tests.support.kafka import start_broker
from tests.support.proxy import Proxy


async def test_a_commit_that_is_given_up_fails_unnoticed(namespace: str) -> None:
    """A task's exception that nobody retrieves would be logged, and fail this test."""
    port = free_port()
    async with Proxy(HOST, port) as proxy, start_broker(port=port, advertised_port=proxy.port) as bootstrap:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=namespace, enable_auto_commit=False)
        await consumer.start()
        where = TopicPartition(namespace, 0)
        consumer.assign([where])
        await commit(consumer, {where: 1})
        proxy.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await commit(consumer, {where: 2})
        proxy.cut()
        await asyncio.sleep(0.2)
        proxy.thaw()
        proxy.restore()
        await commit(consumer, {where: 3})
        assert await consumer.committed(where) == 3
        await consumer.stop()


async def test_a_connection_that_closes_under_a_write_is_what_aiokafka_expects(broker: str) -> None:
    """Any other error ends its tasks, and uvloop has one of its own for this."""
    host, port = broker.split(":")
    connection = await create_conn(host, int(port))
    connection._writer.transport.abort()
    await asyncio.sleep(0)  # closed, and aiokafka will be told in the next turn of the loop
    with pytest.raises(KafkaConnectionError, match="broke"):
        await connection.send(MetadataRequest([]))
    assert not connection.connected()


async def test_a_consumer_that_has_stopped_fetching_says_so(broker: str, namespace: str) -> None:
    """Whatever ended aiokafka's task: a worker that is deaf has to end, and be started again."""
    consumer = topics.consumer(Kafka(bootstrap=broker, group=namespace), "stage")
    await consumer.start()
    consumer.assign([TopicPartition(namespace, 0)])
    assert await fetch(consumer, timeout_ms=10, max_records=1) == {}
    consumer._fetcher.error_future.cancel()
    await asyncio.wait([consumer._fetcher.error_future])
    with pytest.raises(RuntimeError, match="stopped fetching"):
        await fetch(consumer, timeout_ms=10, max_records=1)
    await consumer.stop()
