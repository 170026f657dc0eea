"""A token bucket that never grants too much: integer arithmetic, time as an argument."""

from math import floor, inf, nextafter

# Time and tokens are counted in integers, so that no rounding ever adds up to a token. A tick is 2**-30 s, just under
# a nanosecond: scaling a float by a power of two is exact, and a double holds whole ticks up to 97 days of uptime.
_TICKS_PER_S = float(1 << 30)
# A rate is an integer of 2**-30 tokens a second, hence a level is an integer of 2**-60 tokens.
_LEVEL_BITS = 60


class TokenBucket:
    """At most `burst + rate * T` tokens in any interval of `T` seconds, exactly, whatever the clock does.

    `now` is in seconds of a monotonic clock. Should it go back, nothing accrues until it has caught up with the latest
    time seen; should it jump forward, no more than `burst` has accrued. A new bucket is empty, because a full one would
    mint a burst at every restart of the process. Rate 0 is paused: nothing is granted, not even what is left.
    """

    __slots__ = ("_burst", "_level", "_rate", "_seen")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        """Make an empty bucket of `rate` tokens a second; ValueError for a rate below 0 or a burst below 1."""
        self._rate = _checked_rate(rate)
        self._burst = _checked_burst(burst)
        self._level = 0
        self._seen = _ticks_up(now)

    def __repr__(self) -> str:
        level = self._level / (1 << _LEVEL_BITS)
        return f"TokenBucket(rate={self.rate:g}, burst={self.burst}, level={level:g})"

    @property
    def rate(self) -> float:
        """Tokens a second, rounded down to a multiple of 2**-30."""
        return self._rate / _TICKS_PER_S

    @property
    def burst(self) -> int:
        """The most tokens that can ever be granted at once."""
        return self._burst >> _LEVEL_BITS

    def available(self, now: float) -> int:
        """Whole tokens that `take` would grant at `now`."""
        self._accrue(now)
        return self._level >> _LEVEL_BITS if self._rate else 0

    def take(self, n: int, now: float) -> int:
        """Grant up to `n` whole tokens; the caller uses all that it is granted, there is no giving back."""
        self._accrue(now)
        whole = self._level >> _LEVEL_BITS
        if n > whole:  # noqa: PLR1730  min() would cost as much as all the rest
            n = whole
        if n <= 0 or not self._rate:
            return 0
        self._level -= n << _LEVEL_BITS
        return n

    def wait(self, now: float, n: int = 1) -> float:
        """Seconds from `now` until `n` tokens are there (or `burst`, if that is less); infinite when paused.

        Added to `now`, it is a time at which `take` grants them, if nobody else takes any before.
        """
        self._accrue(now)
        if not self._rate:
            return inf
        missing = min(n << _LEVEL_BITS, self._burst) - self._level
        if missing <= 0:
            return 0.0
        ticks = self._seen - (-missing // self._rate)
        due = ticks / _TICKS_PER_S
        if due * _TICKS_PER_S < ticks:  # beyond 97 days a double is coarser than a tick
            due = nextafter(due, inf)
        delay = due - now
        return delay if now + delay >= due else nextafter(delay, inf)

    def set_rate(self, rate: float, now: float, burst: int | None = None) -> None:
        """Change the rate, and the burst if given, from `now` on.

        What accrued until `now` did so at the old rate and stays, cut to the new burst: no change mints a token.
        """
        new_rate = _checked_rate(rate)
        new_burst = self._burst if burst is None else _checked_burst(burst)
        self._accrue(now)
        self._rate = new_rate
        self._burst = new_burst
        self._level = min(self._level, new_burst)

    def _accrue(self, now: float) -> None:
        scaled = now * _TICKS_PER_S
        ticks = floor(scaled)
        seen = self._seen
        if ticks > seen:
            level = self._level + (ticks - seen) * self._rate
            self._level = level if level < self._burst else self._burst  # noqa: FURB136  as in take
            # The tick that `now` is inside of is forfeited: counting it from its start would count some time twice.
            self._seen = ticks if ticks == scaled else ticks + 1


def _ticks_up(now: float) -> int:
    return -floor(-now * _TICKS_PER_S)


def _checked_rate(rate: float) -> int:
    if not 0 <= rate < inf:
        raise ValueError(f"rate must be finite and not negative: {rate}")
    return floor(rate * _TICKS_PER_S)


def _checked_burst(burst: int) -> int:
    if burst < 1:
        raise ValueError(f"burst must be at least 1: {burst}")
    return burst << _LEVEL_BITS
