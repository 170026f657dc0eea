"""CPU time and memory of processes and all their children, the dead ones included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import psutil

_SAMPLE_S = 0.1


class TreeMeter:
    """`roots` is asked at each sample, for a peer may be started again; a process that has ended stays at what was last seen."""

    def __init__(self, roots: Callable[[], Mapping[str, int]]) -> None:
        self._roots = roots
        self._used: dict[str, dict[int, float]] = {}
        self._peaks: dict[str, int] = {}
        self.peak_rss = 0
        """Octets, of all at the same moment; pages that two processes share count twice."""
        self._idle = 0.0
        self._began = 0.0
        self._own = psutil.Process()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_S)

    def sample(self) -> None:
        together = 0
        for name, root in self._roots().items():
            used = self._used.setdefault(name, {})
            rss = 0
            for process in _tree(root):
                try:
                    times = process.cpu_times()
                    rss += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                used[process.pid] = times.user + times.system
            self._peaks[name] = max(self._peaks.get(name, 0), rss)
            together += rss
        self.peak_rss = max(self.peak_rss, together)

    def cpu_s(self) -> dict[str, float]:
        """User and system time of each since its processes began."""
        self.sample()
        return {name: sum(used.values()) for name, used in self._used.items()}

    def peaks_mb(self) -> dict[str, float]:
        return {name: round(peak / 1e6, 1) for name, peak in self._peaks.items()}


class Load:
    """How many cores were kept busy between two moments, by anybody."""

    def __init__(self) -> None:
        self._began, self._busy = time.monotonic(), _busy()

    def cores(self) -> float:
        return round((_busy() - self._busy) / max(time.monotonic() - self._began, 1e-3), 2)


def _busy() -> float:
    whole = psutil.cpu_times()
    busy: float = sum(whole) - whole.idle - whole.iowait - whole.guest - whole.guest_nice
    return busy


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
