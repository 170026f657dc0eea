"""SIGTERM: an orderly stop leaves nothing in doubt, and a second one does not wait for it."""

from __future__ import annotations

import signal
from urllib.parse import urlsplit

from gateway.embedded import HOST, free_port
from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import closes
from tests.support.kafka import start_broker
from tests.support.proxy import Proxy
from tests.support.stage import PASSWORD, Stages, job, lane, people


async def test_a_stop_under_load_drains_and_unbinds_and_a_restart_does_the_rest(stage: Stages) -> None:
    """Exit code 0, both binds unbound, nothing unknown; the next process sends what is left, and nothing twice."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.05, receipt_delay_s=0.1))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=2, rate=4000)}) as site,
        site.process() as gateway,
    ):
        sent: dict[str, str] = {}
        for number in range(12):
            recipients = people(f"j{number}", 1000, 1000 * number)
            sent |= recipients
            await site.publish(job(f"j{number}", recipients.values()))
        for threshold in (2000, 6000):
            await site.until(lambda threshold=threshold: account.counts.accepted > threshold)
            gateway.terminate()
            assert await gateway.wait() == 0
            assert account.counts.binds == 0
            assert account.counts.unbinds == account.counts.total_binds
            # All that was accepted was answered and told before the process ended.
            submitted = account.counts.accepted
            await site.tally.until(lambda count=submitted: site.tally.counts()[EventStatus.SUBMITTED] == count, 5)
            gateway.start()
        assert await closes(site, account, sent) == 0
        assert site.tally.counts()[EventStatus.UNKNOWN] == 0
        gateway.assert_clean_log()


async def test_a_stop_while_kafka_and_the_store_are_away_ends_all_the_same(stage: Stages, store_url: str) -> None:
    """Every step of the way down has its deadline; what could not be told is told by the next process."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.02, receipt_delay_s=0.1))
    port = free_port()
    async with (
        Simulator([account], deliver_timeout=1) as smsc,
        Proxy(HOST, port) as broker,
        Proxy(HOST, urlsplit(store_url).port or 0) as store,
        start_broker(port=port, advertised_port=broker.port) as bootstrap,
        stage(
            broker=bootstrap,
            store_url=f"redis://{HOST}:{store.port}/0",
            lanes={"alpha": lane(smsc.port, drain_s=0.5, rate=2000)},
            receipts={"early_limit_s": 3},
        ) as site,
        site.process() as gateway,
    ):
        sent = people("j", 4000)
        await site.publish(job("j", sent.values()))
        await site.until(lambda: account.counts.accepted > 1000)
        broker.freeze()
        store.freeze()
        gateway.terminate()
        assert await gateway.wait() == 0
        assert account.counts.binds == 0
        broker.thaw()
        store.thaw()
        gateway.start()
        await closes(site, account, sent)
        gateway.assert_clean_log()


async def test_a_second_signal_ends_the_process_at_once(stage: Stages) -> None:
    """An operator that never answers would hold up the drain; who asks twice does not wait for it."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=600))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, drain_s=600)}) as site,
        site.process() as gateway,
    ):
        sent = people("j", 10)
        await site.publish(job("j", sent.values()))
        await site.until(lambda: account.counts.accepted == 10)
        gateway.terminate()
        await site.until(lambda: "stopping" in gateway.log_text())
        gateway.terminate()
        assert await gateway.wait() == -signal.SIGKILL
        gateway.start()
        account.behaviour = Behaviour()
        await site.tally.until(lambda: site.tally.counts()[EventStatus.UNKNOWN] == 10)
        gateway.assert_clean_log()
    assert account.counts.duplicates == 0
