"""One gateway as a process: what signals ask of it, and what is asked for at its admin port."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import aiohttp
import pytest

from gateway import process
from gateway.embedded import free_port
from gateway.errors import ConfigError, Problem
from gateway.log import Sampling
from tests.support.dispatching import configured, works

_SCRIPT = """
import asyncio, logging, signal, sys
from gateway import app, process
from tests.support.dispatching import configured

class Worker(process.Worker):
    async def _begin(self):
        pass

    async def stop(self):
        print("draining", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await super().stop()

process.Worker = Worker
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
if "--init" in sys.argv:
    kill, signal.raise_signal = signal.raise_signal, lambda number: None if number == signal.SIGKILL else kill(number)
config = configured({"andina": {}}, admin={"port": int(sys.argv[1]), "token_env": "PASSWORD"})
asyncio.run(process.run(config))
"""
"""A gateway without Kafka, which drains until it reads a line; with `--init` it cannot kill itself, as in a container."""


class Gateway:
    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._port = port

    async def says(self, words: str) -> None:
        """Return when it has said so; fails if it ends before."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            async for line in self.process.stdout:
                if words in line.decode():
                    return
        pytest.fail(f"it never said {words!r}")

    async def drain(self) -> None:
        headers = {"Authorization": "Bearer secret"}
        async with aiohttp.request("POST", f"http://127.0.0.1:{self._port}/drain", headers=headers) as response:
            assert response.status == 200
        await self.says("action path=/drain")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Let the drain end, if it goes on, and return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[Gateway]:
    port = free_port()
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SCRIPT, str(port), *options), stdin=PIPE, stdout=PIPE
    )
    try:
        gateway = Gateway(made, port)
        await gateway.says("running lanes=1")
        yield gateway
    finally:
        if made.returncode is None:
            made.kill()
            await made.wait()


async def test_a_stop_does_not_cut_short_what_drains() -> None:
    """Whoever drains a machine stops its service next: that is the first signal, not the second."""
    async with running() as gateway:
        await gateway.drain()
        await gateway.says("draining")
        gateway.terminate()
        await gateway.says("stopping: ")
        assert await gateway.ended() == 0


async def test_a_drain_does_not_cut_short_a_stop() -> None:
    """It is no signal, and asks for what is under way."""
    async with running() as gateway:
        gateway.terminate()
        await gateway.says("draining")
        await gateway.drain()
        await asyncio.sleep(0.3)
        assert await gateway.ended() == 0


@pytest.mark.parametrize("drained", [True, False])
async def test_a_second_signal_ends_at_once(drained: bool) -> None:
    """Whether or not it was drained before."""
    async with running() as gateway:
        if drained:
            await gateway.drain()
            await gateway.says("draining")
        gateway.terminate()
        await gateway.says("stopping: ")
        gateway.terminate()
        assert await asyncio.wait_for(gateway.process.wait(), 20) == -signal.SIGKILL


async def test_a_second_signal_ends_a_container_at_once() -> None:
    """Whose first process the kernel spares; it ends with the code by which engines tell of SIGKILL."""
    async with running("--init") as gateway:
        gateway.terminate()
        await gateway.says("stopping: ")
        gateway.terminate()
        assert await asyncio.wait_for(gateway.process.wait(), 20) == 137


async def test_every_reload_that_is_refused_leaves_its_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Who tries again within a minute waits for an answer again."""

    def bad() -> NoReturn:
        raise ConfigError((Problem("routes", "none", "add one"),))

    def worse() -> NoReturn:
        raise OSError("no such file")

    async with works(configured({"andina": {}})) as it:
        for load in (bad, bad, bad, worse, worse, worse):
            process._reload(it.worker, load)
    sampling = Sampling()
    assert sum(sampling.filter(each) for each in caplog.records if "reload refused" in each.getMessage()) == 6
