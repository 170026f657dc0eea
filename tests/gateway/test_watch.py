"""Which lanes are down, as several workers see it together through a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.brake import Brake
from gateway.errors import Disposition
from gateway.failover import Failover
from gateway.flight import Queue
from gateway.health import Health
from gateway.inbox import Inbox
from gateway.lane import Lane
from gateway.providers.contract import Failure
from gateway.routing import Router
from gateway.store import Script, Store
from gateway.watch import Watch
from tests.support.dispatching import Port, configured, port_of, queue_of, slot_of

CLOSED = Failure(Disposition.STOP, "ESME_RINVPASWD")


class Ends:
    """Where the partitions of lanes end: all at the same offset."""

    def __init__(self) -> None:
        self.end = 0

    async def look(self) -> None: ...

    def waiting(self, queue: Queue) -> int:
        return self.end - queue.progress.position


class Worker:
    """What of a worker takes part: its slots, its opinion, and what it makes of all of them."""

    def __init__(self, store: Store, namespace: str, slots: str, most_waiting: int = 0, **lane: float) -> None:
        config = configured({"andina": {"binds": 2, **lane}, "brava": lane}, [{"lanes": ["andina", "brava"]}])
        self.store = store
        self._looked = asyncio.Event()
        self.inbox = Inbox(10)
        self.lanes = {name: Lane(one, 0.0) for name, one in config.lanes.items()}
        self.failover = Failover(config.kafka, config.lanes, Router(config.routes, config.lanes))
        self.slots = {
            (name, index): slot_of(self.lanes[name], index, self.inbox) for index, name in enumerate(slots.split())
        }
        self.health = Health(config.lanes)
        self.brake = Brake(most_waiting)
        self.ends = Ends()
        self.watch = Watch(
            store=self,  # type: ignore[arg-type]
            prefix=f"{namespace}:",
            slots=self.slots,
            lanes=self.lanes,
            health=self.health,
            failover=self.failover,
            brake=self.brake,
            backlog=self.ends,  # type: ignore[arg-type]
            inbox=self.inbox,
        )

    def port(self, lane: str) -> Port:
        return next(port_of(slot) for (name, _), slot in self.slots.items() if name == lane)

    async def look(self) -> None:
        """One look of the loop, which looks once a second."""
        self._looked.clear()
        task = asyncio.create_task(self.watch.run())
        await self._looked.wait()
        task.cancel()
        await asyncio.wait([task])

    async def run(self, script: Script, argument: object) -> object:
        """The store's, which notes that it was asked."""
        answer = await self.store.run(script, argument)
        self._looked.set()
        return answer

    @property
    def down(self) -> set[str]:
        return set(self.failover.down)


@asynccontextmanager
async def stores(url: str, count: int = 1) -> AsyncIterator[list[Store]]:
    several = [Store(url) for _ in range(count)]
    try:
        yield several
    finally:
        for store in several:
            await store.close()


AT_ONCE = {"down_after_s": 0.0, "up_after_s": 0.0}


async def test_a_lane_is_up_while_any_bind_of_any_worker_is(store_url: str, namespace: str) -> None:
    """Its slots here may be down."""
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina", **AT_ONCE)
        there = Worker(store, namespace, "andina", **AT_ONCE)
        here.port("andina").bound = False
        await there.look()
        await here.look()
        assert here.down == set()
        there.port("andina").bound = False
        await there.look()
        await here.look()
        assert here.down == there.down == {"andina"}


async def test_one_of_two_binds_here_is_enough(store_url: str, namespace: str) -> None:
    """A lane is not down for a part of it."""
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina andina", **AT_ONCE)
        port_of(here.slots["andina", 0]).bound = False
        await here.look()
        assert here.down == set()


async def test_intake_is_held_by_what_waits_for_a_lane_in_all_workers_until_half_of_it_has_gone(
    store_url: str, namespace: str
) -> None:
    """It may have no slot of that lane itself."""
    async with stores(store_url) as (store,):
        intake = Worker(store, namespace, "brava", most_waiting=100)
        others = [Worker(store, namespace, "andina", most_waiting=100) for _ in range(2)]
        for other in others:
            queue_of(other.slots["andina", 0])

        async def held(*waiting: int) -> str:
            for other, end in zip(others, waiting, strict=True):
                other.ends.end = end
                await other.look()
            await intake.look()
            return intake.brake.lane

        assert await held(50, 50) == ""
        assert await held(50, 51) == "andina"
        assert await held(0, 51) == "andina"
        assert await held(0, 50) == ""


async def test_a_worker_goes_by_what_others_say_of_lanes_that_it_has_no_slot_of(store_url: str, namespace: str) -> None:
    """Intake needs to know of all of them."""
    async with stores(store_url) as (store,):
        here, there = Worker(store, namespace, "brava", **AT_ONCE), Worker(store, namespace, "andina", **AT_ONCE)
        there.port("andina").bound = False
        await there.look()
        await here.look()
        assert here.down == {"andina"}


