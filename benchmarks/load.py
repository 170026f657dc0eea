"""A campaign published while somebody looks on: at a rate, or as fast as it is carried."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from aiokafka import AIOKafkaProducer

from benchmarks.campaign import Campaign, Tally
from gateway.model import FINAL
from gateway.outbox import Batches, Outbox

_LOOK_S = 0.01


class TenantCampaign(Campaign):
    """A campaign whose jobs belong to `tenants` in turn, `t0`, `t1` …: what routes can tell any number of lanes by."""

    def __init__(self, tenants: int, *, messages: int, per_job: int) -> None:
        super().__init__(first=0, messages=messages, per_job=per_job, lanes=1, long=0.0)
        self._tenants = tenants

    def job(self, number: int) -> bytes:
        return b'{"tenant":"t%d",' % (number % self._tenants) + super().job(number)[1:]


class Load:
    """Publishes the jobs of a campaign in their order, in as many calls as one likes.

    What comes while Kafka has not acknowledged what came before goes together: thousands of calls of a client that wait for
    a broker to come back would wake each other for minutes.
    """

    def __init__(self, campaign: Campaign, per_job: int, producer: AIOKafkaProducer, topic: str) -> None:
        self.campaign = campaign
        self._per_job = per_job
        self._producer = producer
        self._outbox = Outbox(producer)
        self._topic = topic
        self._jobs = 0
        self._waiting: Batches = {}
        self._wake = asyncio.Event()

    @property
    def published(self) -> int:
        """Messages so far."""
        return min(self._jobs * self._per_job, self.campaign.messages)

    @property
    def jobs(self) -> int:
        """Jobs so far."""
        return self._jobs

    @property
    def left(self) -> bool:
        return self._jobs < self.campaign.jobs

    async def at_once(self, messages: int) -> None:
        """Publish so many, a multiple of what a job has, as fast as Kafka takes them."""
        for _ in range(messages // self._per_job):
            self._put()
        await self._flush()

    async def at_rate(self, per_s: float, until: Callable[[], bool]) -> None:
        """Publish `per_s` messages a second until something holds; a publisher that was held up catches up."""
        now = asyncio.get_running_loop().time
        began = now()
        number = 0
        async with self._flowing():
            while self.left and not until():
                wait = began + number * self._per_job / per_s - now()
                if wait > 0:
                    await asyncio.sleep(wait)
                self._put()
                number += 1

    async def saturating(self, closed: Callable[[], int], most: int, until: Callable[[], bool]) -> None:
        """Publish whenever fewer than `most` messages are not closed, until something holds."""
        async with self._flowing():
            while not until():
                while self.left and self.published - closed() < most:
                    self._put()
                await asyncio.sleep(_LOOK_S)

    def _put(self) -> None:
        value = self.campaign.job(self._jobs)
        self.campaign.appended_at[self._jobs] = time.time()
        partitions = len(self._producer.client.cluster.partitions_for_topic(self._topic) or (0,))
        self._waiting.setdefault((self._topic, self._jobs % partitions), []).append((None, value))
        self._jobs += 1
        self._wake.set()

    async def _flush(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            await self._outbox.send(waiting)

    @contextlib.asynccontextmanager
    async def _flowing(self) -> AsyncIterator[None]:
        """Have Kafka given what is put, and all of it at the end."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flow(over))
            yield
            over.set()
            self._wake.set()

    async def _flow(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._wake.wait()
            self._wake.clear()
            await self._flush()


def after(seconds: float) -> Callable[[], bool]:
    """Holds when so many seconds are over."""
    now = asyncio.get_running_loop().time
    end = now() + seconds
    return lambda: now() >= end


def finals(tally: Tally) -> int:
    """How many messages have a final event; one that was in doubt and is delivered after all has two."""
    return sum(tally.counts[status] for status in FINAL) - tally.repeated


async def all_closed(
    tally: Tally,
    published: int,
    alive: Callable[[], bool],
    patience_s: float,
    count: Callable[[Tally], int] = finals,
) -> int:
    """How many messages are closed, as soon as all are, or when there was no event for so long."""
    began = time.time()
    while True:
        closed = count(tally)
        quiet = time.time() - max(began, tally.seen_at)
        if closed == published or quiet > patience_s or not alive():
            return closed
        await asyncio.sleep(0.02)
