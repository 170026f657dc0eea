"""A campaign published while somebody looks on: at a rate, or as fast as it is carried; and how it fared, second by second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from aiokafka import AIOKafkaProducer
from msgspec import Struct

from benchmarks.campaign import Campaign, Tally
from benchmarks.support import percentile_ms

_LOOK_S = 0.01


class TenantCampaign(Campaign):
    """A campaign whose jobs belong to `tenants` in turn, `t0`, `t1` …: what routes can tell any number of lanes by."""

    def __init__(self, tenants: int, *, messages: int, per_job: int) -> None:
        super().__init__(first=0, messages=messages, per_job=per_job, lanes=1, long=0.0)
        self._tenants = tenants

    def job(self, number: int) -> bytes:
        return b'{"tenant":"t%d",' % (number % self._tenants) + super().job(number)[1:]


class Load:
    """Publishes the jobs of a campaign in their order, in as many calls as one likes."""

    def __init__(self, campaign: Campaign, per_job: int, producer: AIOKafkaProducer, topic: str) -> None:
        self.campaign = campaign
        self._per_job = per_job
        self._producer = producer
        self._topic = topic
        self._jobs = 0

    @property
    def published(self) -> int:
        """Messages so far."""
        return min(self._jobs * self._per_job, self.campaign.messages)

    @property
    def left(self) -> bool:
        return self._jobs < self.campaign.jobs

    async def at_once(self, messages: int) -> None:
        """Publish so many, a multiple of what a job has, as fast as Kafka takes them."""
        async with asyncio.TaskGroup() as sending:
            for _ in range(messages // self._per_job):
                self._send(sending)

    async def at_rate(self, per_s: float, seconds: float) -> None:
        """Publish `per_s` messages a second for so long; a publisher that was held up catches up."""
        began = asyncio.get_running_loop().time()
        first = self._jobs
        async with asyncio.TaskGroup() as sending:
            for number in range(int(per_s * seconds / self._per_job)):
                wait = began + number * self._per_job / per_s - asyncio.get_running_loop().time()
                if wait > 0:
                    await asyncio.sleep(wait)
                if not self.left:
                    return
                self._send(sending)
        assert self._jobs > first, "nothing to publish"

    async def saturating(self, closed: Callable[[], int], most: int, until: Callable[[], bool]) -> None:
        """Publish whenever fewer than `most` messages are not closed, as long as `until` does not hold."""
        async with asyncio.TaskGroup() as sending:
            while not until():
                while self.left and self.published - closed() < most:
                    self._send(sending)
                await asyncio.sleep(_LOOK_S)

    def _send(self, sending: asyncio.TaskGroup) -> None:
        value = self.campaign.job(self._jobs)
        self.campaign.appended_at[self._jobs] = time.time()
        partitions = len(self._producer.client.cluster.partitions_for_topic(self._topic) or (0,))
        sending.create_task(self._append(value, self._jobs % partitions))
        self._jobs += 1

    async def _append(self, value: bytes, partition: int) -> None:
        await self._producer.send_and_wait(self._topic, value, partition=partition)


class Second(Struct, frozen=True):
    """What was published in one second, by when it was written to the SMSC."""

    at: float
    """Its beginning, in seconds since the first."""
    published: int
    arrived: int
    p50_ms: float
    p99_ms: float


def seconds(campaign: Campaign, per_job: int, published: int, stamps: memoryview[float]) -> list[Second]:
    """The whole of a load in seconds of its publication; those in which nothing was published are left out."""
    rows = []
    started = campaign.appended_at[0]
    for number, (first, last) in enumerate(_bounds(campaign, -(-published // per_job), started)):
        messages = range(first * per_job, min(last * per_job, published))
        took = sorted(stamps[n] - campaign.appended_at[n // per_job] for n in messages if stamps[n])
        if messages and took:
            rows.append(Second(number, len(messages), len(took), percentile_ms(took, 0.5), percentile_ms(took, 0.99)))
    return rows


def _bounds(campaign: Campaign, jobs: int, started: float) -> Iterator[tuple[int, int]]:
    """The first job of each second, and the first of the next."""
    first = 0
    number = 0
    while first < jobs:
        last = first
        while last < jobs and campaign.appended_at[last] < started + number + 1:
            last += 1
        yield first, last
        first, number = last, number + 1


def rate_over_time(stamps: memoryview[float], messages: int, every_s: float = 1.0) -> list[tuple[float, float]]:
    """[seconds since the first, first parts a second] of what arrived."""
    arrivals = sorted(stamp for stamp in stamps[:messages] if stamp)
    if not arrivals:
        return []
    counts = [0] * (int((arrivals[-1] - arrivals[0]) / every_s) + 1)
    for stamp in arrivals:
        counts[int((stamp - arrivals[0]) / every_s)] += 1
    # The last one is not over.
    return [(number * every_s, count / every_s) for number, count in enumerate(counts[:-1])]


async def all_closed(tally: Tally, published: int, alive: Callable[[], bool], patience_s: float) -> int:
    """How many messages have a final event, as soon as all have, or when none has come for so long."""
    began = time.time()
    while True:
        closed = tally.final.count(1, 0, published)
        quiet = time.time() - max(began, tally.seen_at)
        if closed == published or quiet > patience_s or not alive():
            return closed
        await asyncio.sleep(0.02)
