"""One account shared by three processes: together they keep its rate and use it, whatever happens to them and to the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

from gateway.embedded import free_port
from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.record import max_per_second
from tests.support.arrivals import Stalls, looking_closely, reaching, times
from tests.support.gateway_process import GatewayProcess
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people
from tests.support.store import start_store

RATE = 500
BURST = 100
"""Of 0.2 s: who is not let run for so long, on a machine that has more to do, wastes none of the rate."""
BINDS = 6
NAMES = "abc"
USED = 0.98
"""Of the rate, at least, while there is more to send than it allows."""
STEADY_S = 3
"""For so long at a stretch after something has happened."""
CALM_S = 10
"""And where nothing does: what a burst could add is a fiftieth of it."""


class Site:
    """Three processes, each with two of the binds of one account, and somebody who counts what arrives."""

    def __init__(self, stage: Stage, account: Account, stalls: Stalls, gateways: list[GatewayProcess]) -> None:
        self.stage = stage
        self.account = account
        self.gateways = gateways
        self._stalls = stalls

    async def send(self, seconds: float) -> None:
        """Publish what takes so long at the rate: a fifth of the messages have two parts."""
        count = int(RATE * seconds / 6)
        short, long = people("short", 4 * count), people("long", count, 5_000_000)
        await self.stage.publish(job("short", short.values()), job("long", long.values(), "x" * 200))

    async def after(self, parts: int) -> None:
        """Wait until so many have arrived."""
        await self.stage.until(lambda: len(self.account.record.arrivals) >= parts)

    async def spread(self, gateways: Iterable[GatewayProcess]) -> None:
        """Wait until each of these owns two slots, and all binds are up."""
        each = list(gateways)
        await self.stage.until(lambda: all(last_owned(gateway) == "owned=2" for gateway in each))
        await self.stage.until(lambda: self.account.counts.binds == BINDS)

    def is_kept(self) -> None:
        """Assert that in no second more arrived than rate and burst allow.

        What was written while nobody looked seems to come at once when he looks again: so much more is no fault of theirs.
        """
        assert max_per_second(times(self.account)) <= BURST + RATE * (1 + self._stalls.longest_s)

    async def is_used(self, steady_s: float = STEADY_S) -> None:
        """Wait until nothing of the rate has been wasted for a while."""
        begin = len(self.account.record.arrivals)
        await self.stage.until(reaching(self.account, USED * RATE * steady_s, steady_s, begin=begin))


@asynccontextmanager
async def three(stage: Stages, module: str = "gateway.cli", **other: str) -> AsyncIterator[Site]:
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.01, receipt_ratio=0), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=RATE, burst=BURST, binds=BINDS)}, **other) as here,
        AsyncExitStack() as running,
        looking_closely() as stalls,
    ):
        gateways = [await running.enter_async_context(here.process(name, module=module)) for name in NAMES]
        site = Site(here, account, stalls, gateways)
        await site.spread(gateways)
        yield site
        for gateway in gateways:
            gateway.assert_clean_log()


def last_owned(gateway: GatewayProcess) -> str:
    """What the last assignment has given it, as it says itself."""
    return gateway.log_text().rpartition("slots ")[2].partition(" ")[0]


async def test_three_processes_keep_one_rate_and_use_it(stage: Stages) -> None:
    """500 parts/s, a fifth of the messages long: no second has more than rate and burst, and the average is 98 % at least."""
    async with three(stage) as site:
        await site.send(30)
        await site.after(RATE)
        await site.is_used(CALM_S)
        site.is_kept()


async def test_the_rate_is_kept_while_one_is_killed_and_another_joins(stage: Stages) -> None:
    """kill -9, and a fourth process: never too much, and when its shares have lapsed the others use all of the rate."""
    async with three(stage) as site:
        await site.send(30)
        await site.after(RATE)
        *others, killed = site.gateways
        killed.kill()
        async with site.stage.process("d") as joined:
            await site.spread([*others, joined])
            await site.is_used()
            site.is_kept()
            joined.assert_clean_log()


async def test_the_rate_is_kept_while_the_store_restarts_empty(stage: Stages) -> None:
    """All shares are forgotten under way: what each says that it has is believed, and nobody gets more than that."""
    port = free_port()
    first = start_store(port=port)
    url = await first.__aenter__()
    async with three(stage, store_url=url) as site:
        await site.send(30)
        await site.after(RATE)
        await first.__aexit__(None, None, None)
        async with start_store(port=port):
            await site.is_used()
            site.is_kept()


async def test_the_rate_is_kept_while_a_clock_steps_back_an_hour(stage: Stages) -> None:
    """First that of one process, then those of the others: nobody's tokens hang on what a wall clock shows."""
    async with three(stage, module="tests.support.stepping") as site:
        await site.send(30)
        await site.after(RATE)
        for gateway in site.gateways:
            gateway.step_clock()
            await site.after(len(site.account.record.arrivals) + RATE // 2)
        await site.is_used()
        site.is_kept()
        an_hour_ago = datetime.now(UTC) - timedelta(minutes=50)
        await site.stage.tally.until(lambda: any(one.time < an_hour_ago for one in site.stage.tally.events.values()))
