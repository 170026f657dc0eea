"""How often one person may be written to from one number: with Meta once in 6 seconds, and up to 45 times at once on credit.

META/throughput: a burst borrows from what comes, 20 messages are paid back in two minutes. So each pair of number and person has
a bucket, which is kept as one time: when it will be full again. A pair whose bucket is full need not be remembered.

A person's messages of a lane go to one partition, so one process knows a pair. When partitions move, the next one does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_AFTER_TAKEOVER = 1
"""What a takeover may mint for a pair. With none the first message to everybody would have to wait."""
_STEPS = 4
"""Refusals after which the wait grows no more: 4^4 s are four minutes."""
_SWEEP = 1024
"""Pairs that are remembered before anybody looks which of them are full."""


class _Slow:
    """A pair that was refused, or of which something waits."""

    __slots__ = ("refusals", "spoken_for", "until")

    def __init__(self) -> None:
        self.refusals = 0
        self.until = 0.0
        self.spoken_for = 0.0


class Pairs:
    """The pairs of one number in this process; `now` is monotonic seconds, `jitter` gives numbers from 0 up to 1.

    In any `T` seconds a person gets at most `burst + T / every_s` parts, and for each takeover in them one more.
    """

    __slots__ = ("_burst_s", "_every_s", "_full_at", "_jitter", "_slow", "_sweep_at", "_taken_over")

    def __init__(self, every_s: float, burst: int, now: float, jitter: Callable[[], float] = random.random) -> None:
        """Begin as after a takeover: a process that was here before may have written."""
        self._every_s = every_s
        self._burst_s = burst * every_s
        self._jitter = jitter
        self._full_at: dict[str, float] = {}
        self._slow: dict[str, _Slow] = {}
        self._sweep_at = _SWEEP
        self.taken_over(now)

    def __len__(self) -> int:
        """Pairs that are remembered."""
        return len(self._full_at)

    def taken_over(self, now: float) -> None:
        """Note that slots of this number came from elsewhere: whatever their pairs had may be used up, but for one part."""
        self._taken_over = now + self._burst_s - _AFTER_TAKEOVER * self._every_s

    def configure(self, every_s: float, burst: int, now: float) -> None:
        """Go on with another limit. What a pair has used of the old one counts, but for no more than the new burst."""
        scale = every_s / self._every_s
        self._every_s = every_s
        self._burst_s = burst * every_s
        self._full_at = {who: now + min((at - now) * scale, self._burst_s) for who, at in self._full_at.items()}
        for slow in self._slow.values():
            slow.spoken_for = now + (slow.spoken_for - now) * scale
        taken_over = (self._taken_over - now) * scale
        self._taken_over = now + min(taken_over, self._burst_s - _AFTER_TAKEOVER * every_s)

    def wait(self, recipient: str, parts: int, now: float) -> float:
        """Seconds after which to ask again, or 0 with the tokens taken: it goes now.

        Each that has to wait is told a later time than the one before, so that they do not all come back for one token.
        """
        full_at = max(self._full_at.get(recipient, 0.0), self._taken_over, now)
        cost = min(parts * self._every_s, self._burst_s)
        ready = full_at + cost - self._burst_s
        slow = self._slow.get(recipient) if self._slow else None
        if ready <= now and (slow is None or slow.until <= now):
            self._full_at[recipient] = full_at + cost
            if len(self._full_at) >= self._sweep_at:
                self._sweep(now)
            return 0.0
        if slow is None:
            slow = self._slow[recipient] = _Slow()
        slow.spoken_for = max(slow.spoken_for + cost, slow.until, ready)
        return slow.spoken_for - now

    def refused(self, recipient: str, now: float) -> float:
        """Note that the provider refused the pair (131056), and return for how many seconds nothing goes to it.

        Its bucket was empty, whatever ours was. META/support/error-codes: wait 4^X s after the Xth refusal; with full jitter.
        """
        slow = self._slow.get(recipient) or self._slow.setdefault(recipient, _Slow())
        slow.refusals += 1
        self._full_at[recipient] = max(self._full_at.get(recipient, 0.0), now + self._burst_s)
        slow.until = now + max(self._every_s, self._jitter() * 4.0 ** min(slow.refusals, _STEPS))
        slow.spoken_for = max(slow.spoken_for, slow.until)
        return slow.until - now

    def accepted(self, recipient: str) -> None:
        """Note that the provider took one: the refusals before it are forgiven."""
        if self._slow and (slow := self._slow.get(recipient)) is not None:
            slow.refusals = 0

    def _sweep(self, now: float) -> None:
        """Forget who is full again. Next time when there are twice as many, which makes this a constant for each."""
        unknown = max(now, self._taken_over)
        self._full_at = {who: full_at for who, full_at in self._full_at.items() if full_at > unknown}
        self._slow = {who: slow for who, slow in self._slow.items() if who in self._full_at or slow.spoken_for > now}
        self._sweep_at = max(_SWEEP, 2 * len(self._full_at))
