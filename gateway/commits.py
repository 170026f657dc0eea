"""Commits of a consumer whose caller may lose its patience."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition


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
