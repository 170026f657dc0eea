"""A store that comes back empty: what it knew is gone, which is said, and nobody guesses."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

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
                # What was submitted and committed just before may have its receipt after: nobody knows its row any more.
                await site.tally.until(
                    lambda: all(
                        site.tally.end_of(each) or EventStatus.SUBMITTED in site.tally.statuses[each] for each in bulk
                    )
                )
                await site.tally.until(lambda: all(EventStatus.SUBMITTED in site.tally.statuses[each] for each in otp))
                await site.tally.until(
                    lambda: sum(not site.tally.end_of(each) for each in bulk) <= site.tally.counts()[EventStatus.ORPHAN]
                )
                gateway.kill()
        assert "the ledger of a queue is lost" in gateway.log_text()
        gateway.assert_clean_log()
    assert max(copies(account, bulk).values()) == 1
    assert copies(account, otp).keys() == otp.keys()


async def test_what_comes_after_the_loss_of_the_store_is_sent(
    stage: Stages, store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was under way when it was lost, and the workers begin with what is empty: nothing is in doubt."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.005, receipt_delay_s=0.1))
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site:
        before, after = people("a", 5), people("b", 50, 1000)
        async with site.worker():
            await site.publish(job("a", before.values()))
            await site.tally.until_ended(before)
        async with Redis.from_url(store_url) as redis:
            await redis.delete(*[key async for key in redis.scan_iter(f"{namespace}:*", count=10_000)])
        async with site.worker() as worker:
            await site.until(lambda: not worker.problems())
            await site.publish(job("b", after.values()))
            await site.tally.until_ended(after)
        assert site.tally.ends(after) == {EventStatus.DELIVERED: 50}
    assert (account.counts.accepted, account.counts.duplicates) == (55, 0)
    assert "the ledger of a queue is lost: up to 0 messages" in caplog.text
