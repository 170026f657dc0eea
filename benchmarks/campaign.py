"""What the benchmark publishes, and what it reads of what became of it."""

from __future__ import annotations

import asyncio
import re
import time
from array import array
from collections import Counter
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord, TopicPartition

from benchmarks.smsc import DIGITS
from gateway.model import FINAL, EventStatus

MAX_MESSAGES = 10_000_000
"""As many as a Colombian mobile prefix has numbers: the last seven digits are the index of the message."""
MAX_OF_ONE_LANE = 60_000_000
"""The same of six prefixes, of which the last digit is the index's too."""
PREFIXES = ("+57300", "+57301", "+57302", "+57303", "+57304", "+57305", "+57310", "+57311")
"""One for each lane."""

_TEXT = "Hola {nombre}, su factura vence el {fecha}. Pague en https://x.co/{ref}"
_JOB = '{"job_id":"j%d","campaign":"cartera-nov","text":"' + _TEXT + '","recipients":[%s]}'
_RECIPIENT = '{"to":"%s%0*d","message_id":"m%d","params":{"nombre":"Ana","fecha":"25 nov","ref":"%s"}}'
_LONG_REF = "a1b2c3d4" * 40
"""Makes the text one of three parts."""
_UNDER_WAY = 64
"""Jobs handed to the client and not yet acknowledged: what bounds its memory."""


class Campaign:
    """`messages` in jobs of `per_job`, spread over `lanes`; the share `long` of them has three parts.

    `appended_at` is the wall clock just before each job was given to the producer.
    """

    def __init__(self, *, first: int, messages: int, per_job: int, lanes: int, long: float) -> None:
        self.first = first
        self.messages = messages
        self._per_job = per_job
        # With one lane nothing hangs on the prefix: the last eight digits are the index, however few are needed.
        self._prefixes = PREFIXES[:lanes] if lanes > 1 else (PREFIXES[0][:-1],)
        self._digits = DIGITS if lanes > 1 else DIGITS + 1
        self._long = long
        self.jobs = -(-messages // per_job)
        self.appended_at = array("d", bytes(8 * self.jobs))

    def latencies(self, stamps: memoryview[float]) -> list[float]:
        """Seconds from the append of the job to the arrival at the SMSC, ascending, of the messages that arrived."""
        first, per_job, appended_at = self.first, self._per_job, self.appended_at
        arrivals = enumerate(stamps[first : first + self.messages])
        return sorted(at - appended_at[index // per_job] for index, at in arrivals if at)

    def job(self, number: int) -> bytes:
        start = self.first + number * self._per_job
        end = min(start + self._per_job, self.first + self.messages)
        prefixes, long = self._prefixes, self._long
        recipients = [
            _RECIPIENT
            % (
                prefixes[index % len(prefixes)],
                self._digits,
                index,
                index,
                _LONG_REF if int((index + 1) * long) > int(index * long) else "a1b2c3d4",
            )
            for index in range(start, end)
        ]
        return (_JOB % (start, ",".join(recipients))).encode()

    async def publish(self, producer: AIOKafkaProducer, topic: str, per_s: float | None) -> None:
        """Publish all jobs, as fast as the broker takes them or `per_s` messages a second."""
        partitions = len(await producer.partitions_for(topic))
        loop = asyncio.get_running_loop()
        began = loop.time()
        pending = []
        for number in range(self.jobs):
            if per_s is not None:
                wait = began + number * self._per_job / per_s - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
            value = self.job(number)
            self.appended_at[number] = time.time()
            pending.append(await producer.send(topic, value, partition=number % partitions))
            if len(pending) == _UNDER_WAY:
                await asyncio.gather(*pending)
                pending.clear()
        await asyncio.gather(*pending)


class Tally:
    """What the events say of each message, read from the octets of their `event_id`."""

    _match = re.compile(rb'\{"event_id":"[^/"]*/m([0-9]+)/([a-z]+)/').match

    def __init__(self, messages: int) -> None:
        self.submitted = bytearray(messages)
        self.final = bytearray(messages)
        self.counts: Counter[str] = Counter()
        self.repeated = 0
        """Final events beyond the first of a message."""
        self.first_at = float("inf")
        """When the gateway made its first event, by the timestamp of the record: Unix seconds."""
        self.last_at = 0.0
        """The same of the last."""
        self.seen_at = 0.0
        """When we last saw any."""

    def take(self, records: Iterable[ConsumerRecord]) -> None:
        counts: dict[bytes, int] = {}
        final, submitted, match = self.final, self.submitted, self._match
        for record in records:
            found = match(record.value)
            if found is None:
                counts[b"accepted"] = counts.get(b"accepted", 0) + 1
                continue
            number, status = found.groups()
            counts[status] = counts.get(status, 0) + 1
            index = int(number)
            if status == b"submitted":
                submitted[index] = 1
            elif status in _FINAL:
                self.repeated += final[index]
                final[index] = 1
        self.counts.update({status.decode(): count for status, count in counts.items()})

    async def follow(self, consumer: AIOKafkaConsumer) -> None:
        """Read events until cancelled."""
        while True:
            fetched: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(timeout_ms=1000)
            for records in fetched.values():
                self.take(records)
                self.first_at = min(self.first_at, records[0].timestamp / 1000)
                self.last_at = max(self.last_at, records[-1].timestamp / 1000)
                self.seen_at = time.time()


_FINAL = {EventStatus(status).value.encode() for status in FINAL}
