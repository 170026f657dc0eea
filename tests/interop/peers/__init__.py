"""Programs on SMPP libraries that others wrote, as processes that tell what they hear, one line of JSON each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(__file__).parent
_CACHE = PEERS.parents[2] / ".cache" / "interop"
MODULES = _CACHE / "node" / "node_modules"
JARS = _CACHE / "java"
NODE_SMPP = "smpp@0.5.1"

_PATIENCE_S = 30.0


def command(file: str, *arguments: str) -> list[str]:
    """Return what runs a program of this folder; skips the test where it cannot run."""
    if file.endswith(".py"):
        pytest.importorskip("aiosmpplib", reason="aiosmpplib is not installed")
        return [sys.executable, str(PEERS / file), *arguments]
    tool, there = ("node", MODULES / "smpp") if file.endswith(".js") else ("java", JARS)
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if not there.exists():
        pytest.skip(f"{there.name} is not in .cache: python -m tests.interop.fetch")
    if tool == "node":
        return [tool, str(PEERS / file), *arguments]
    return [tool, "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", str(PEERS / file), *arguments]


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Peer:
    """A running program: `next` waits for what it hears, and what was passed over is kept for the next look."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._heard: list[dict[str, Any]] = []

    async def next(self, on: str) -> dict[str, Any]:
        """The next event of that name; fails when there is none within the patience or the program ends."""
        for kept in self._heard:
            if kept["on"] == on:
                self._heard.remove(kept)
                return kept
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            while line := await self._process.stdout.readline():
                if line.startswith(b"{"):
                    event: dict[str, Any] = json.loads(line)
                    if event["on"] == on:
                        return event
                    self._heard.append(event)
        raise AssertionError(f"it ended without {on}; it heard {self._heard}")

    def heard(self, on: str) -> list[dict[str, Any]]:
        """Every event of that name that nobody has waited for."""
        return [event for event in self._heard if event["on"] == on]

    async def ended(self) -> int:
        """Wait until the program ends by itself; its exit status."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            await self._process.stdout.read()
            return await self._process.wait()


@contextlib.asynccontextmanager
async def running(line: list[str]) -> AsyncIterator[Peer]:
    """Run a program for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *line,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"NODE_PATH": str(MODULES), "JAVA_TOOL_OPTIONS": "-Dfile.encoding=UTF-8"},
    )
    try:
        yield Peer(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
