"""A commit that nobody waits for any more."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.commits import commit
from gateway.embedded import HOST, free_port
from tests.support.kafka import start_broker
from tests.support.proxy import Proxy


async def test_one_that_is_given_up_fails_unnoticed(namespace: str) -> None:
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
