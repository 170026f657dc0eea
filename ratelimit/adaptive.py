"""The rate that a provider stands at the moment: under the contract, cut by its complaints, growing back with time."""

from math import inf

SIGNAL_S = 1.0
"""Seconds in which all complaints count as one, whatever they are about: providers count by the second."""

_RAMP_START = 0.1  # of the contract
# Slow answers are a weaker sign than a complaint: a little a second, for as long as it lasts.
_SLOW_CUT = 0.95
_SLOW_WINDOWS = 2
_SLOW_FACTOR = 2.0
_SLOW_SLACK_S = 0.05  # below that, twice as slow is noise
# The quickest answers seen are forgotten at this pace, so that a provider may become slower for good.
_FORGET_S = 60.0


class Adaptive:
    """At most `contract` tokens a second, less after complaints, never less than `floor` of it unless held.

    `now` is in seconds of a monotonic clock that never goes back. `cut`, `floor` and the level are shares of the contract,
    so that a new contract keeps its distance from what the provider stands. `recover_s` is the time from nothing to all of
    the contract, in a straight line; `hold_s` the silence after a complaint; `ramp_s` the slow start of `restarted`.
    """

    __slots__ = (
        "_answers",
        "_contract",
        "_cut",
        "_drops",
        "_floor",
        "_grows_from",
        "_held_until",
        "_hold_s",
        "_level",
        "_quickest",
        "_ramp_from",
        "_ramp_s",
        "_recover_s",
        "_slow_windows",
        "_waited",
        "_window_from",
        "_window_quickest",
    )

    def __init__(
        self,
        contract: float,
        now: float,
        *,
        cut: float = 0.5,
        recover_s: float = 60.0,
        floor: float = 0.05,
        hold_s: float = SIGNAL_S,
        ramp_s: float = 0.0,
    ) -> None:
        """Begin with all of the contract; ValueError for what is no share, no time or no rate."""
        _check_manner(cut, recover_s, floor, hold_s, ramp_s)
        self._contract = _checked(contract)
        self._cut = cut
        self._floor = floor
        self._recover_s = recover_s
        self._hold_s = hold_s
        self._ramp_s = ramp_s
        self._level = 1.0
        self._grows_from = now
        self._held_until = -inf
        self._ramp_from = -inf
        self._drops: list[tuple[float, float]] = []
        """When the level fell, and from where: none that a later one was as high as."""
        self._quickest = inf
        self._window_from = now
        self._window_quickest = inf
        self._answers = self._slow_windows = 0
        self._waited = 0.0

    def __repr__(self) -> str:
        return f"Adaptive(contract={self._contract:g}, level={self._level:g})"

    def rate(self, now: float) -> float:
        """Tokens a second, from `now` until the next call of any method."""
        if now < self._held_until:
            return 0.0
        return self._contract * self._level_at(now)

    def throttled(self, sent: float, now: float, after: float | None = None) -> None:
        """Note that the provider complained: cut, and hold for `hold_s`, or for `after` seconds if it said how long.

        What it complained of was `sent` then, at no more than the highest rate since, so that is what is cut: more complaints
        about a window find it cut already, however long it takes to bounce. They hold for longer, though.
        """
        highest = self._highest_since(min(sent, now - SIGNAL_S), now)
        self._held_until = max(self._held_until, now + (self._hold_s if after is None else after))
        self._lower(highest * self._cut, now, self._held_until)

    def answered(self, n: int, latency_s: float, now: float) -> None:
        """Note `n` answers, which took about `latency_s` each.

        Answers that take more than twice the time that they can, for seconds on end, say that the provider queues what it
        gets. Only while there is enough under way to be the cause: at least what would be at this rate, were it quick.
        """
        self._answers += n
        self._waited += n * latency_s
        self._window_quickest = min(self._window_quickest, latency_s)
        elapsed = now - self._window_from
        if elapsed < SIGNAL_S or not self._answers:
            return
        self._quickest = min(self._quickest * (1 + elapsed / _FORGET_S), self._window_quickest)
        slow = self._waited / self._answers > _SLOW_FACTOR * self._quickest + _SLOW_SLACK_S
        in_flight = self._waited / elapsed
        level = self._level_at(now)
        if slow and in_flight >= self._contract * level * self._quickest:
            self._slow_windows += 1
            self._lower(level * _SLOW_CUT if self._slow_windows >= _SLOW_WINDOWS else level, now, now + SIGNAL_S)
        else:
            self._slow_windows = 0
        self._window_from = now
        self._window_quickest = inf
        self._answers = 0
        self._waited = 0.0

    def restarted(self, now: float) -> None:
        """Start slowly, from a tenth of the contract: the connection is new, and what it leads to may be, too."""
        if self._ramp_s:
            self._drop(self._level_at(now), now)
            self._ramp_from = now

    def configure(
        self, now: float, *, cut: float, recover_s: float, floor: float, hold_s: float, ramp_s: float
    ) -> None:
        """Go on otherwise, from where it is: no silence ends, no cut is forgotten. ValueError as at the beginning."""
        _check_manner(cut, recover_s, floor, hold_s, ramp_s)
        self._drop(self._level_at(now), now)
        if now - self._ramp_from >= self._ramp_s:
            self._ramp_from = -inf  # a longer one would begin again
        self._level = min(1.0, max(floor, self._level + max(0.0, now - self._grows_from) / self._recover_s))
        self._grows_from = max(self._grows_from, now)
        self._cut = cut
        self._floor = floor
        self._recover_s = recover_s
        self._hold_s = hold_s
        self._ramp_s = ramp_s

    def set_contract(self, rate: float, now: float) -> None:
        """Change the contract; of the new one there is the same share as of the old. ValueError for a rate below 0."""
        del now  # the level is a share, and does not change with it
        self._contract = _checked(rate)

    def _level_at(self, now: float) -> float:
        level = self._level
        if now > self._grows_from:
            level += (now - self._grows_from) / self._recover_s
        ramp = now - self._ramp_from
        if ramp < self._ramp_s:
            level = min(level, max(self._floor, _RAMP_START + (1 - _RAMP_START) * ramp / self._ramp_s))
        return level if level < 1.0 else 1.0  # noqa: FURB136  min() would cost as much as all the rest

    def _lower(self, level: float, now: float, until: float) -> None:
        """Bring the level down to this one, if it is higher, and let it grow again `until` then."""
        before = self._level_at(now)
        self._level = min(before, max(self._floor, level))
        self._grows_from = max(self._grows_from, until, now)
        if self._level < before:
            self._drop(before, now)

    def _drop(self, before: float, now: float) -> None:
        while self._drops and self._drops[-1][1] <= before:
            self._drops.pop()
        self._drops.append((now, before))

    def _highest_since(self, when: float, now: float) -> float:
        # It only falls by drops, and those that are kept are of ever lower levels.
        return max(self._level_at(now), next((level for at, level in self._drops if at >= when), 0.0))


def _check_manner(cut: float, recover_s: float, floor: float, hold_s: float, ramp_s: float) -> None:
    if not (0 < cut <= 1 and 0 < floor <= 1 and recover_s > 0 and hold_s >= 0 and ramp_s >= 0):
        raise ValueError(
            "cut and floor must be above 0 and at most 1, recover_s above 0, hold_s and ramp_s not negative"
        )


def _checked(rate: float) -> float:
    if not 0 <= rate < inf:
        raise ValueError(f"rate must be finite and not negative: {rate}")
    return rate
