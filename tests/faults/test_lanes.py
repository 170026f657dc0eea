"""Lanes that do not move, beside one that does."""

from __future__ import annotations

from gateway.embedded import free_port
from gateway.model import EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.stage import PASSWORD, Stages, job, lane, people

STUCK = {
    "window-full": Behaviour(latency_s=600),
    "throttled": Behaviour(errors={int(CommandStatus.ESME_RTHROTTLED): 1.0}),
    "binds-refused": Behaviour(bind_status=int(CommandStatus.ESME_RINVPASWD)),
}


async def test_a_lane_that_does_not_move_does_not_hold_up_another(stage: Stages) -> None:
    """Four lanes are stuck, each with far more than the worker may buffer, and the fifth carries everything it has."""
    accounts = [Account(name, PASSWORD, behaviour) for name, behaviour in STUCK.items()]
    moving = Account("moving", PASSWORD)
    async with Simulator([*accounts, moving]) as smsc:
        lanes = {name: lane(smsc.port, system_id=name, drain_s=0.1) for name in (*STUCK, "moving")}
        lanes["down"] = lane(free_port())
        async with (
            stage(
                lanes=lanes,
                routes=[{"lane": name, "tenant": name} for name in lanes],
                limits={"batch_messages": 100, "buffered_messages": 500},
            ) as site,
            site.worker(),
        ):
            waiting = {name: people(name, 3000) for name in lanes if name != "moving"}
            for name, recipients in waiting.items():
                await site.publish(job(name, recipients.values(), tenant=name))
            await site.tally.until(lambda: site.tally.counts()[EventStatus.ACCEPTED] == len(waiting))
            sent = people("moving", 5000)
            await site.publish(job("moving", sent.values(), tenant="moving"))
            await site.tally.until_ended(sent)
            assert site.tally.ends(sent) == {EventStatus.DELIVERED: len(sent)}
            assert not any(site.tally.statuses[each] for recipients in waiting.values() for each in recipients)
