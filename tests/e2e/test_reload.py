"""SIGHUP: a changed file takes effect while messages flow, without dropping a bind; a bad one changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from smpp.simulator import Account, Behaviour, Simulator
from tests.support.arrivals import per_second, times
from tests.support.gateway_process import GatewayProcess
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people


class Site:
    """A gateway as a process, with two binds that were up when the test began."""

    def __init__(self, stage: Stage, gateway: GatewayProcess, account: Account) -> None:
        self.stage = stage
        self.gateway = gateway
        self.account = account
        self._reloads = 0

    @property
    def now(self) -> float:
        return self.account.record.arrivals[-1].at

    async def reload(self, **lane: Any) -> None:
        """Change keys of the lane, and wait until the gateway goes by them."""
        self.stage.change("alpha", **lane)
        self.stage.file()
        self.gateway.hang_up()
        self._reloads += 1
        await self.stage.until(lambda: self.gateway.log_text().count("reloaded") == self._reloads)

    async def flows(self, seconds: float) -> float:
        """Parts per second that arrive for so long from the next one on."""
        arrivals = self.account.record.arrivals
        count = len(arrivals)
        await self.stage.until(lambda: len(arrivals) > count)
        begin = arrivals[count].at
        await self.stage.until(lambda: self.now >= begin + seconds)
        return per_second(times(self.account), begin, begin + seconds)

    def still_bound(self) -> bool:
        """Whether the binds are the ones of the beginning."""
        return (self.account.counts.binds, self.account.counts.total_binds) == (2, 2)


@asynccontextmanager
async def running(stage: Stages, behaviour: Behaviour, **lane_: Any) -> AsyncIterator[Site]:
    account = Account("alpha", PASSWORD, behaviour, record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2, **lane_)}) as site,
        site.process() as gateway,
    ):
        await site.until(lambda: account.counts.binds == 2)
        yield Site(site, gateway, account)
        gateway.assert_clean_log()


FAST = Behaviour(receipt_ratio=0)


async def test_a_changed_rate_takes_effect_at_once(stage: Stages) -> None:
    """Up, to nothing, and down: each is the rate of the next second, no bind is dropped, nothing is lost or sent twice."""
    async with running(stage, FAST, rate=100) as site:
        sent = people("j", 1500)
        await site.stage.publish(job("j", sent.values()))
        assert 90 <= await site.flows(1) <= 110
        await site.reload(rate=400)
        assert 360 <= await site.flows(1) <= 440
        await site.reload(rate=0)
        paused = len(site.account.record.arrivals)
        await site.reload(rate=200)
        # What was on its way when the pause was applied, and what the new rate allows by now.
        assert len(site.account.record.arrivals) - paused <= 20
        assert 180 <= await site.flows(1) <= 220
        await site.reload(rate=5000, burst=250)
        await site.stage.until(lambda: site.account.counts.messages == len(sent))
        assert site.account.counts.duplicates == 0
        assert site.still_bound()


# What a file says of the lane now, each beside what the ones before have said, and what the log then names.
BAD: tuple[tuple[dict[str, Any], list[str]], ...] = (
    ({"rate": 5000, "host": "localhost"}, ["lanes.alpha.host"]),
    ({"sender": "89001"}, ["lanes.alpha.host", "lanes.alpha.sender"]),
    ({"rate": -1, "bends": 3}, ["lanes.alpha.rate", "lanes.alpha.bends"]),
)


async def test_a_bad_file_is_refused_with_every_reason(stage: Stages) -> None:
    """A change that needs a restart, a value that cannot be, no TOML at all: said, and everything goes on as it was."""
    async with running(stage, FAST, rate=200) as site:
        await site.stage.publish(job("j", people("j", 1500).values()))
        await site.flows(0.2)
        for changed, reasons in BAD:
            site.stage.change("alpha", **changed)
            site.stage.file()
            site.gateway.hang_up()
            await site.stage.until(
                lambda reasons=reasons: all(f"reload refused {one}: " in site.gateway.log_text() for one in reasons)
            )
        site.stage.file().write_text("[[[")
        site.gateway.hang_up()
        await site.stage.until(lambda: "reload refused syntax: " in site.gateway.log_text())
        assert 180 <= await site.flows(1) <= 220
        assert "reloaded" not in site.gateway.log_text()
        assert site.still_bound()


async def test_a_changed_window_holds_for_the_binds_that_are_up(stage: Stages) -> None:
    """An operator that takes 0.2 s to answer gets as many in that time as the windows have room for."""
    async with running(stage, Behaviour(latency_s=0.2, receipt_ratio=0), window=5) as site:
        await site.stage.publish(job("j", people("j", 2000).values()))
        assert await site.flows(1) <= 2 * 5 * 6
        await site.reload(window=40)
        await site.flows(0.2)
        assert 2 * 40 * 4 <= await site.flows(1) <= 2 * 40 * 6
        await site.reload(window=5)
        await site.flows(0.2)
        assert await site.flows(1) <= 2 * 5 * 6
        assert site.still_bound()


async def test_a_changed_cap_holds_for_what_comes_next(stage: Stages) -> None:
    """A tenant that has a tenth of the lane gets more, and the other tenants have never noticed."""
    async with running(stage, FAST, rate=400, caps={"tenant": {"small": 40}}) as site:
        small = people("small", 100)
        await site.stage.publish(
            job("small", small.values(), tenant="small"), job("large", people("large", 600, 5000).values(), tenant="large")
        )
        assert 360 <= await site.flows(1) <= 440
        assert per_second(times(site.account, set(small.values()).__contains__), site.now - 1, site.now) <= 45
        await site.stage.until(lambda: site.account.counts.accepted > 600)
        await site.reload(caps={"tenant": {"small": 400}})
        more = people("more", 100, 10_000)
        await site.stage.publish(job("more", more.values(), tenant="small"))
        there = set(more.values()).__contains__
        await site.stage.until(lambda: len(times(site.account, there)) == len(more))
        first, *_, last = times(site.account, there)
        assert last - first < 1
        assert site.still_bound()
