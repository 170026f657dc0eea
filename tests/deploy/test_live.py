"""Two workers under traffic, looked at by a real Prometheus: no panel of a dashboard is empty."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from itertools import count
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.embedded import HOST, free_port
from gateway.simulators import Behaviour as AtMeta
from gateway.simulators import Limits
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.deploy.dashboards import filled_in, queries
from tests.deploy.prometheus import running
from tests.support.meta import on_whatsapp, reminder
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people, stage

__all__ = ["stage"]

_PATIENCE_S = 25.0
_TURN_S = 0.25
"""Between two batches of everything: Prometheus looks twice a second."""

UNMADE = {
    "sum by (error) (rate(recado_kafka_failures_total{}[30s]))": "a broker that refuses",
    "max by (lane, reason) (recado_whatsapp_number_held)": "a number that Meta has taken measures against",
}
"""Queries that are empty here, and what they wait for."""

MOODY = Behaviour(
    errors={CommandStatus.ESME_RSYSERR: 0.05, CommandStatus.ESME_RINVDSTADR: 0.05, CommandStatus.ESME_RTHROTTLED: 0.02},
    unanswered=0.02,
    receipts_early=0.2,
    latency_s=0.02,
)
LOST = Behaviour(resp_id="d", receipt_id="012d")
"""Its receipts name messages in another way than its answers."""


def two_ports() -> int:
    """Return the first of two ports that are free, one behind the other, below those that connections are made from."""
    for port in range(20_000 + os.getpid() % 5_000 * 2, 32_000, 2):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind((HOST, port))
                second.bind((HOST, port + 1))
            except OSError:
                continue
            return port
    raise OSError("no two ports are free")


@pytest.mark.timeout(90)
async def test_no_panel_is_empty(stage: Stages, tmp_path: Path) -> None:
    """Every query of every dashboard has an answer, but for those of which we know why not."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    port = two_ports()
    accounts = [Account("alpha", PASSWORD, MOODY), Account("lost", PASSWORD, LOST)]
    async with (
        Simulator(accounts) as smsc,
        on_whatsapp(
            stage,
            AtMeta(errors={"131026": 0.2}, delivered_s=0.1),
            limits=Limits(throughput_mps=1000, messaging_limit=2000),
            lanes={
                "alpha": lane(smsc.port, binds=2, response_timeout_s=1),
                "lost": lane(smsc.port, system_id="lost"),
                "gone": lane(free_port()),
            },
            routes=[{"tenant": "lost", "lane": "lost"}, {"tenant": "gone", "lane": "gone"}, {"lane": "alpha"}],
            receipts={"early_limit_s": 1},
            admin={"port": port, "token_file": "password"},
        ) as meta,
        meta.site.process("a", "--workers", "2") as gateway,
        running(tmp_path, [f"{HOST}:{port}", f"{HOST}:{port + 1}"]) as prometheus,
    ):
        site = meta.site
        await site.until(lambda: min(account.counts.binds for account in accounts) > 0)
        async with asyncio.timeout(_PATIENCE_S):
            while not await prometheus.ask('sum(up{job="recado"}) == 2'):  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(_TURN_S)
        await asked(port)
        empty = {filled_in(query, "30s"): f"{board}: {panel}" for board, panel, query in queries()}
        assert UNMADE.keys() <= empty.keys()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                for turn in count():
                    await traffic(site, turn)
                    smsc.send_mo("alpha", "573001234567", "89000", f"¿Cuánto debo? {turn}")
                    meta.write("+573001234567", f"¿Cuánto debo? {turn}")
                    await asyncio.sleep(_TURN_S)
                    empty = {query: where for query, where in empty.items() if not await prometheus.ask(query)}
                    if empty.keys() <= UNMADE.keys():
                        break
        except TimeoutError:
            left = {query: where for query, where in empty.items() if query not in UNMADE}
            raise AssertionError(f"empty: {left}") from None
        gateway.terminate()
        await gateway.wait()
    gateway.assert_clean_log()


async def traffic(site: Stage, turn: int) -> None:
    """Publish something of every kind, also what cannot be read and what cannot be sent."""
    name = f"j{turn}"
    await site.publish(
        job(name, [*people(name, 50).values(), "+57"], **{"class": ("otp", "transactional", "bulk")[turn % 3]}),
        job(f"{name}-lost", people(name, 5).values(), tenant="lost"),
        job(f"{name}-gone", people(name, 5).values(), tenant="gone"),
        reminder(f"{name}-wa", people(name, 10, 1000).values()),
    )
    await site.publish_raw(b"no job")


async def asked(port: int) -> None:
    """Lower a rate by hand."""
    headers = {"Authorization": f"Bearer {PASSWORD}"}
    url = f"http://{HOST}:{port}/lanes/alpha/rate"
    async with ClientSession(headers=headers) as session, session.post(url, json={"rate": 50_000}) as response:
        assert response.status == 200, await response.text()
