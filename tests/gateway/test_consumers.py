"""Fetching and committing when connections, coordinators and aiokafka's own tasks go away under them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.errors import CommitFailedError, GroupAuthorizationFailedError, KafkaConnectionError, for_code
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import OffsetAndMetadata

from benchmarks.apache import ApacheKafka
from gateway import topics
from gateway.config import Kafka
from gateway.consumers import check, commit, committed, fetch
from gateway.embedded import HOST, free_port
from gateway.errors import GatewayError
from tests.support import kafka
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
    with pytest.raises(GatewayError, match="stopped fetching"):
        await fetch(consumer, timeout_ms=10, max_records=1)
    await consumer.stop()


async def make_topic(broker: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


@asynccontextmanager
async def member(broker: str, namespace: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that its group has given a partition."""
    await make_topic(broker, namespace)
    consumer = topics.consumer(Kafka(bootstrap=broker, group=namespace, session_timeout_s=6), "stage")
    consumer.subscribe([namespace])
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            while not consumer.assignment():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        yield consumer
    finally:
        await consumer.stop()


async def test_a_member_whose_heartbeats_have_ended_says_so(broker: str, namespace: str) -> None:
    """The first that is refused ends them, and aiokafka would say that for ever, whether or not the next would be taken."""
    async with member(broker, namespace) as consumer:

        async def refused() -> bool:
            raise GroupAuthorizationFailedError(namespace)

        consumer._coordinator._do_heartbeat = refused
        await asyncio.wait([consumer._coordinator._heartbeat_task], timeout=20)
        with pytest.raises(GatewayError, match=r"stopped sending heartbeats: .*30"):
            await fetch(consumer, timeout_ms=10, max_records=1)


async def test_who_looks_at_what_ails_a_group_joins_it_again(
    broker: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aiokafka tries no more until somebody has heard why it could not."""
    joins = CoordinatorGroupRebalance.perform_group_join
    async with member(broker, namespace) as consumer:

        async def refused(self: CoordinatorGroupRebalance) -> Any:
            monkeypatch.setattr(CoordinatorGroupRebalance, "perform_group_join", joins)
            raise GroupAuthorizationFailedError(namespace)

        monkeypatch.setattr(CoordinatorGroupRebalance, "perform_group_join", refused)
        consumer._coordinator.request_rejoin()
        heard = []
        async with asyncio.timeout(20):
            while not (heard and consumer.assignment()):
                try:
                    check(consumer)
                except GroupAuthorizationFailedError as error:
                    heard.append(error)
                await asyncio.sleep(0.01)
        assert len(heard) == 1


async def test_a_commit_of_an_assignment_that_is_over_is_not_sent(broker: str, namespace: str) -> None:
    """It would go out as of the next generation, in which the partition may be another's, who has committed more."""
    async with member(broker, namespace) as consumer:
        where = TopicPartition(namespace, 0)
        over = consumer._subscription.subscription.assignment
        consumer._coordinator.request_rejoin()
        async with asyncio.timeout(20):
            while over.active or not consumer.assignment():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        with pytest.raises(CommitFailedError):
            await consumer._coordinator.commit_offsets(over, {where: OffsetAndMetadata(1, "")})
        async with asyncio.timeout(20):
            while consumer._coordinator._performed_join_prepare:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        await commit(consumer, {where: 2})
        assert await consumer.committed(where) == 2


async def test_a_commit_that_meets_a_join_costs_no_membership(broker: str, namespace: str) -> None:
    """Kafka reads it behind the join, and refuses it: aiokafka would begin as a new member for that."""
    async with member(broker, namespace) as consumer:
        member_id = consumer._coordinator.member_id
        consumer._coordinator._performed_join_prepare = True
        with pytest.raises(CommitFailedError):
            await commit(consumer, {TopicPartition(namespace, 0): 1})
        assert consumer._coordinator.member_id == member_id
        consumer._coordinator._performed_join_prepare = False


# What a group has committed.

WHERE = TopicPartition("recado.lane.andina.bulk", 0)


def answered(*answers: OffsetFetchResponse_v3) -> Any:
    """A coordinator, as a member sees it, that answers so; `found` counts how often it was looked for."""
    left = list(answers)

    async def send(*_: Any, **__: Any) -> OffsetFetchResponse_v3:
        return left.pop(0)

    async def find() -> None:
        if coordinator.coordinator_id is None:
            coordinator.coordinator_id = 1
            coordinator._coordinator_dead_fut = asyncio.get_running_loop().create_future()
            coordinator.found += 1

    coordinator: Any = GroupCoordinator.__new__(GroupCoordinator)
    coordinator.group_id = "recado.lanes"
    coordinator.coordinator_id = None
    coordinator.found = 0
    coordinator._retry_backoff_ms = 1
    coordinator._client = SimpleNamespace(send=send)
    coordinator.ensure_coordinator_known = find
    return coordinator


HAS_COMMITTED = OffsetFetchResponse_v3(0, [(WHERE.topic, [(WHERE.partition, 40_010, "", 0)])], 0)


@pytest.mark.parametrize(("code", "found"), [(14, 1), (15, 2), (16, 2)])
async def test_a_coordinator_that_moves_has_not_forgotten_what_was_committed(code: int, found: int) -> None:
    """It answers with an error and without partitions: it is asked again, where it is by then."""
    coordinator = answered(OffsetFetchResponse_v3(0, [], code), HAS_COMMITTED)
    assert await committed(SimpleNamespace(_coordinator=coordinator), [WHERE]) == {WHERE: 40_010}
    assert coordinator.found == found


async def test_a_coordinator_that_refuses_is_not_asked_for_ever() -> None:
    """Rights do not pass."""
    coordinator = answered(OffsetFetchResponse_v3(0, [], GroupAuthorizationFailedError.errno))
    with pytest.raises(GroupAuthorizationFailedError):
        await committed(SimpleNamespace(_coordinator=coordinator), [WHERE])


async def test_aiokafka_does_not_hear_it_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, aiokafka does, and gateway/aiokafka_committed.py is not needed any more."""
    monkeypatch.setattr(GroupCoordinator, "_send_req", GroupCoordinator._send_req.__wrapped__)
    coordinator = answered(OffsetFetchResponse_v3(0, [], for_code(14).errno))
    assert await coordinator.fetch_committed_offsets([WHERE]) == {}


@pytest.mark.skipif(kafka.KIND != "kafka", reason="the embedded broker has no coordinator that loads its groups")
async def test_what_was_committed_is_there_through_a_restart(tmp_path: Path, namespace: str) -> None:
    """While the coordinator stops and while it loads: asked a thousand times a second, it never has nothing."""
    said: list[dict[TopicPartition, int]] = []

    async def ask(consumer: AIOKafkaConsumer) -> None:
        while True:
            said.append(await committed(consumer, [where]))
            await asyncio.sleep(0.001)

    node = ApacheKafka(tmp_path, heap="256m")
    async with node:
        await make_topic(node.bootstrap, namespace)
        consumer = topics.consumer(Kafka(bootstrap=node.bootstrap, group=namespace), "stage")
        await consumer.start()
        where = TopicPartition(namespace, 0)
        consumer.assign([where])
        await commit(consumer, {where: 40_010})
        asking = asyncio.create_task(ask(consumer))
        while not said:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    before = len(said)
    async with node:
        while len(said) < before + 100:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        await consumer.stop()
    assert set(map(str, said)) == {str({where: 40_010})}