async def test_a_lane_is_down_only_after_a_while_and_up_only_after_another(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reconnect is no failure, and a bind that comes and goes is no recovery."""
    clock = [100.0]
    monkeypatch.setattr("gateway.watch.time.monotonic", lambda: clock[0])
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina", down_after_s=30, up_after_s=60)
        await here.look()

        async def after(seconds: float, bound: bool) -> set[str]:
            clock[0] += seconds
            here.port("andina").bound = bound
            await here.look()
            return here.down

        assert await after(1, False) == set()
        assert await after(29, False) == set()
        assert await after(1, False) == {"andina"}
        assert await after(1, True) == {"andina"}
        assert await after(59, True) == {"andina"}
        assert await after(1, True) == set()


async def test_a_stopped_lane_is_down_at_once(store_url: str, namespace: str) -> None:
    """However well its binds are; nobody waits for somebody to look."""
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina", down_after_s=1000)
        here.lanes["andina"].stop(CLOSED)
        await here.look()
        assert here.down == {"andina"}


async def test_a_lane_that_one_worker_stopped_is_not_up_by_its_binds(store_url: str, namespace: str) -> None:
    """The others learn that it cannot send there."""
    async with stores(store_url) as (store,):
        here, there = Worker(store, namespace, "andina", **AT_ONCE), Worker(store, namespace, "brava", **AT_ONCE)
        here.lanes["andina"].stop(CLOSED)
        await here.look()
        await there.look()
        assert there.down == {"andina"}


async def test_a_stopped_lane_is_up_again_when_a_reload_has_let_it_go_on(store_url: str, namespace: str) -> None:
    """Somebody has looked."""
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina", **AT_ONCE)
        lane = here.lanes["andina"]
        lane.stop(CLOSED)
        await here.look()
        here.health.resume("andina")
        lane.reconfigure(lane.config, 0.0)
        await here.look()
        assert here.down == set()


async def test_a_worker_that_vanished_is_forgotten(store_url: str, namespace: str) -> None:
    """What it said last counts for some seconds: then the lane is as those who are left see it."""
    async with stores(store_url) as (store,), Redis.from_url(store_url) as redis:
        here, gone = Worker(store, namespace, "andina", **AT_ONCE), Worker(store, namespace, "andina", **AT_ONCE)
        here.port("andina").bound = False
        await gone.look()
        await here.look()
        assert here.down == set()
        key = f"{namespace}:lanes"
        rows = await redis.hgetall(key)
        assert len(rows) == 2
        # Its last word becomes six seconds old.
        for field, value in rows.items():
            at, _, ok = value.decode().partition(":")
            await redis.hset(key, field, f"{int(at) - 6}:{ok}")
        await here.look()
        assert here.down == {"andina"}
        assert len(await redis.hgetall(key)) == 1


async def test_what_is_said_has_a_time_to_live(store_url: str, namespace: str) -> None:
    """A deployment that is gone leaves nothing in the store."""
    async with stores(store_url) as (store,), Redis.from_url(store_url) as redis:
        await Worker(store, namespace, "andina").look()
        assert await redis.ttl(f"{namespace}:lanes") > 0


async def test_a_lane_that_is_not_ours_is_left_out(store_url: str, namespace: str) -> None:
    """Another worker may run with a newer file already."""
    async with stores(store_url) as (store,), Redis.from_url(store_url) as redis:
        here = Worker(store, namespace, "brava", **AT_ONCE)
        await here.look()
        (value,) = (await redis.hgetall(f"{namespace}:lanes")).values()
        at = value.decode().partition(":")[0]
        await redis.hset(f"{namespace}:lanes", "nueva/other", f"{at}:0")
        await here.look()
        assert here.down == set()


async def test_a_change_wakes_whoever_forwards(store_url: str, namespace: str) -> None:
    """The queue of a lane that went down is to be moved; nothing else would say so. While nothing changes nobody wakes."""
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina", **AT_ONCE)
        await here.look()
        assert not here.inbox.wake.is_set()
        here.port("andina").bound = False
        await here.look()
        assert here.inbox.wake.is_set()
        here.inbox.wake.clear()
        await here.look()
        assert not here.inbox.wake.is_set()


async def test_while_the_store_is_away_lanes_stay_as_they_were(store_url: str, namespace: str) -> None:
    """Nobody can know better, and the loop goes on."""
    async with stores(store_url) as (store,):
        here = Worker(store, namespace, "andina", **AT_ONCE)
        here.port("andina").bound = False
        await here.look()
        here.port("andina").bound = True
        here.store = away = Store("redis://127.0.0.1:1")
        task = asyncio.create_task(here.watch.run())
        await asyncio.sleep(0.05)
        assert not task.done()
        assert here.down == {"andina"}
        task.cancel()
        await asyncio.wait([task])
        await away.close()
