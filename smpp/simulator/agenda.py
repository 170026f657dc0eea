"""Two measures of time for the simulator, both told what time it is."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import floor
from typing import Generic, TypeVar

__all__ = ["Agenda", "SlidingWindow"]

T = TypeVar("T")


class Agenda(Generic[T]):
    """Items and the times they are due. With a `resolution` (seconds) those due at nearly the same time are one batch,
    none of them early."""

    __slots__ = ("_items", "_resolution", "_times")

    def __init__(self, resolution: float = 0.0) -> None:
        self._resolution = resolution
        self._times: list[float] = []
        self._items: dict[float, list[T]] = {}

    def add(self, due: float, item: T) -> None:
        if self._resolution:
            due = (floor(due / self._resolution) + 1) * self._resolution
        items = self._items.get(due)
        if items is None:
            self._items[due] = [item]
            heappush(self._times, due)
        else:
            items.append(item)

    @property
    def next_due(self) -> float | None:
        return self._times[0] if self._times else None

    def take(self, now: float) -> list[T]:
        """Everything due by `now`, earliest first, and of the same time in the order it was added."""
        taken: list[T] = []
        times = self._times
        while times and times[0] <= now:
            taken += self._items.pop(heappop(times))
        return taken


class SlidingWindow:
    """Admits so many events in any second: exact, unlike a bucket, as operators that count are."""

    __slots__ = ("_admitted", "_limit")

    def __init__(self, per_second: float) -> None:
        self._limit = per_second
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        admitted = self._admitted
        while admitted and now - admitted[0] >= 1.0:
            admitted.popleft()
        if len(admitted) >= self._limit:
            return False
        admitted.append(now)
        return True
