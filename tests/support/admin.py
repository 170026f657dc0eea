"""An admin port of a worker that carries nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from gateway.app import Worker
from gateway.config import Admin, Secret
from gateway.web import AdminServer
from tests.support.dispatching import configured

TOKEN = "s3cret"
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


class Site:
    """A worker that carries nothing, and its admin port."""

    def __init__(self, worker: Worker, base: str, drained: asyncio.Event) -> None:
        self.worker = worker
        self.base = base
        self.drained = drained

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.request("GET", self.base + path) as response:
            return response.status, await response.text()

    async def post(self, path: str, body: Any = None, headers: Any = None) -> tuple[int, str]:
        headers = AUTHORISED if headers is None else headers
        url = URL(self.base + path, encoded=True)
        async with aiohttp.request("POST", url, data=body, headers=headers) as response:
            return response.status, (await response.text()).strip()


@asynccontextmanager
async def served(
    store_url: str = "redis://127.0.0.1:1", namespace: str = "x", token: str = TOKEN, *, started: bool = True
) -> AsyncIterator[Site]:
    worker = Worker(configured({"andina": {"rate": 50}, "brava": {}}, kafka={"prefix": namespace}, store_url=store_url))
    worker.started = started
    drained = asyncio.Event()
    server = AdminServer(Admin(port=0, token=Secret(token)), worker, drain=drained.set)
    await server.start()
    try:
        yield Site(worker, f"http://127.0.0.1:{server.port}", drained)
    finally:
        await server.stop()
        await worker.stop()
