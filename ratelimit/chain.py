"""Several limits on one flow: what passes must pass all of them."""

from collections.abc import Iterable
from typing import Protocol


class Bucket(Protocol):
    """What a chain needs of its links, and is itself."""

    @property
    def burst(self) -> int:
        """The most tokens that can ever be granted at once."""
        ...

    def available(self, now: float) -> int:
        """Whole tokens that `take` at the same `now` would grant."""
        ...

    def take(self, n: int, now: float) -> int:
        """Grant up to `n` tokens."""
        ...

    def wait(self, now: float, n: int = 1) -> float:
        """Seconds from `now` until `n` tokens are there (or `burst`, if that is less); infinite when paused."""
        ...


class Chain:
    """Grants what the scarcest of its buckets grants, and takes exactly that from each of them.

    The buckets are distinct and may belong to other chains too, as one account's bucket belongs to every sender's
    chain; a chain holds no tokens of its own.
    """

    __slots__ = ("_buckets",)

    def __init__(self, buckets: Iterable[Bucket]) -> None:
        """Chain at least one bucket: ValueError for none, as that would be no limit at all."""
        self._buckets = tuple(buckets)
        if not self._buckets:
            raise ValueError("a chain needs at least one bucket")

    def __repr__(self) -> str:
        return f"Chain({list(self._buckets)!r})"

    @property
    def burst(self) -> int:
        """The most tokens that can ever be granted at once."""
        return min(bucket.burst for bucket in self._buckets)

    def available(self, now: float) -> int:
        """Whole tokens that `take` would grant at `now`."""
        return min(bucket.available(now) for bucket in self._buckets)

    def take(self, n: int, now: float) -> int:
        """Grant up to `n` whole tokens; the caller uses all that it is granted, there is no giving back."""
        # All are asked before any is taken from: a token taken from one and then not from the next would be lost.
        for bucket in self._buckets:
            n = min(n, bucket.available(now))
        if n <= 0:
            return 0
        for bucket in self._buckets:
            bucket.take(n, now)
        return n

    def wait(self, now: float, n: int = 1) -> float:
        """Seconds from `now` until `n` tokens are there (or `burst`, if that is less); infinite when one is paused."""
        n = min(n, self.burst)
        return max(bucket.wait(now, n) for bucket in self._buckets)
