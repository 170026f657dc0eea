"""Jobs are taken no faster than a lane carries them, if the configuration says so; else Kafka holds what waits, per lane."""

from __future__ import annotations

import asyncio

import pytest

from gateway.model import EventStatus
from smpp.simulator import Account, Simulator
from tests.support.stage import PASSWORD, Stages, job, lane, people


@pytest.mark.parametrize("lane_backlog", [0, 20])
async def test_no_job_is_taken_while_a_lane_is_too_far_behind(stage: Stages, lane_backlog: int) -> None:
    """It is taken when the lane has moved, and all of it is delivered."""
    account = Account("alpha", PASSWORD)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=0)}, intake={"lane_backlog": lane_backlog}) as site,
        site.worker() as worker,
    ):

        async def accepted(jobs: int) -> None:
            await site.until(lambda: site.tally.counts()[EventStatus.ACCEPTED] == jobs)

        await site.publish(job("a", people("a", 30).values()))
        await accepted(1)  # in a batch of its own: the embedded broker tells where the last one begins
        await site.publish(job("b", people("b", 30).values()))
        if lane_backlog:
            await site.until(lambda: worker.intake.held_by == "alpha")
            await asyncio.sleep(0.5)  # what is being fetched is taken
            taken = site.tally.counts()[EventStatus.ACCEPTED]  # the first job may have been enough
        else:
            await accepted(2)
        await site.publish(job("late", people("late", 5).values()))
        if lane_backlog:
            await asyncio.sleep(1)  # nothing announces what does not happen
            await accepted(taken)
        else:
            await accepted(3)
        site.change("alpha", rate=1000)
        worker.reload(site.configure())
        await site.tally.until_ended(people("late", 5))
        assert all(site.tally.end_of(each) is EventStatus.DELIVERED for each in people("late", 5))
