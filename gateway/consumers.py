"""What the gateway's consumers do otherwise than aiokafka: hear that it has gone deaf, commit and leave no failure behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from gateway.errors import GatewayError

_TASKS = {
    "_coordination_task": "being a member of its group",
    "_heartbeat_task": "sending heartbeats",
    "_commit_refresh_task": "reading committed offsets",
}
"""Of a member of a group. The first error that aiokafka does not expect ends one for good, also if its cause passes."""


async def fetch(
    consumer: AIOKafkaConsumer, *partitions: TopicPartition, timeout_ms: int, max_records: int
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """Return what has been fetched, of all partitions if none is named; empty when nothing came in time.

    Cancelling loses nothing. Raises what `check` raises.
    """
    check(consumer)
    found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
        *partitions, timeout_ms=timeout_ms, max_records=max_records
    )
    return found


def check(consumer: AIOKafkaConsumer) -> None:
    """Hear what ails a consumer; for those who cannot fetch now, since aiokafka tries no more until somebody has heard.

    Raises `KafkaError` for what it tries again then, such as joining the group; raises `GatewayError` when one of its own
    tasks has ended: it would find nothing for ever, or say the same for ever.
    """
    fetching: asyncio.Task[Any] = consumer._fetcher.error_future
    if fetching.done():
        raise GatewayError("aiokafka has stopped fetching") from fetching.exception()
    coordinator = consumer._coordinator
    for name, what in _TASKS.items():
        task: asyncio.Task[Any] | None = getattr(coordinator, name, None)  # without a group there is none
        if task is not None and task.done() and not task.cancelled() and (error := task.exception()):
            raise GatewayError(f"aiokafka has stopped {what}: {error or type(error).__name__}") from error
    coordinator.check_errors()


def beat(consumer: AIOKafkaConsumer) -> None:
    """Have the group know at once that a member is there; aiokafka begins when its listener has taken the assignment over."""
    consumer._coordinator._start_heartbeat_task()


def rejoins(consumer: AIOKafkaConsumer) -> bool:
    """Whether the assignment is over, though its listener may not know yet: the group is about to make another."""
    over: bool = consumer._coordinator._rejoin_needed_fut.done()
    return over


async def committed(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Return what the group has committed of partitions, where it has, in one request. Raises `KafkaError`."""
    found = await consumer._coordinator.fetch_committed_offsets(list(partitions))
    return {tp: at.offset for tp, at in found.items()}


async def commit(consumer: AIOKafkaConsumer, positions: Mapping[TopicPartition, int]) -> None:
    """Return when the broker has `positions`, the offsets to read from next.

    Cancelling leaves the commit on its way: aiokafka shields what it has sent, and a failure of that, which nobody waits
    for any more, would be reported by the event loop as a bug. Raises `KafkaError`, or `IllegalStateError` if a partition
    is not assigned any more.
    """
    task = asyncio.create_task(consumer.commit(positions), name="commit of offsets")
    task.add_done_callback(_seen)
    await asyncio.shield(task)


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
