"""At most so many distinct keys in any window of time, such as the recipients whom a number may reach in 24 hours."""

from heapq import heapify, heappop, heappush, nsmallest
from math import inf

_SLACK = 64  # entries of the heap that may be out of date, beyond as many as there are keys


class _Key:
    """What one key counts for: until when as delivered, and until when as each attempt that may still be delivered."""

    __slots__ = ("delivered", "entry", "pending")

    def __init__(self) -> None:
        self.delivered = -inf
        self.pending: dict[str, float] = {}
        self.entry = inf
        """The earliest entry in the heap."""

    @property
    def until(self) -> float:
        return max(self.delivered, *self.pending.values()) if self.pending else self.delivered


class Quota:
    """At most `limit` distinct keys at a time, each counted from its reservation until `window` after its last delivery.

    Hence at most `limit` distinct keys are delivered in any span of `window`, provided that deliveries are confirmed when
    they happen and happen within `window` of their reservation: at the end of the span, all of them are still counted. What
    is delivered later than that is counted from then on, even beyond the limit.

    An attempt that is neither confirmed nor released counts for a whole window, since it may be delivered after all. A key
    that is counted anyway is granted without asking the limit, and counts for longer.

    `now` and `window` are in one unit, of a clock that may go back: then no time passes until it has caught up. If it jumps
    ahead, slots become free by so much too early; those taken until it is right again are kept for so much longer.
    """

    __slots__ = ("_heap", "_keys", "_limit", "_now", "_window")

    def __init__(self, limit: int, window: float) -> None:
        """Begin with nothing counted; ValueError for a limit below 0 or a window that is not above 0."""
        if not 0 < window < inf:
            raise ValueError(f"window must be above 0: {window}")
        self._limit = _checked(limit)
        self._window = window
        self._now = -inf
        self._keys: dict[str, _Key] = {}
        self._heap: list[tuple[float, str]] = []

    def __repr__(self) -> str:
        return f"Quota(used={len(self._keys)}, limit={self._limit}, window={self._window:g})"

    def reserve(self, key: str, now: float, attempt: str = "") -> bool:
        """Count `key` for an attempt that is about to be made; False when the limit does not allow it.

        Attempts of one key have different names, so that each can be told to have failed. To repeat a call changes nothing;
        an attempt that is reserved again later counts from then.
        """
        self._pass(now)
        counted = self._keys.get(key)
        if counted is None:
            if len(self._keys) >= self._limit:
                return False
            counted = self._keys[key] = _Key()
        counted.pending[attempt] = self._end(now, counted.pending.get(attempt, -inf))
        self._enter(key, counted)
        return True

    def confirm(self, key: str, now: float, attempt: str = "") -> None:
        """Note that the attempt was delivered: the window of its key starts anew."""
        self._pass(now)
        counted = self._keys.get(key)
        if counted is None:
            counted = self._keys[key] = _Key()
        repeated = counted.pending.pop(attempt, -inf) <= self._now
        counted.delivered = self._end(now, counted.delivered if repeated else -inf)
        self._enter(key, counted)

    def release(self, key: str, attempt: str = "") -> None:
        """Note that the attempt has failed for certain: it no longer counts. Unknown ones are ignored."""
        counted = self._keys.get(key)
        if counted is not None and counted.pending.pop(attempt, None) is not None:
            self._enter(key, counted)

    def set_limit(self, limit: int) -> None:
        """Change the limit. What is counted beyond a lower one stays counted; ValueError for a limit below 0."""
        self._limit = _checked(limit)

    def used(self, now: float) -> int:
        """Distinct keys that count at `now`."""
        self._pass(now)
        return len(self._keys)

    def left(self, now: float) -> int:
        """How many more distinct keys could be reserved at `now`."""
        return max(0, self._limit - self.used(now))

    def next_free(self, now: float) -> float:
        """Return when another key can be reserved, if nothing happens until then: `now` if it can; infinite if it never can.

        Takes time in proportion to the keys while more are counted than allowed, as after a reduction of the limit.
        """
        excess = self.used(now) - self._limit
        if excess < 0:
            return now
        if not self._limit:
            return inf
        if excess:
            return nsmallest(excess + 1, (counted.until for counted in self._keys.values()))[-1]
        return self._earliest()

    def _end(self, now: float, before: float) -> float:
        """When something stops counting that counted until `before`, if that is not over: a call may be repeated."""
        return max(before, now + self._window) if before > self._now else self._now + self._window

    def _pass(self, now: float) -> None:
        self._now = max(self._now, now)
        while self._keys and self._earliest() <= self._now:
            del self._keys[heappop(self._heap)[1]]

    def _earliest(self) -> float:
        """Bring the key that stops counting first to the top of the heap, and return when."""
        heap = self._heap
        while True:
            entry, key = heap[0]
            counted = self._keys.get(key)
            if counted is None or counted.entry != entry:
                heappop(heap)
                continue
            until = counted.until
            if until == entry:
                return entry
            heappop(heap)
            counted.entry = until
            heappush(heap, (until, key))

    def _enter(self, key: str, counted: _Key) -> None:
        """See that the heap has an entry for a key no later than it stops counting: a later end is found when it is due."""
        until = counted.until
        if until >= counted.entry:
            return
        counted.entry = until
        heappush(self._heap, (until, key))
        if len(self._heap) > 2 * len(self._keys) + _SLACK:
            self._heap = [(one.entry, name) for name, one in self._keys.items()]
            heapify(self._heap)


def _checked(limit: int) -> int:
    if limit < 0:
        raise ValueError(f"limit must not be negative: {limit}")
    return limit
