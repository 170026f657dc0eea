"""A store that comes back empty: what it knew is gone, which is said, and nobody guesses."""

from __future__ import annotations

import pytest

from gateway.embedded import free_port
from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import copies
from tests.support.stage import PASSWORD, Stages, job, lane, people
from tests.support.store import start_store


async def test_a_store_that_restarts_empty_under_load(stage: Stages, caplog: pytest.LogCaptureFixture) -> None:
    """Said loudly; everything is sent, and once; receipts of what was forgotten are orphans, all others are matched."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.02, receipt_delay_s=0.5))
    port = free_port()
    async with Simulator([account]) as smsc:
        first = start_store(port=port)
        url = await first.__aenter__()
        async with (
            stage(store_url=url, lanes={"alpha": lane(smsc.port, rate=3000)}, receipts={"early_limit_s": 2}) as site,
            site.worker(),
        ):
            sent = people("j", 8000)
            await site.publish(job("j", sent.values()))
            await site.until(lambda: account.counts.accepted > 2000)
            await first.__aexit__(None, None, None)
            async with start_store(port=port):
                await site.tally.until(lambda: len(sent) == site.tally.counts()[EventStatus.SUBMITTED])
                await site.until(lambda: account.counts.pending == 0)
                counts = site.tally.counts
                await site.tally.until(
                    lambda: counts()[EventStatus.DELIVERED] + counts()[EventStatus.ORPHAN] == len(sent)
                )
                assert counts()[EventStatus.DELIVERED] > 4000
                assert counts()[EventStatus.UNKNOWN] == 0
    assert sum(record.levelname == "CRITICAL" and "lost" in record.message for record in caplog.records) == 1
    assert (account.counts.accepted, account.counts.duplicates) == (len(sent), 0)


async def test_a_crash_together_with_the_loss_of_the_store(stage: Stages) -> None:
    """What may have been written is unknown then: class `report` does not send it again, class `resend` does."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.02))
    port = free_port()
    async with Simulator([account]) as smsc:
        first = start_store(port=port)
        url = await first.__aenter__()
        async with (
            stage(store_url=url, lanes={"alpha": lane(smsc.port, rate=3000)}, receipts={"early_limit_s": 2}) as site,
            site.process() as gateway,
        ):
            otp, bulk = people("otp", 4000), people("bulk", 4000, 10_000)
            await site.publish(job("otp", otp.values(), **{"class": "otp"}), job("bulk", bulk.values()))
            await site.until(lambda: account.counts.accepted > 6000)
            gateway.kill()
            await first.__aexit__(None, None, None)
            async with start_store(port=port):
                gateway.start()
                await site.tally.until_ended(bulk)
                await site.tally.until(lambda: all(EventStatus.SUBMITTED in site.tally.statuses[each] for each in otp))
                gateway.kill()
        assert "the ledger of a queue is lost" in gateway.log_text()
        gateway.assert_clean_log()
    assert max(copies(account, bulk).values()) == 1
    assert copies(account, otp).keys() == otp.keys()
