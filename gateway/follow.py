"""Reading the events topic as a bystander: no group, nothing committed, every partition."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord
from msgspec import Struct

from gateway import topics
from gateway.config import Kafka
from gateway.consumers import fetch
from gateway.model import Event, EventStatus

Begin = Literal["beginning", "now"]

_WAIT_MS = 250
_MAX_RECORDS = 5000
_STATUS_WIDTH = max(map(len, EventStatus))


class Filter(Struct, frozen=True, kw_only=True):
    """Which events are wanted; what is empty wants all."""

    statuses: frozenset[EventStatus] = frozenset()
    job: str = ""
    """A job's id, or the one that `recado send` made numbered ids of."""
    tenant: str = ""
    message_id: str = ""

    def wants(self, event: Event) -> bool:
        return (
            (not self.statuses or event.status in self.statuses)
            and (not self.tenant or event.tenant == self.tenant)
            and (not self.message_id or event.message_id == self.message_id)
            and (not self.job or event.job_id == self.job or _is_numbered(event.job_id, self.job))
        )


def describe(event: Event) -> tuple[str, str, str]:
    """Return one line for a person in three pieces: the time, the status and the rest."""
    details = [f"job {event.job_id}" if event.job_id else "", f"lane {event.lane}" if event.lane else ""]
    if event.status is EventStatus.ACCEPTED:
        details.append(f"{event.recipients} recipients, {event.rejected} rejected")
    if event.status is EventStatus.SHORT:
        details += [f"portfolio {event.portfolio}", str(event.class_), f"{event.recipients} without a place"]
    if event.parts > 1:
        details.append(f"parts {event.parts_done}/{event.parts}")
    if event.attempt > 1:
        details.append(f"attempt {event.attempt}")
    if event.provider_message_id:
        details.append(f"id {event.provider_message_id}")
    if event.error_code:
        details.append(f"{event.error_code} {event.error_text}".rstrip())
    subject = event.message_id or "-"
    time = event.time.astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]
    return time, f"{event.status:<{_STATUS_WIDTH}}", "  ".join([subject, *filter(None, details)])


async def follow(kafka: Kafka, names: Sequence[str], begin: Begin) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Yield what comes in topics, by the batch, for ever; an empty list when there was nothing for a moment.

    Close the iterator to close its connections. Raises aiokafka's `KafkaError` if the brokers cannot be reached.
    """
    consumer = AIOKafkaConsumer(
        *names,
        **topics.connection(kafka),
        auto_offset_reset="earliest" if begin == "beginning" else "latest",
        enable_auto_commit=False,
        fetch_max_wait_ms=kafka.fetch_wait_ms,
    )
    try:
        await consumer.start()
        while True:
            fetched = await fetch(consumer, timeout_ms=_WAIT_MS, max_records=_MAX_RECORDS)
            yield [record for records in fetched.values() for record in records]
    finally:
        await consumer.stop()


def _is_numbered(job_id: str, base: str) -> bool:
    return job_id.startswith(base) and re.fullmatch(r"-\d{4,}", job_id[len(base) :]) is not None
