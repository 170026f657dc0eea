"""Receipts that are in the gateway's hands when it dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from gateway.embedded import HOST, free_port
from gateway.model import EventStatus
from smpp.simulator import GARBAGE, Account, Behaviour, Simulator
from tests.support.kafka import start_broker
from tests.support.proxy import Proxy
from tests.support.stage import PASSWORD, Stages, job, lane, people


@asynccontextmanager
async def behind_proxy(what: str, store_url: str) -> AsyncIterator[tuple[Proxy, dict[str, str]]]:
    """The store or a broker behind a proxy, and what a stage has to know of it."""
    if what == "store":
        async with Proxy(HOST, urlsplit(store_url).port or 0) as proxy:
            yield proxy, {"store_url": f"redis://{HOST}:{proxy.port}/0"}
    else:
        port = free_port()
        async with Proxy(HOST, port) as proxy, start_broker(port=port, advertised_port=proxy.port) as bootstrap:
            yield proxy, {"broker": bootstrap}


@pytest.mark.parametrize("what", ["store", "broker"])
async def test_a_kill_before_receipts_are_answered_loses_none(stage: Stages, store_url: str, what: str) -> None:
    """Receipts read but held up by a store or broker that hangs, then kill -9: the operator delivers each again."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full", first_id=1)
    async with (
        Simulator([account]) as smsc,
        behind_proxy(what, store_url) as (proxy, where),
        stage(lanes={"alpha": lane(smsc.port)}, **where) as site,
        site.process() as gateway,
    ):
        sent = people("j", 300)
        await site.publish(job("j", sent.values()))
        await site.tally.until(lambda: site.tally.counts()[EventStatus.SUBMITTED] == 300)
        proxy.freeze()
        for number, arrival in enumerate(account.record.arrivals, 1):
            smsc.send_receipt("alpha", str(number), arrival.request.destination_addr, "89000")
        # The gateway answers this with a generic_nack: then it has read all that was sent before.
        smsc.send_raw(GARBAGE["unknown_command"], "alpha")
        await site.until(lambda: account.counts.unexpected == 1)
        assert (account.counts.sent, account.counts.settled) == (300, 0)
        gateway.kill()
        proxy.thaw()
        gateway.start()
        await site.tally.until_ended(sent)
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: 300}
        await site.until(lambda: account.counts.settled == 300)
        gateway.assert_clean_log()
    assert site.tally.counts()[EventStatus.ORPHAN] == 0


async def test_a_long_message_of_which_a_kill_left_one_answer_is_delivered(stage: Stages) -> None:
    """The part that was answered has its row, the other its doubt: their receipts tell of one each, and so of the whole."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=1.0, receipt_delay_s=4))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, window=1)}, receipts={"early_limit_s": 2}) as site,
        site.process() as gateway,
    ):
        await site.publish(job("a", people("a", 1).values(), text="a" * 300))
        await site.until(lambda: account.counts.accepted == 2)  # the first was answered: the window is one
        gateway.kill()
        gateway.start()
        await site.tally.until(lambda: EventStatus.DELIVERED in site.tally.statuses["a:0"])
        assert site.tally.of("a:0")[-1].parts_done == 2
    assert account.counts.duplicates == 0
