"""SIGHUP: a changed file takes effect while messages flow, without dropping a bind; a bad one changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.record import max_per_second
from tests.support.arrivals import Stalls, looking_closely, reaching, times
from tests.support.gateway_process import GatewayProcess
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people


class Site:
    """A gateway as a process, with two binds that were up when the test began."""

    def __init__(self, stage: Stage, gateway: GatewayProcess, account: Account, stalls: Stalls) -> None:
        self.stage = stage
        self.gateway = gateway
        self.account = account
        self._stalls = stalls
        self._reloads = 0

    async def reload(self, **lane: Any) -> None:
        """Change keys of the lane, and wait until the gateway goes by them."""
        self.stage.change("alpha", **lane)
        self.stage.file()
        self.gateway.hang_up()
        self._reloads += 1
        await self.stage.until(lambda: self.gateway.log_text().count("reloaded") == self._reloads)

    async def settles_at(self, rate: float) -> None:
        """Wait until so many parts per second arrive, and see that there were never more since the call."""
        begin = len(self.account.record.arrivals)
        await self.stage.until(reaching(self.account, 0.9 * rate, begin=begin))
        assert max_per_second(times(self.account)[begin:]) <= 1.1 * rate * (1 + self._stalls.longest_s)

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
        looking_closely() as stalls,
    ):
        await site.until(lambda: account.counts.binds == 2)
        yield Site(site, gateway, account, stalls)
        gateway.assert_clean_log()


FAST = Behaviour(receipt_ratio=0)


async def test_a_changed_rate_takes_effect_at_once(stage: Stages) -> None:
    """Up, to nothing, and down: no second has more than the rate of its time, no bind is dropped, nothing is sent twice."""
    async with running(stage, FAST, rate=100) as site:
        sent = people("j", 8000)
        await site.stage.publish(job("j", sent.values()))
        await site.settles_at(100)
        await site.reload(rate=400)
        await site.settles_at(400)
        await site.reload(rate=0)
        paused = len(site.account.record.arrivals)
        await site.reload(rate=200)
        # What was on its way when the pause was applied, and what the new rate allows by now.
        assert len(site.account.record.arrivals) - paused <= 20
        await site.settles_at(200)
        await site.reload(rate=100_000, burst=5000)
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
        await site.stage.publish(job("j", people("j", 8000).values()))
        await site.settles_at(200)
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
        await site.settles_at(200)
        assert "reloaded" not in site.gateway.log_text()
        assert site.still_bound()


async def test_a_changed_window_holds_for_the_binds_that_are_up(stage: Stages) -> None:
    """An operator that takes 0.2 s to answer gets as many in that time as the windows have room for, and not more."""
    async with running(stage, Behaviour(latency_s=0.2, receipt_ratio=0), window=5) as site:
        await site.stage.publish(job("j", people("j", 8000).values()))
        arrivals = site.account.record.arrivals

        def unanswered() -> int:
            last = arrivals[-1].at if arrivals else 0
            return sum(last - one.at < 0.19 for one in arrivals[-100:])

        for window in (5, 40, 5):
            await site.reload(window=window)
            # The windows of before have been answered when as many as both hold have come.
            count = len(arrivals) + 2 * (5 + 40)
            await site.stage.until(lambda count=count: len(arrivals) > count)
            await site.stage.until(lambda window=window: unanswered() >= 2 * window * 0.9)
            assert unanswered() <= 2 * window
        assert site.still_bound()


async def test_a_changed_cap_holds_for_what_comes_next(stage: Stages) -> None:
    """A tenant had a tenth of the lane and gets all of it; what others have queued goes past what has to wait."""
    async with running(stage, FAST, rate=400, caps={"tenant": {"small": 40}}) as site:
        small, large = people("small", 100), people("large", 600, 5000)
        await site.stage.publish(
            job("small", small.values(), tenant="small"), job("large", large.values(), tenant="large")
        )
        await site.stage.until(lambda: site.account.counts.messages == len(small) + len(large))
        before = times(site.account, set(small.values()).__contains__)
        assert max_per_second(before) <= 50
        assert before[-1] > times(site.account, set(large.values()).__contains__)[-1]
        await site.reload(caps={"tenant": {"small": 400}})
        more = people("more", 400, 10_000)
        await site.stage.publish(job("more", more.values(), tenant="small"))
        await site.stage.until(reaching(site.account, 90, begin=len(small) + len(large)))
        assert site.still_bound()
