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


class Strangers:
    """How many cores were kept busy, from now on, by processes that do not belong to the run: what makes a figure worth less."""

    def __init__(self, ours: Callable[[], float]) -> None:
        """`ours` is the CPU time that the processes of the run have used, but for this one's."""
        self._ours = ours
        self._began = time.monotonic()
        self._used = self._others()

    def cores(self) -> float:
        return round((self._others() - self._used) / (time.monotonic() - self._began), 2)

    def _others(self) -> float:
        whole = psutil.cpu_times()
        busy: float = sum(whole) - whole.idle - whole.iowait - whole.guest - whole.guest_nice
        return busy - self._ours() - time.process_time()


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
