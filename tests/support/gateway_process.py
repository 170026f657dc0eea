"""A gateway as its users run it: a process of its own, which a test can ask to stop or kill."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

_SIGNS_OF_A_BUG = ("Traceback (most recent call last)", "was never awaited", "was never retrieved", "Warning:")
_SHOWN_LINES = 100


class GatewayProcess:
    """`recado run --config FILE` with `options`, started by entering the context and killed at its end if it is still there.

    `start` begins another process with the same configuration after a kill; all write to the same log file.
    """

    def __init__(self, config: Path, log: Path, *options: str, module: str = "gateway.cli") -> None:
        self.log = log
        self._command = [sys.executable, "-m", module, "run", "--config", str(config), *options]
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        if kind is not None:  # pytest shows it with what failed
            print(f"--- {self.log.name}", *self.log_text().splitlines()[-_SHOWN_LINES:], sep="\n")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the gateway was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process and return at once: it is ready when it does its work."""
        assert not self.running, "the gateway is running"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """End it at once with SIGKILL, as a machine that loses power would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM). A second time it should not drain any more."""
        assert self._process is not None, "the gateway was not started"
        self._process.send_signal(signal.SIGTERM)

    async def wait(self, timeout_s: float = 30) -> int:
        """Wait until it has ended and return its exit code; raise `subprocess.TimeoutExpired` if it does not end."""
        assert self._process is not None, "the gateway was not started"
        return await asyncio.to_thread(self._process.wait, timeout_s)

    def hang_up(self) -> None:
        """Ask it to read its configuration again (SIGHUP)."""
        assert self._process is not None, "the gateway was not started"
        self._process.send_signal(signal.SIGHUP)

    def step_clock(self) -> None:
        """Put its wall clock back by an hour; for one that runs as `tests.support.stepping`."""
        assert self._process is not None, "the gateway was not started"
        self._process.send_signal(signal.SIGUSR1)

    def skip_day(self) -> None:
        """Put its wall clock ahead by a day and an hour; for one that runs as `tests.support.stepping`."""
        assert self._process is not None, "the gateway was not started"
        self._process.send_signal(signal.SIGUSR2)

    def log_text(self) -> str:
        """Return what all processes so far have written."""
        return self.log.read_text(errors="replace")

    def assert_clean_log(self) -> None:
        """Fail if the log shows a bug: a traceback, a forgotten coroutine, a warning of the interpreter."""
        lines = self.log_text().splitlines()
        bad = [number for number, line in enumerate(lines) if any(sign in line for sign in _SIGNS_OF_A_BUG)]
        assert not bad, "\n".join(lines[max(0, bad[0] - 3) : bad[0] + 30])
