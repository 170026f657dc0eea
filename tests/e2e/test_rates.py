"""How fast one gateway sends: what senders, tenants and campaigns have of a lane, and how a lane gives way to its operator."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.model import EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.record import max_per_second
from tests.support.arrivals import looking_closely, reaching, times
from tests.support.stage import PASSWORD, Stages, job, lane, people


@pytest.mark.parametrize("kind", ["sender", "tenant", "campaign"])
async def test_a_cap_is_kept_and_used_and_delays_nobody_else(stage: Stages, kind: str) -> None:
    """One has 60 parts/s of a lane of 400/s; what it has queued first does not stand in the way of the others."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=400, caps={kind: {"Capped": 60}})}) as site,
        site.worker(),
        looking_closely() as stalls,
    ):
        capped, others = people("capped", 150), people("others", 400, 5000)
        await site.publish(job("capped", capped.values(), **{kind: "Capped"}), job("others", others.values()))
        await site.until(lambda: account.counts.messages == len(capped) + len(others))
    ours, theirs = (times(account, set(group.values()).__contains__) for group in (capped, others))
    assert 0.9 * 60 <= max_per_second(ours) <= 15 + 60 * (1 + stalls.longest_s)
    assert max_per_second(ours[75:]) >= 0.75 * 60  # also when the burst is used up
    assert theirs[-1] < ours[-1]


async def test_an_operator_that_throttles_is_given_way_to(stage: Stages) -> None:
    """It stands half of the contract: few bounces, no attempt is counted, and all is accepted once."""
    account = Account("alpha", PASSWORD, Behaviour(throttle_above=100), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=200, throttle_pause_s=0.5)}) as site,
        site.worker(),
    ):
        sent = people("j", 400)
        await site.publish(job("j", sent.values()))
        await site.tally.until_ended(sent)
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: len(sent)}
        submitted = [one for one in site.tally.events.values() if one.status is EventStatus.SUBMITTED]
        assert {one.attempt for one in submitted} == {1}
    assert 0 < account.counts.refused["ESME_RTHROTTLED"] < 40
    assert account.counts.duplicates == 0


async def test_full_queues_of_single_phones_do_not_slow_down_the_lane(stage: Stages) -> None:
    """A few ESME_RMSGQFUL are about those phones: they have the message later, everybody else at the rate."""
    sent = people("j", 600)
    away = set(list(sent.values())[::20])
    status = int(CommandStatus.ESME_RMSGQFUL)
    account = Account("alpha", PASSWORD, Behaviour(rejected={to[1:]: status for to in away}), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=400)}) as site,
        site.worker() as worker,
    ):
        await site.publish(job("j", sent.values()))
        await site.until(lambda: len(account.record.arrivals) == len(sent))
        assert worker.lanes["alpha"].adaptive.rate(time.monotonic()) == 400
    assert account.counts.refused == {"ESME_RMSGQFUL": len(away)}


async def test_a_lane_begins_slowly_after_a_bind_if_it_is_told_to(stage: Stages) -> None:
    """A bind is lost and comes again: the rate climbs from a tenth for three seconds, and then it is all there."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=400, quiet_s=3, reconnect_max_s=0.1)}) as site,
        site.worker(),
    ):
        await site.publish(job("j", people("j", 9000).values()))
        moments = account.record.arrivals
        await site.until(reaching(account, 380))
        count = len(moments)
        smsc.drop_connections()
        dropped = asyncio.get_running_loop().time()
        await site.until(lambda: account.counts.total_binds == 2)
        await site.until(lambda: asyncio.get_running_loop().time() > dropped + 1)
        assert 0 < len(moments) - count < 200  # a quarter of the rate in the first second, if it came at once
        await site.until(reaching(account, 380, begin=count))
