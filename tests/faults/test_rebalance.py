"""Slots that move between workers while messages flow."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.embedded import HOST
from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import closes
from tests.support.proxy import Proxy
from tests.support.stage import PASSWORD, Stages, job, lane, people


async def test_slots_move_without_loss_repetition_or_a_dropped_bind(stage: Stages) -> None:
    """A second worker takes two of four slots and gives them back: only those rebind, every message is sent once."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.02, receipt_delay_s=0.1))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=4, window=20, rate=2500)}) as site,
        site.worker("a") as a,
    ):
        sent: dict[str, str] = {}
        for number in range(20):
            recipients = people(f"j{number}", 1000, 1000 * number)
            sent |= recipients
            await site.publish(job(f"j{number}", recipients.values()))
        counts = account.counts
        await site.until(lambda: counts.accepted > 500)
        assert counts.total_binds == 4
        async with site.worker("b") as b:
            await site.until(lambda: len(a.slots.slots) == len(b.slots.slots) == 2)
            moved = counts.accepted
            await site.until(lambda: counts.accepted > moved + 2000)
            assert counts.total_binds == 6
            assert counts.binds == 4
        await site.until(lambda: len(a.slots.slots) == 4)
        await site.tally.until_ended(sent)
        assert counts.total_binds == 8
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: len(sent)}
        assert counts.duplicates == 0
        assert counts.accepted == len(sent)


async def test_what_cannot_be_drained_is_reported_and_not_sent_again(stage: Stages, store_url: str) -> None:
    """Slots move while the store is slow and the operator slower than the drain: no copy, and every message is accounted for."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.3, latency_jitter_s=0.7))
    async with (
        Simulator([account]) as smsc,
        Proxy(HOST, urlsplit(store_url).port or 0) as store,
        stage(
            store_url=f"redis://{HOST}:{store.port}/0",
            lanes={"alpha": lane(smsc.port, binds=4, window=200, drain_s=0.3)},
            receipts={"early_limit_s": 3},
        ) as site,
        site.worker("a") as a,
    ):
        store.delay(0.03)
        sent: dict[str, str] = {}
        for number in range(5):
            recipients = people(f"j{number}", 1000, 1000 * number)
            sent |= recipients
            await site.publish(job(f"j{number}", recipients.values()))
        await site.until(lambda: account.counts.accepted > 800)
        async with site.worker("b") as b:
            await site.until(lambda: len(a.slots.slots) == len(b.slots.slots) == 2)
            moved = account.counts.accepted
            await site.until(lambda: account.counts.accepted > moved + 800)
        await closes(site, account, sent)
