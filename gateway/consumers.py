"""What the gateway's consumers do otherwise than aiokafka: fetch without going deaf, commit without leaving a failure behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord


async def fetch(
    consumer: AIOKafkaConsumer, *partitions: TopicPartition, timeout_ms: int, max_records: int
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """Return what has been fetched, of all partitions if none is named; empty when nothing came in time.

    Cancelling loses nothing. Raises `KafkaError`; raises RuntimeError when aiokafka's own task of fetching has ended, which
    the consumer would hide: it would find nothing for ever.
    """
    routine: asyncio.Task[Any] = consumer._fetcher.error_future
    if routine.done():
        raise RuntimeError("aiokafka has stopped fetching") from routine.exception()
    found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
        *partitions, timeout_ms=timeout_ms, max_records=max_records
    )
    return found


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
