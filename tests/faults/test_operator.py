"""Operators that hang up, say nothing, refuse and talk nonsense, all under load."""

from __future__ import annotations

from gateway.model import EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import GARBAGE, Account, Behaviour, Simulator
from tests.support.closing import closes, copies
from tests.support.stage import PASSWORD, Stages, job, lane, people

PATIENCE = {"early_limit_s": 3}


async def test_an_operator_that_hangs_up_in_mid_window(stage: Stages) -> None:
    """Each connection is cut at its 100th message, ten of them unanswered: reported ones go once, the others arrive."""
    cuts = Behaviour(disconnect_after=100, disconnect_unanswered=10)
    account = Account("alpha", PASSWORD, cuts)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, window=20, reconnect_max_s=0.1)}, receipts=PATIENCE) as site,
        site.worker() as worker,
    ):
        bulk, otp = people("bulk", 1000), people("otp", 500, 5000)
        await site.publish(job("bulk", bulk.values()), job("otp", otp.values(), **{"class": "otp"}))
        await site.until(lambda: account.counts.total_binds > 10)
        account.behaviour = Behaviour()
        await closes(site, account, bulk)
        assert await closes(site, account, otp, repeated=20 * account.counts.total_binds) == 0
        assert worker.inbox.nonsense == 0


async def test_an_operator_that_sends_unbind(stage: Stages) -> None:
    """What is under way is answered before we leave: nothing is unknown, nothing goes twice, and we come back."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.05))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2)}) as site,
        site.worker(),
    ):
        sent = people("j", 6000)
        await site.publish(job("j", sent.values()))
        for threshold in (1000, 2000, 3000):
            await site.until(lambda threshold=threshold: account.counts.accepted > threshold)
            smsc.send_unbind("alpha")
        assert await closes(site, account, sent) == 0
        assert site.tally.counts()[EventStatus.UNKNOWN] == 0
        assert account.counts.total_binds >= 2 + 2 * 3


async def test_an_operator_that_stops_answering(stage: Stages) -> None:
    """A blackhole: the window is unknown after the response timeout, and only as much as was accepted stays so."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.02))
    async with (
        Simulator([account], deliver_timeout=1) as smsc,
        stage(lanes={"alpha": lane(smsc.port, response_timeout_s=1, window=50)}, receipts=PATIENCE) as site,
        site.worker(),
    ):
        sent = people("j", 3000)
        await site.publish(job("j", sent.values()))
        await site.until(lambda: account.counts.accepted > 1000)
        account.behaviour = Behaviour(blackhole=True)
        await site.tally.until(lambda: site.tally.counts()[EventStatus.UNKNOWN] >= 50)
        account.behaviour = Behaviour()
        assert await closes(site, account, sent) == 0


async def test_an_operator_that_never_answers_the_bind(stage: Stages) -> None:
    """The attempt is given up after its timeout, again and again, and nothing is sent until a bind is answered."""
    account = Account("alpha", PASSWORD, Behaviour(bind_answered=False))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, bind_timeout_s=0.2)}) as site,
        site.worker() as worker,
    ):
        sent = people("j", 500)
        await site.publish(job("j", sent.values()))
        await site.until(lambda: bool(worker.slots.slots))
        [slot] = worker.slots.slots.values()
        await site.until(lambda: "bind not answered" in slot.port.down_reason)
        account.behaviour = Behaviour()
        assert await closes(site, account, sent) == 0
        assert site.tally.counts()[EventStatus.UNKNOWN] == 0


async def test_an_operator_that_refuses_the_bind(stage: Stages) -> None:
    """We say why, come again after a while, and then everything goes."""
    refusals = {
        "credentials": CommandStatus.ESME_RINVPASWD,
        "already_bound": CommandStatus.ESME_RALYBND,
        "rejected": CommandStatus.ESME_RSYSERR,
    }
    accounts = {kind: Account(kind, PASSWORD, Behaviour(bind_status=status)) for kind, status in refusals.items()}
    async with Simulator(accounts.values()) as smsc:
        lanes = {kind.replace("_", "-"): lane(smsc.port, system_id=kind) for kind in refusals}
        routes = [{"lane": name, "tenant": name} for name in lanes]
        async with stage(lanes=lanes, routes=routes) as site, site.worker() as worker:
            sent = {kind: people(kind, 100) for kind in refusals}
            for kind, recipients in sent.items():
                await site.publish(job(kind, recipients.values(), tenant=kind.replace("_", "-")))
            await site.until(lambda: all(account.counts.refused_binds >= 3 for account in accounts.values()))
            assert set(worker.problems()) == {
                f"lane {kind.replace('_', '-')} slot 0: {kind}: {status.name}" for kind, status in refusals.items()
            }
            for kind, account in accounts.items():
                account.behaviour = Behaviour()
                assert await closes(site, account, sent[kind]) == 0
            assert worker.problems() == []


async def test_an_operator_that_talks_nonsense(stage: Stages) -> None:
    """Truncated, oversize and random PDUs, one every 300 messages: counted, at worst a new connection, and no copy."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.01))
    async with (
        Simulator([account], deliver_timeout=1) as smsc,
        stage(lanes={"alpha": lane(smsc.port, window=50, reconnect_max_s=0.1)}, receipts=PATIENCE) as site,
        site.worker() as worker,
    ):
        sent = people("j", 300 * (len(GARBAGE) + 2))
        await site.publish(job("j", sent.values()))
        for number, garbage in enumerate(GARBAGE.values(), 1):
            await site.until(lambda number=number: account.counts.accepted > 300 * number)
            await site.until(lambda: account.counts.binds == 1)
            smsc.send_raw(garbage, "alpha")
        await closes(site, account, sent)
        assert copies(account, sent).total() > 300 * len(GARBAGE)
        assert worker.inbox.nonsense >= 3
