"""How fast one gateway sends: what senders, tenants and campaigns have of a lane, and how a lane gives way to its operator."""

from __future__ import annotations

import pytest

from gateway.model import EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.record import max_per_second
from tests.support.arrivals import looking_closely, per_second, times
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
        capped, others = people("capped", 120), people("others", 400, 5000)
        await site.publish(job("capped", capped.values(), **{kind: "Capped"}), job("others", others.values()))
        await site.until(lambda: account.counts.messages == len(capped) + len(others))
    theirs = times(account, set(others.values()).__contains__)
    ours = times(account, set(capped.values()).__contains__)
    assert max_per_second(ours) <= 15 + 60 * (1 + stalls.longest_s)
    assert theirs[-1] - theirs[0] < 1.8
    assert ours[-1] - ours[0] < 2.8


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
        site.worker(),
    ):
        await site.publish(job("j", sent.values()))
        await site.until(lambda: len(account.record.arrivals) == len(sent))
    moments = times(account)
    assert moments[-1] - moments[0] < 2.2
    assert account.counts.refused == {"ESME_RMSGQFUL": len(away)}


async def test_a_lane_begins_slowly_after_a_bind_if_it_is_told_to(stage: Stages) -> None:
    """After the first bind and after one that was lost: the rate climbs over two seconds, and then it is all there."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=400, quiet_s=2)}) as site,
    ):
        await site.publish(job("j", people("j", 2500).values()))
        async with site.worker():
            for lost in (False, True):
                if lost:
                    smsc.drop_connections()
                count = len(account.record.arrivals)
                await site.until(lambda count=count: len(account.record.arrivals) > count)
                begin = account.record.arrivals[count].at
                await site.until(lambda begin=begin: account.record.arrivals[-1].at > begin + 2.5)
                moments = times(account)
                assert per_second(moments, begin, begin + 0.5) < 150
                assert per_second(moments, begin, begin + 1) < 200
                assert per_second(moments, begin + 2, begin + 2.5) > 370
