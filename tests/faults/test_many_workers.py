"""`recado run --workers N` under kills: slots are spread and move, binds stay within the contract, and the account closes."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support import stage as staging
from tests.support.closing import closes
from tests.support.gateway_process import GatewayProcess
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people

WINDOW = 50
BINDS = 4
MOVES_WITHIN_S = staging.SESSION_TIMEOUT_S + 5


class Site:
    """Workers of one command over one account with four binds."""

    def __init__(self, stage: Stage, gateway: GatewayProcess, account: Account) -> None:
        self.stage = stage
        self.gateway = gateway
        self.account = account

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.gateway.pid).children()

    def binds_of(self, worker: psutil.Process) -> int:
        """How many connections a worker has to the operator."""
        port = self.stage.config.lanes["alpha"].port
        try:
            return sum(one.raddr[1:] == (port,) for one in worker.net_connections("tcp") if one.status == "ESTABLISHED")
        except psutil.NoSuchProcess:
            return 0

    def spread(self) -> list[int]:
        """How many binds each worker holds."""
        return sorted(self.binds_of(worker) for worker in self.workers())

    async def bound(self) -> None:
        """Wait until all binds are up, which has to be before a session timeout and five seconds are over."""
        await self.stage.until(lambda: self.account.counts.binds == BINDS, MOVES_WITHIN_S)


@asynccontextmanager
async def running(stage: Stages, workers: int, behaviour: Behaviour, **other: float) -> AsyncIterator[Site]:
    account = Account("alpha", PASSWORD, behaviour)
    async with (
        Simulator([account], deliver_timeout=2) as smsc,
        stage(
            lanes={"alpha": lane(smsc.port, binds=BINDS, window=WINDOW, **other)}, receipts={"early_limit_s": 8}
        ) as here,
        here.process("a", "--workers", str(workers)) as gateway,
    ):
        site = Site(here, gateway, account)
        await here.until(lambda: account.counts.binds == BINDS)
        yield site
        gateway.assert_clean_log()


async def test_slots_are_spread_and_move_and_there_are_never_more_binds_than_the_contract_has(stage: Stages) -> None:
    """Two and two; one worker is killed: the other has all four in time, and gives two back to the one that comes again."""
    async with running(stage, 2, Behaviour(latency_s=0.02, receipt_delay_s=0.1), rate=500) as site:
        await site.stage.until(lambda: site.spread() == [2, 2])
        sent = people("j", 3000)
        await site.stage.publish(job("j", sent.values()))
        await site.stage.until(lambda: site.account.counts.accepted > 200)
        site.workers()[0].kill()
        await site.stage.until(lambda: site.account.counts.binds < BINDS)
        await site.bound()
        await site.stage.until(lambda: site.spread() == [2, 2])
        assert await closes(site.stage, site.account, sent) <= 2 * WINDOW
        assert site.account.counts.max_binds == BINDS


async def test_binds_stay_within_the_contract_while_slots_move_that_cannot_be_drained(stage: Stages) -> None:
    """An operator takes longer to answer than the drain: nobody binds a slot before its last owner has left it."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=5, receipt_ratio=0))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=BINDS, window=WINDOW, drain_s=1)}) as site,
        site.worker("a") as a,
    ):
        await site.publish(job("j", people("j", 1000).values()))
        await site.until(lambda: account.counts.accepted == BINDS * WINDOW)
        async with site.worker("b") as b:
            await site.until(lambda: len(a.slots.slots) == len(b.slots.slots) == 2)
            await site.until(lambda: all(slot.port.bound for slot in b.slots.slots.values()))
    assert account.counts.max_binds == BINDS


class Load:
    """Publishes a job twice a second, every fifth of passwords, and remembers when, and what."""

    def __init__(self, site: Stage, per_second: int) -> None:
        self.bulk: dict[str, str] = {}
        self.otp: dict[str, str] = {}
        self.published: dict[str, float] = {}
        """When each message was, in Unix seconds."""
        self._site = site
        self._size = per_second // 2

    async def run(self, seconds: int) -> None:
        for number in range(2 * seconds):
            urgent = number % 5 == 0
            recipients = people(f"j{number}", self._size, number * self._size)
            (self.otp if urgent else self.bulk).update(recipients)
            self.published |= dict.fromkeys(recipients, time.time())
            await self._site.publish(job(f"j{number}", recipients.values(), **{"class": "otp" if urgent else "bulk"}))
            await asyncio.sleep(0.5)


async def killing(site: Site, load: Load, seconds: int, pause_s: float) -> list[float]:
    """Kill one worker after each pause while the load lasts, check the account, and return when they were killed."""
    dice = random.Random(11)
    kills: list[float] = []
    publishing = asyncio.create_task(load.run(seconds), name="load")
    while True:
        await asyncio.wait([publishing], timeout=pause_s)
        if publishing.done():
            break
        dice.choice(site.workers()).kill()
        kills.append(time.time())
    await closes(site.stage, site.account, load.bulk, patience_s=60)
    assert await closes(site.stage, site.account, load.otp, repeated=len(kills) * BINDS * WINDOW) == 0
    assert site.account.counts.max_binds == BINDS
    return kills


BRISK = Behaviour(latency_s=0.01, latency_jitter_s=0.02, receipt_delay_s=0.1)


async def test_workers_are_killed_all_the_time_and_the_account_closes(stage: Stages) -> None:
    """kill -9 of one of three every few seconds: nothing is lost, and only what was in doubt and asks for it goes twice."""
    async with running(stage, 3, BRISK, rate=4000) as site:
        assert len(await killing(site, Load(site.stage, 1000), 8, 2.5)) >= 3


@pytest.mark.skipif(not os.environ.get("RECADO_TEST_LONG"), reason="two minutes: RECADO_TEST_LONG=1")
@pytest.mark.timeout(400)
async def test_two_minutes_of_kills(stage: Stages) -> None:
    """2,000 msg/s and a kill every 10 s: the account closes, and before each kill the last one is forgotten."""
    async with running(stage, 3, BRISK, rate=6000) as site:
        load = Load(site.stage, 2000)
        kills = await killing(site, load, 120, 10)
        submitted = {
            event.message_id: event.time.timestamp()
            for event in site.stage.tally.events.values()
            if event.status is EventStatus.SUBMITTED
        }
        for kill in kills:
            before = [each for each, at in load.published.items() if kill - 2 <= at < kill - 1]
            took = sorted(submitted[each] - load.published[each] for each in before if each in submitted)
            assert took[len(took) * 99 // 100] < 1
