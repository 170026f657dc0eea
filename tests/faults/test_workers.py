"""`recado run --workers`: several processes that start, carry, are started again and stop as one, and leave none behind."""

from __future__ import annotations

import psutil

from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import closes
from tests.support.gateway_process import GatewayProcess
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people


def workers(gateway: GatewayProcess) -> list[psutil.Process]:
    return psutil.Process(gateway.pid).children()


async def send(site: Stage, job_id: str, start: int) -> dict[str, str]:
    sent = people(job_id, 1000, start)
    await site.publish(job(job_id, sent.values()))
    return sent


async def test_a_worker_that_is_killed_comes_back_and_all_stop_as_one(stage: Stages) -> None:
    """Messages flow before, meanwhile and after; then SIGTERM: exit code 0, all unbound, no process left."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.01, receipt_delay_s=0.1))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2)}) as site,
        site.process("a", "--workers", "2") as gateway,
    ):
        await site.until(lambda: account.counts.binds == 2)
        sent = await send(site, "first", 0)
        await site.until(lambda: account.counts.accepted > 300)
        first, second = workers(gateway)
        second.kill()
        sent |= await send(site, "second", 1000)
        await site.until(lambda: len(workers(gateway)) == 2 and not second.is_running())
        await site.until(lambda: account.counts.binds == 2)
        sent |= await send(site, "third", 2000)
        assert await closes(site, account, sent) <= 100  # a window
        assert first in workers(gateway)
        last = workers(gateway)
        gateway.terminate()
        assert await gateway.wait() == 0
        assert account.counts.binds == 0
        assert not any(process.is_running() for process in last)
        gateway.assert_clean_log()


async def test_a_worker_that_was_drained_leaves_its_slots_to_the_others_until_a_reload(stage: Stages) -> None:
    """SIGTERM to it alone, as `POST /drain` does it: nobody starts it again unasked, and nothing waits for it."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.01, receipt_delay_s=0.1))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2)}) as site,
        site.process("a", "--workers", "2") as gateway,
    ):
        await site.until(lambda: gateway.log_text().count("running lanes") == 2)
        first, second = workers(gateway)
        second.terminate()
        await site.until(lambda: "was drained, stays down until a reload" in gateway.log_text())
        await site.until(lambda: account.counts.binds == 2)
        sent = await send(site, "one", 0)
        await site.tally.until_ended(sent)
        assert workers(gateway) == [first]
        gateway.hang_up()
        await site.until(lambda: len(workers(gateway)) == 2)
        sent |= await send(site, "two", 1000)
        assert await closes(site, account, sent) == 0
        gateway.terminate()
        assert await gateway.wait() == 0
        gateway.assert_clean_log()


async def test_workers_whose_parent_is_killed_drain_and_end(stage: Stages) -> None:
    """However the parent went, nobody is left; what was accepted has been told."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.05, receipt_delay_s=0.1))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2, rate=1000)}) as site,
        site.process("a", "--workers", "2") as gateway,
    ):
        sent = await send(site, "j", 0)
        await site.until(lambda: account.counts.binds == 2 and account.counts.accepted > 200)
        left = workers(gateway)
        gateway.kill()
        await site.until(lambda: not any(process.is_running() for process in left))
        assert account.counts.binds == 0
        assert account.counts.unbinds == account.counts.total_binds
        submitted = account.counts.accepted
        await site.tally.until(lambda: site.tally.counts()[EventStatus.SUBMITTED] == submitted)
        gateway.start()
        assert await closes(site, account, sent) == 0
        gateway.assert_clean_log()


async def test_a_second_signal_kills_the_workers(stage: Stages) -> None:
    """An operator that never answers would hold up the drain; who asks twice does not wait for it. Exit code 1."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=600))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, drain_s=600, binds=2)}) as site,
        site.process("a", "--workers", "2") as gateway,
    ):
        await site.publish(job("j", people("j", 10).values()))
        await site.until(lambda: account.counts.accepted == 10)
        left = workers(gateway)
        gateway.terminate()
        await site.until(lambda: "stopping: every worker" in gateway.log_text())
        gateway.terminate()
        assert await gateway.wait() == 1
        assert not any(process.is_running() for process in left)


async def test_a_changed_configuration_that_is_bad_reaches_no_worker(stage: Stages) -> None:
    """The parent says what is wrong with it, and the workers go on as they are."""
    account = Account("alpha", PASSWORD)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2)}) as site,
        site.process("a", "--workers", "2") as gateway,
    ):
        await site.until(lambda: account.counts.binds == 2)
        before = workers(gateway)
        site.file().write_text("[kafka]\n")
        gateway.hang_up()
        await site.until(lambda: "refused: kafka.bootstrap" in gateway.log_text())
        sent = await send(site, "j", 0)
        assert await closes(site, account, sent) == 0
        assert workers(gateway) == before
        gateway.terminate()
        assert await gateway.wait() == 0
