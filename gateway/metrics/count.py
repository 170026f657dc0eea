"""What stages count with: a batch's worth at once, in plain numbers that a scrape reads. Pure; times are seconds.

Nothing here is by message: of those that came together one stands for all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

MOST_CODES = 100
"""Codes come from providers, and some put into them whatever they like."""
OTHER = "other"
"""The code under which all are counted beyond those."""


class Histogram:
    """How many observations were within each bound; the last bucket has all that were beyond."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """Each without those below it."""
        self.total = 0.0
        """The sum of all that was observed."""

    def observe(self, value: float, times: int = 1) -> None:
        self.buckets[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Tally(dict[str, int]):
    """Counts by codes, of which only the first `MOST_CODES` are told apart."""

    def __missing__(self, code: str) -> int:
        return 0

    def add(self, code: str, times: int = 1) -> None:
        if code not in self and len(self) >= MOST_CODES:
            code = OTHER
        self[code] += times


class Line:
    """How long those waited who stand in a line, known from its length: first in, first out, batch by batch.

    Who is put back in front counts as new; should the line have got shorter unseen, the oldest have left. So it may be wrong
    about some, and never for longer than until the line is empty.
    """

    __slots__ = ("_batches", "_length", "_paced", "_waited")

    def __init__(self, waited: Histogram, paced: Histogram) -> None:
        """`waited` is told of the time since a batch came into being, `paced` of that since it joined."""
        self._waited = waited
        self._paced = paced
        self._batches: deque[tuple[float, float, int]] = deque()
        self._length = 0

    def joined(self, length: int, since: float, now: float) -> None:
        """Note that the line is so long after some joined its end who have been waiting `since` then."""
        if length > self._length:
            self._batches.append((since, now, length - self._length))
        self._length = length

    def left(self, length: int, now: float) -> None:
        """Note that the line is so long after some left its head."""
        gone = self._length - length
        self._length = length
        batches = self._batches
        while gone > 0 and batches:
            since, joined, count = batches.popleft()
            if count > gone:
                batches.appendleft((since, joined, count - gone))
                count = gone
            gone -= count
            self._waited.observe(now - since, count)
            self._paced.observe(now - joined, count)
        if not length:
            batches.clear()

    def clear(self) -> None:
        """Forget who stood in line: somebody else has them."""
        self._batches.clear()
        self._length = 0

    def oldest(self) -> float | None:
        """Return since when the first in the line has been waiting; None when nobody stands there."""
        return self._batches[0][0] if self._batches else None
