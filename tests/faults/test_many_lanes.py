"""Fifty lanes in one process, twenty of them to operators that are not there."""

from __future__ import annotations

import asyncio

import aiohttp
import psutil

from gateway.embedded import HOST, free_port
from gateway.model import EventStatus
from smpp.simulator import Account, Simulator
from tests.support.stage import PASSWORD, Stages, job, lane, people

LANES = 50
DEAD = 20
WAITING = 2000
"""For each dead lane: together far more than the process may buffer."""
GOING = 200

HEADROOM = 64 * 2**20
"""What a process may grow by; a message that it held in memory would take a kilobyte."""
LATE_S = 1.0
"""Who asks how it is has an answer by then."""


async def test_dead_lanes_cost_neither_the_others_nor_memory(stage: Stages) -> None:
    """40,000 messages wait for lanes that are refused a connection: all others are delivered, and the process answers."""
    account = Account("alpha", PASSWORD)
    dead, alive = ([f"lane-{number}" for number in numbers] for numbers in (range(DEAD), range(DEAD, LANES)))
    port = free_port()
    async with Simulator([account]) as smsc, aiohttp.ClientSession(f"http://{HOST}:{port}") as http:
        nobody = free_port()
        few = {"classes": ["bulk"], "account": "alpha", "connect_timeout_s": 1}
        lanes = {name: lane(nobody if name in dead else smsc.port, **few) for name in (*dead, *alive)}
        async with (
            stage(
                lanes=lanes,
                routes=[{"lane": name, "tenant": name} for name in lanes],
                admin={"port": port},
                limits={"buffered_messages": 5000},
            ) as site,
            site.process() as gateway,
        ):
            await site.until(lambda: account.counts.binds == len(alive), 60)
            process = psutil.Process(gateway.pid)
            before = process.memory_info().rss
            waiting = [people(name, WAITING, 10_000 * number) for number, name in enumerate(dead)]
            for name, recipients in zip(dead, waiting, strict=True):
                await site.publish(job(name, recipients.values(), tenant=name))
            await site.tally.until(lambda: site.tally.counts()[EventStatus.ACCEPTED] == len(dead))
            sent = {}
            for number, name in enumerate(alive, DEAD):
                recipients = people(name, GOING, 10_000 * number)
                sent |= recipients
                await site.publish(job(name, recipients.values(), tenant=name))
            async with asyncio.timeout(LATE_S), http.get("/healthz") as answer:
                assert answer.status == 200
            await site.tally.until_ended(sent)
            assert site.tally.ends(sent) == {EventStatus.DELIVERED: len(sent)}
            async with asyncio.timeout(LATE_S), http.get("/readyz") as answer:
                assert (await answer.text()).count("\n") == len(dead)
            assert process.memory_info().rss < before + HEADROOM
            gateway.terminate()
            assert await gateway.wait() == 0
            gateway.assert_clean_log()
    assert (account.counts.accepted, account.counts.duplicates) == (len(sent), 0)
