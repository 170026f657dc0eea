"""Client libraries: each a program of its own in `clients/`, with as little around the library as the work allows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.peers.child import Child
from benchmarks.peers.mix import Message
from benchmarks.peers.peer import CACHE, PASSWORD, ROOT, SENDER, SYSTEM_ID, WINDOW, Carrier, Facts, Unavailable
from benchmarks.support import BenchmarkError

_CLIENTS = Path(__file__).parent / "clients"
_PYTHON = CACHE / "libraries/bin/python"
_NODE_MODULES = CACHE / "node/node_modules"
_READY_S = 30.0
_OVERTIME_S = 60.0
"""For the receipts of what was submitted in time."""

_NO_GATEWAY = "no store, no retry, no rates, no routing, no intake but its own API"


class _Outcome(msgspec.Struct):
    """What a client says at its end."""

    submitted: int
    receipts: int
    last_at: float


class Runtime(NamedTuple):
    """How a client is run: what must be there, and the command before its file."""

    needs: Path
    remedy: str
    command: tuple[str, ...]


_OWN_VENV = Runtime(_PYTHON, "python -m benchmarks.peers.install libraries", (str(_PYTHON),))
_NODE = Runtime(
    _NODE_MODULES / "smpp", "python -m benchmarks.peers.install node", ("env", f"NODE_PATH={_NODE_MODULES}", "node")
)
_OURS = Runtime(ROOT / "smpp", "", ("env", f"PYTHONPATH={ROOT}", sys.executable))


class Library:
    def __init__(self, name: str, file: str, runtime: Runtime, lacks: str) -> None:
        self.name = name
        self.facts = Facts(kind="library", durable=False, stores="none", lacks=lacks)
        self._file = _CLIENTS / file
        self._runtime = runtime

    def check(self) -> None:
        if not self._runtime.needs.exists():
            raise Unavailable(f"not installed: {self._runtime.remedy}")
        if "node" in self._runtime.command and shutil.which("node") is None:
            raise Unavailable("no node: apt-get install nodejs")

    def versions(self) -> dict[str, str]:
        if self._runtime is _NODE:
            package = json.loads((_NODE_MODULES / "smpp/package.json").read_text())
            node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
            return {"smpp (npm)": package["version"], "node": node}
        package = "recado" if self._runtime is _OURS else self.name
        code = f"from importlib.metadata import version; print(version({package!r}))"
        found = subprocess.run([*self._runtime.command, "-c", code], capture_output=True, text=True, check=True)
        return {package: found.stdout.strip()}

    @contextlib.asynccontextmanager
    async def running(self, smsc_port: int, messages: Sequence[Message], directory: Path) -> AsyncIterator[Carrier]:
        file = directory / "messages.json"
        file.write_bytes(msgspec.json.encode([(message.to, message.text) for message in messages]))
        command = [
            *self._runtime.command,
            str(self._file),
            str(smsc_port),
            SYSTEM_ID,
            PASSWORD,
            SENDER,
            str(WINDOW),
            str(file),
        ]
        child = Child(self.name, command, directory / "client.log", piped=True)
        try:
            client = _Client(child, len(messages))
            await client.line(_READY_S)
            yield client
        finally:
            child.kill()


class _Client:
    def __init__(self, child: Child, messages: int) -> None:
        self._child = child
        self.accepted = bytearray(messages)
        self.reported = bytearray(messages)
        self.doubted = bytearray(messages)
        self.last_report_at = 0.0

    def processes(self) -> Mapping[str, int]:
        return {self._child.name: self._child.pid}

    async def line(self, seconds: float) -> str:
        """The next line that it says. Raises `BenchmarkError` with the end of its log if there is none in time."""
        try:
            line = await asyncio.wait_for(asyncio.to_thread(self._child.stdout.readline), seconds)
        except TimeoutError:
            line = ""
        if not line:
            self._child.kill()
            raise BenchmarkError(f"{self._child.name} said nothing\n{self._child.log_end()}")
        return line

    async def publish(self, messages: Sequence[Message], seconds: float) -> None:
        self._child.stdin.write(f"{seconds}\n")
        self._child.stdin.flush()
        outcome = msgspec.json.decode(await self.line(seconds + _OVERTIME_S), type=_Outcome)
        submitted = outcome.submitted
        self.accepted[:submitted] = b"\1" * submitted
        # A bare library tells of parts: each receipt that it did not hand over stands for one message.
        wanted = sum(message.parts for message in messages[:submitted])
        reported = max(0, submitted - (wanted - outcome.receipts))
        self.reported[:reported] = b"\1" * reported
        self.last_report_at = outcome.last_at

    async def crash(self) -> None:
        raise NotImplementedError("nothing of a library survives its process")


LIBRARIES = (
    Library("recado-smpp", "recado_smpp_client.py", _OURS, _NO_GATEWAY),
    Library(
        "smpplib", "smpplib_client.py", _OWN_VENV, f"{_NO_GATEWAY}; no window, no matching of receipts, no reconnecting"
    ),
    Library("aiosmpplib", "aiosmpplib_client.py", _OWN_VENV, f"{_NO_GATEWAY}; no window"),
    Library(
        "node-smpp",
        "node_smpp_client.js",
        _NODE,
        f"{_NO_GATEWAY}; no window, no long messages, no matching of receipts, no reconnecting",
    ),
)
