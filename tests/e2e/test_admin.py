"""What people ask of a gateway that runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin import Ask
from gateway.app import Worker
from gateway.embedded import HOST, free_port
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.stage import PASSWORD, Stages, job, lane, people


async def test_a_paused_lane_writes_nothing_and_goes_on_at_once(stage: Stages) -> None:
    """Also in a process that starts after it was paused; what was queued is delivered when it is resumed."""
    account = Account("alpha", PASSWORD)
    sent = people("j", 50)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site:
        async with site.worker() as worker:
            await worker.controls.change(("lane", "alpha"), Ask(time.time()))
        async with site.worker() as worker:
            await site.publish(job("j", sent.values()))
            await site.until(lambda: worker.intake.counts["messages"] == len(sent))
            await site.until(lambda: _waiting(worker) > 0 and account.counts.binds > 0)
            assert account.counts.messages == 0
            await worker.controls.change(("lane", "alpha"), None)
            await site.tally.until_ended(sent)
    assert account.counts.messages == len(sent)


async def test_a_paused_campaign_steps_aside_and_delays_nobody_else(stage: Stages) -> None:
    """It is on the ladder, not in front of the others."""
    account = Account("alpha", PASSWORD)
    paused, others = people("p", 20), people("o", 20, 500)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}) as site,
        site.worker() as worker,
    ):
        await worker.controls.change(("campaign", "", "nov"), Ask(time.time()))
        await site.publish(job("p", paused.values(), campaign="nov"), job("o", others.values()))
        await site.tally.until_ended(others)
        assert account.counts.messages == len(others)
        await site.until(lambda: worker.publisher.counts["alpha", "bulk", "deferred"] == len(paused))


async def test_a_gateway_that_cannot_start_yet_can_be_looked_at(stage: Stages) -> None:
    """Its admin port is there before it has joined anything, and says what it waits for; it can be stopped meanwhile."""
    port = free_port()
    async with (
        stage(
            store_url=f"redis://{HOST}:{free_port()}/0", lanes={"alpha": lane(free_port())}, admin={"port": port}
        ) as site,
        site.process() as gateway,
        aiohttp.ClientSession(f"http://{HOST}:{port}") as http,
        asyncio.timeout(20),
    ):
        said = ""
        while said != "starting\nthe store is away\n":
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get("/readyz") as answer:
                    status, said = answer.status, await answer.text()
            await asyncio.sleep(0.05)
        async with http.get("/healthz") as answer:
            assert (status, answer.status) == (503, 503)
        gateway.terminate()
        assert await gateway.wait() == 0
        gateway.assert_clean_log()


def _waiting(worker: Worker) -> int:
    return sum(len(queue.ready) for slot in worker.dispatcher.slots.values() for queue in slot.queues)


async def test_a_scrape_shows_the_way_of_messages(stage: Stages) -> None:
    """Every stage has counted what passed it, and nothing is left to wait."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_delay_s=0.2))
    sent = people("j", 40)
    port = free_port()
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}, admin={"port": port, "token_file": "password"}) as site,
        site.worker() as worker,
    ):
        await site.publish(job("j", sent.values()))
        await site.tally.until_ended(sent)
        await site.until(lambda: worker.publisher.counts["alpha", "bulk", "submitted"] == len(sent))
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/metrics") as response:
            families = list(text_string_to_metric_families(await response.text()))
    found: Counter[str] = Counter()
    for family in families:
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                found[sample.name] += sample.value
    for name in (
        *("recado_intake_recipients_total", "recado_parts_written_total", "recado_receipts_total"),
        *("recado_queue_wait_seconds_count", "recado_pace_seconds_count", "recado_provider_round_trip_seconds_count"),
        "recado_receipt_delay_seconds_count",
    ):
        assert found[name] == len(sent), name
    for name in ("intake", "ledger_exchange", "store_call", "kafka_produce"):
        assert found[f"recado_{name}_seconds_count"] > 0, name
    assert found["recado_receipt_delay_seconds_sum"] >= 0.2 * len(sent) - len(sent)  # a row has whole seconds
    assert (found["recado_bind_up"], found["recado_binds_total"], found["recado_bind_down"]) == (1, 1, 0)
    assert found["recado_jobs_backlog"] == found["recado_queue_oldest_seconds"] == 0
    assert found["recado_settle_batch_messages_sum"] == len(sent)
