"""The gateway of the demo: a process of its own, as its users run it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from gateway.embedded import die_with_parent
from gateway.errors import GatewayError

_STOP_PATIENCE_S = 30.0
_COMPLAINTS = (" ERROR ", " CRITICAL ", "Traceback ", "Warning:")


class Gateway:
    """The process `recado run --config FILE`, which ends with ours however that ends. Its log goes to a file."""

    def __init__(self, config_file: Path, log: Path) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config_file)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return at once. Ctrl-C does not reach it: it is stopped after what it works with has been asked."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def check(self) -> None:
        """Raise `GatewayError` with the end of its log if it has ended."""
        if self._process is not None and self._process.returncode is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise GatewayError(f"the gateway ended with exit code {self._process.returncode}\n{end}")

    def complaints(self) -> list[str]:
        """What a healthy gateway does not log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(sign in line for sign in _COMPLAINTS)]

    async def stop(self) -> int:
        """Ask it to stop (SIGTERM), kill it if it takes too long, and return its exit code. Again it does nothing more."""
        assert self._process is not None, "the gateway was not started"
        if self._process.returncode is None:
            self._process.terminate()
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_PATIENCE_S):
                        await self._process.wait()
            finally:
                if self._process.returncode is None:
                    self._process.kill()
        return await self._process.wait()
