"""The client's side: it takes callbacks, and answers them as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web


class Callback(msgspec.Struct, frozen=True):
    """A request as it came in; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers 200, or first what `statuses` says."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self.statuses: list[int] = []
        self.url = ""
        self._came = asyncio.Event()

    async def wait_for(self, count: int) -> list[Callback]:
        """The callbacks so far, once there are as many."""
        async with asyncio.timeout(10):
            while len(self.callbacks) < count:
                self._came.clear()
                await self._came.wait()
        return self.callbacks

    async def answer(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.callbacks.append(Callback(request.raw_path, headers, await request.read()))
        self._came.set()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    server = web.Server(receiver.answer, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        listening.close()
        await server.shutdown(1.0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nothing announces."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.001)
