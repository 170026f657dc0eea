"""Everything that the gateway leans on goes away under load, and comes back."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import psutil
import pytest

from gateway.embedded import HOST, free_port
from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import closes
from tests.support.gateway_process import GatewayProcess
from tests.support.kafka import start_broker
from tests.support.proxy import Proxy
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people

BROKER_AWAY_S = 20
STORE_AWAY_S = 20
OPERATOR_AWAY_S = 60
BETWEEN_S = 4
PER_SECOND = 400  # for each of the two lanes

HEADROOM = 64 * 2**20
"""What a process may grow by while it can get rid of nothing; a message that it held in memory would take a kilobyte."""


class Load:
    """Publishes jobs to both lanes, day in, day out, and remembers what it has published."""

    def __init__(self, site: Stage) -> None:
        self.sent: dict[str, dict[str, str]] = {"alpha": {}, "beta": {}}
        self._site = site

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        number = 0
        while True:
            for name, published in self.sent.items():
                recipients = people(f"{name}-{number}", PER_SECOND // 4, start=number * PER_SECOND)
                await self._site.publish(job(f"{name}-{number}", recipients.values(), tenant=name))
                published.update(recipients)
            number += 1
            await asyncio.sleep(began + number / 4 - loop.time())


async def peak_memory(gateway: GatewayProcess, until: asyncio.Event) -> int:
    process = psutil.Process(gateway.pid)
    peak = 0
    while not until.is_set():
        peak = max(peak, process.memory_info().rss)
        await asyncio.sleep(0.2)
    return peak


@pytest.mark.timeout(240)
async def test_kafka_the_store_and_an_operator_are_away_under_load(stage: Stages, store_url: str) -> None:
    """Kafka for 20 s, the store for 20 s, one operator for 60 s: one process lives through it, grows little, and closes."""
    receipts = Behaviour(latency_s=0.02, receipt_delay_s=0.3)
    alpha, beta = Account("alpha", PASSWORD, receipts), Account("beta", PASSWORD, receipts)
    broker_port = free_port()
    async with (
        Simulator([alpha]) as operator,
        Simulator([beta]) as absent,
        Proxy(HOST, broker_port) as broker,
        Proxy(HOST, urlsplit(store_url).port or 0) as store,
        start_broker(port=broker_port, advertised_port=broker.port) as bootstrap,
        stage(
            broker=bootstrap,
            store_url=f"redis://{HOST}:{store.port}/0",
            lanes={"alpha": lane(operator.port), "beta": lane(absent.port, system_id="beta")},
            routes=[{"lane": name, "tenant": name} for name in ("alpha", "beta")],
        ) as site,
        site.process() as gateway,
    ):
        first = people("first", 5000, 5_000_000)
        await site.publish(job("first", first.values(), tenant="alpha"))
        assert await closes(site, alpha, first) == 0
        before = psutil.Process(gateway.pid).memory_info().rss
        over = asyncio.Event()
        load = Load(site)
        async with asyncio.TaskGroup() as group:
            memory = group.create_task(peak_memory(gateway, over))
            publishing = group.create_task(load.run())
            began = asyncio.get_running_loop().time()
            await site.until(lambda: beta.counts.accepted > 500)
            await absent.refuse()
            absent.drop_connections()
            for proxy, seconds in ((broker, BROKER_AWAY_S), (store, STORE_AWAY_S)):
                await asyncio.sleep(BETWEEN_S)
                proxy.cut()
                await asyncio.sleep(seconds)
                proxy.restore()
                accepted = alpha.counts.accepted
                await site.until(lambda accepted=accepted: alpha.counts.accepted > accepted + 500)
            publishing.cancel()
            await asyncio.sleep(began + OPERATOR_AWAY_S - asyncio.get_running_loop().time())
            await absent.listen()
            assert await closes(site, alpha, first | load.sent["alpha"]) == 0
            # What was in the window of the connection that was cut.
            assert await closes(site, beta, load.sent["beta"]) <= 100
            over.set()
        assert gateway.running
        assert memory.result() < before + HEADROOM
        gateway.terminate()
        assert await gateway.wait() == 0
        gateway.assert_clean_log()
        log = gateway.log_text()
        for word in ("store away, messages", "store back for messages"):
            assert log.count(word) == 1, word
        away, back = (
            {topic for topics in re.findall(rf"kafka {what}\b.* topics=(\S+)", log) for topic in topics.split(",")}
            for what in ("away", "back")
        )
        assert away == back != set()
        assert site.tally.counts()[EventStatus.ORPHAN] == 0
