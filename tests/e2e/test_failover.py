"""Several lanes for one message: which it takes, what moves to another one, and that none has two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app import Worker
from gateway.model import EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import closes, copies
from tests.support.stage import PASSWORD, Stage, Stages, Table, job, lane, people

ANA = "+573001234567"
LUIS = "+573017654321"
RANKED = ({"lanes": ["alpha", "beta"]},)


class Site:
    """Two operators, a lane to each, and one worker."""

    def __init__(self, stage: Stage, worker: Worker, operators: Mapping[str, Simulator]) -> None:
        self.stage = stage
        self.worker = worker
        self.operators = operators
        self.accounts = [simulator.accounts[name] for name, simulator in operators.items()]
        self.alpha, self.beta = self.accounts

    async def lose(self, name: str) -> None:
        """Have an operator hang up, and refuse connections; its lane has little patience from here on, and not before."""
        self.stage.change(name, down_after_s=0.5)
        self.worker.reload(self.stage.configure())
        await self.operators[name].refuse()
        self.operators[name].drop_connections()

    async def until_down(self, *names: str) -> None:
        await self.stage.until(lambda: set(self.worker.failover.down) == set(names))

    def carried(self, sent: Mapping[str, str]) -> dict[str, int]:
        """How many messages of `sent` each operator has accepted."""
        return {account.system_id: copies(account, sent).total() for account in self.accounts}


@asynccontextmanager
async def two(
    stage: Stages, *routes: Table, behaviour: Behaviour | None = None, alpha: Table | None = None, **other: Any
) -> AsyncIterator[Site]:
    """Lanes `alpha` and `beta`, with `other`; `behaviour` is how the operator of the first begins, `alpha` what differs there."""
    quick = {"up_after_s": 0.5, **other}
    accounts = [Account("alpha", PASSWORD, behaviour), Account("beta", PASSWORD)]
    async with Simulator(accounts[:1]) as one, Simulator(accounts[1:]) as two:
        lanes = {
            "alpha": lane(one.port, **{**quick, **(alpha or {})}),
            "beta": lane(two.port, system_id="beta", **quick),
        }
        async with stage(lanes=lanes, routes=routes or RANKED) as here, here.worker() as worker:
            await here.until(lambda: all(account.counts.binds for account in accounts))
            yield Site(here, worker, {"alpha": one, "beta": two})


async def test_what_is_queued_on_a_lane_that_is_down_moves_and_comes_back_when_it_is_up(stage: Stages) -> None:
    """3,000 on their way when the operator goes: all get there, none twice; after it is back it has the next ones again."""
    async with two(stage, rate=1500, window=20) as site:
        sent = people("j", 3000)
        await site.stage.publish(job("j", sent.values()))
        await site.stage.until(lambda: site.alpha.counts.accepted > 500)
        await site.lose("alpha")
        assert await closes(site.stage, site.accounts, sent) <= 20  # the window that nobody answered
        carried = site.carried(sent)
        assert carried["alpha"] < 1500
        assert carried["beta"] > 1500
        lanes = {message_id: site.stage.tally.of(message_id)[-1].lane for message_id in copies(site.beta, sent)}
        assert set(lanes.values()) == {"beta"}

        meanwhile = people("meanwhile", 100, 5000)
        await site.stage.publish(job("meanwhile", meanwhile.values()))
        assert await closes(site.stage, site.accounts, meanwhile) == 0
        assert site.carried(meanwhile) == {"alpha": 0, "beta": 100}

        await site.operators["alpha"].listen()
        await site.until_down()
        after = people("after", 100, 6000)
        await site.stage.publish(job("after", after.values()))
        assert await closes(site.stage, site.accounts, after) == 0
        assert site.carried(after) == {"alpha": 100, "beta": 0}


async def test_a_message_that_one_operator_does_not_want_goes_to_the_next(stage: Stages) -> None:
    """ESME_RINVDSTADR is about one person: that message moves, the others stay; where there is no next lane it has failed."""
    refusing = Behaviour(rejected={ANA[1:]: int(CommandStatus.ESME_RINVDSTADR)})
    async with two(stage, {"lane": "alpha", "tenant": "alone"}, *RANKED, behaviour=refusing) as site:
        others = people("others", 50)
        await site.stage.publish(
            job("j", [ANA, *others.values()]),
            job("alone", [ANA], tenant="alone"),
        )
        ids = [f"j:{n}" for n in range(51)]
        await site.stage.tally.until_ended([*ids, "alone:0"])
        assert site.stage.tally.ends(ids) == {EventStatus.DELIVERED: 51}
        submitted, _ = site.stage.tally.of("j:0")
        assert (submitted.lane, submitted.attempt) == ("beta", 2)
        [failed] = site.stage.tally.of("alone:0")
        assert (failed.status, failed.lane, failed.error_code) == (EventStatus.FAILED, "alpha", "ESME_RINVDSTADR")
        assert (site.alpha.counts.accepted, site.beta.counts.accepted) == (50, 1)


async def test_each_lane_is_asked_once(stage: Stages) -> None:
    """A message that no operator wants does not go round in circles."""
    refusing = Behaviour(rejected={ANA[1:]: int(CommandStatus.ESME_RINVDSTADR)})
    async with two(stage, behaviour=refusing) as site:
        site.beta.behaviour = refusing
        await site.stage.publish(job("j", [ANA]))
        await site.stage.tally.until_ended(["j:0"])
        [failed] = site.stage.tally.of("j:0")
        assert (failed.status, failed.lane, failed.attempt) == (EventStatus.FAILED, "beta", 2)
        assert [account.counts.refused for account in site.accounts] == 2 * [{"ESME_RINVDSTADR": 1}]


async def test_weights_divide_people_among_lanes_and_a_person_keeps_to_one(stage: Stages) -> None:
    """Three to one; a second message to the same people takes the same lanes."""
    async with two(stage, {"lanes": [{"alpha": 3, "beta": 1}]}) as site:
        first = people("first", 1000)
        await site.stage.publish(job("first", first.values()), job("second", first.values(), "Chao"))
        await site.stage.until(lambda: sum(account.counts.accepted for account in site.accounts) == 2000)
        assert site.carried(first) == pytest.approx({"alpha": 750, "beta": 250}, rel=0.15)
        for account in site.accounts:
            assert copies(account, first, "Hola") == copies(account, first, "Chao")


async def test_a_lane_that_is_stopped_gives_its_messages_away_until_somebody_has_looked(stage: Stages) -> None:
    """ESME_RINVSYSID: nothing more is sent there, not even what was refused; a reload lets it go on."""
    closed = Behaviour(errors={int(CommandStatus.ESME_RINVSYSID): 1.0})
    async with two(stage, behaviour=closed, window=10) as site:
        sent = people("j", 500)
        await site.stage.publish(job("j", sent.values()))
        assert await closes(site.stage, site.accounts, sent) == 0
        assert site.carried(sent) == {"alpha": 0, "beta": 500}
        assert site.alpha.counts.refused["ESME_RINVSYSID"] <= 10  # what was in the window
        assert "alpha" in site.worker.failover.down

        site.alpha.behaviour = Behaviour()
        site.worker.reload(site.stage.configure())
        await site.until_down()
        after = people("after", 100, 1000)
        await site.stage.publish(job("after", after.values()))
        assert await closes(site.stage, site.accounts, after) == 0
        assert site.carried(after) == {"alpha": 100, "beta": 0}


async def test_what_the_first_lane_may_have_accepted_is_nobody_elses(stage: Stages) -> None:
    """Passwords in doubt wait for their own operator and are sent again there; what was never written there moves."""
    silent = Behaviour(latency_s=600)
    async with two(stage, behaviour=silent, alpha={"window": 10}) as site:
        sent = people("otp", 100)
        await site.stage.publish(job("otp", sent.values(), **{"class": "otp"}))
        await site.stage.until(lambda: site.alpha.counts.accepted == 10)
        await site.lose("alpha")
        await site.stage.until(lambda: site.beta.counts.accepted == 90)
        in_doubt = copies(site.alpha, sent)
        assert not in_doubt.keys() & copies(site.beta, sent).keys()
        site.alpha.behaviour = Behaviour()
        await site.operators["alpha"].listen()
        assert await closes(site.stage, site.accounts, sent, repeated=10) == 0
        assert copies(site.alpha, sent).keys() == in_doubt.keys()


async def test_what_has_no_other_lane_does_not_hold_up_what_has(stage: Stages) -> None:
    """A few hundred that only the lost operator may carry are queued before a few hundred that another may have, too."""
    async with two(stage, {"lane": "alpha", "tenant": "alone"}, *RANKED, window=10) as site:
        await site.lose("alpha")
        alone, ranked = people("alone", 300), people("ranked", 300, 1000)
        await site.stage.publish(job("alone", alone.values(), tenant="alone"), job("ranked", ranked.values()))
        await site.stage.tally.until_ended(ranked)
        assert site.carried(ranked) == {"alpha": 0, "beta": 300}
        assert site.carried(alone) == {"alpha": 0, "beta": 0}
