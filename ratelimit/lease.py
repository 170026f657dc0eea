"""One limit shared by any number of processes through Redis: together at most `burst + rate * T` tokens in any `T` seconds.

Each process holds a *share* of the rate and of the burst, and grants from a bucket of its own. What the rows of all processes
say that they use never exceeds the contract, because a share shrinks in two steps and grows in one: the store names a lower
share, the process lowers its bucket at once and *reports* what it uses with its next call, and only then others may have the
difference; an increase is taken from what nobody uses.

No wall clock is asked, neither Redis' TIME nor the life of a key:

- A process counts its own share as lapsed `ttl_s` after the last answered call was *sent*, and empties its bucket. So it
  outlives Redis by that long and then stops.
- Each call raises the *beat* of its row. Whoever has seen a beat stand still for `ttl_s + margin_s` says so, and the store
  removes the row if the beat is still the same: its process has lapsed before. The margin is for clocks of unequal speed.
- A store that has lost its memory begins a *generation*: processes say what they use and keep it, and nobody gets more until
  one has watched the generation for `ttl_s + margin_s`. Whoever has not reported by then has lapsed. A store that restarts
  with an old snapshot is known by its run_id; without that, it would hand out what has been handed out since.

The clocks of the processes may show anything, but they must run at nearly the same speed and never stop: a machine that is
suspended under its processes breaks the promise. So does a Redis with two masters at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import floor, inf
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from ratelimit.bucket import TokenBucket
from ratelimit.lease_script import LEASE_SCRIPT

if TYPE_CHECKING:  # whoever brings another runner needs no redis-py
    from redis.asyncio import Redis

SLICE_S = 0.1
"""Seconds between two calls: demand is measured over one, and no wait is longer, since the next may bring a larger share."""

# Shares are integers, so that their sum is exact. The scale is a power of two, so that the bucket gets exactly the share.
_UNITS_PER_TOKEN = 1 << 20
_MOST_UNITS = 1 << 52  # Lua's numbers are doubles
_TURN_S = 1.0


class Lease:
    """A bucket of which this process holds a share; `request` and `answered` carry the share to and from the store.

    `now` is in seconds of this process' monotonic clock, the same for all methods. `rate` (tokens a second, 0 pauses) and
    `burst` are the contract of all processes together; as long as they do not agree, the lowest that any has told counts.
    `holder` names this process' life: no other, and no later one, may use it.

    Only one request is under way at a time. Making the next one says that the last has failed: an answer to it that comes
    later is ignored.
    """

    __slots__ = (
        "_beat",
        "_bucket",
        "_burst",
        "_contract_burst",
        "_contract_rate",
        "_demands",
        "_first_use",
        "_generation",
        "_granted",
        "_holder",
        "_margin_s",
        "_measured",
        "_owes",
        "_rate",
        "_reported",
        "_seated",
        "_sent",
        "_short",
        "_ttl_s",
        "_until",
        "_urgent",
        "_wanted",
        "_watched",
        "_watched_generation",
        "name",
    )

    def __init__(
        self, name: str, rate: float, burst: int, *, holder: str = "", ttl_s: float = 2.0, margin_s: float = 0.5
    ) -> None:
        """Make a lease that holds nothing yet; ValueError for a rate below 0 or a burst below 1."""
        self.name = name
        self._holder = holder or uuid4().hex
        self._ttl_s = ttl_s
        self._margin_s = margin_s
        self._contract_rate, self._contract_burst = _units(rate, burst)
        self._rate = self._burst = 0
        self._bucket: TokenBucket | None = None  # there is one as long as there is a share of the burst
        self._until = -inf
        self._seated = inf
        self._owes = False
        self._beat = 0
        self._sent: float | None = None
        self._reported = False
        self._first_use = False
        self._generation = ""
        self._watched_generation = inf
        self._watched: dict[str, tuple[int, float]] = {}
        self._wanted = self._short = self._granted = 0
        self._urgent = False
        self._measured = -inf
        self._demands = (0, 0)

    def __repr__(self) -> str:
        return f"Lease({self.name!r}, rate={self.rate:g}, burst={self.burst}, {self._bucket!r})"

    @property
    def rate(self) -> float:
        """This process' share, in tokens a second."""
        return self._rate / _UNITS_PER_TOKEN

    @property
    def burst(self) -> int:
        """The most tokens that can be granted at once: this process' share of the burst."""
        return self._burst

    @property
    def owes(self) -> bool:
        """Whether a good part of the share has been given up, which others can have only after the next call."""
        return self._owes

    def available(self, now: float) -> int:
        """Whole tokens that `take` would grant at `now`."""
        if now > self._until:
            self._lapse()
        return self._bucket.available(now) if self._bucket else 0

    def take(self, n: int, now: float) -> int:
        """Grant up to `n` whole tokens; the caller uses all that it is granted, there is no giving back."""
        if now > self._until:
            self._lapse()
        granted = self._bucket.take(n, now) if self._bucket else 0
        self._granted += granted
        if n - granted > self._short:  # noqa: PLR1730  max() would cost as much as the bucket
            self._short = n - granted
        return granted

    def want(self, n: int, *, urgent: bool = False) -> None:
        """Say how many tokens could be used now beyond those granted; stands until it is said again.

        Needed where `take` does not show it, as in a chain, which never asks for more than there is. Where processes take turns,
        whoever has something `urgent` among it goes first.
        """
        self._wanted = n
        self._urgent = urgent

    def wait(self, now: float, n: int = 1) -> float:
        """Seconds from `now` after which to ask again: when `n` tokens are there (or `burst`), but never more than a slice.

        Infinite when the contract is paused.
        """
        if not self._contract_rate:
            return inf
        if now > self._until:
            self._lapse()
        return min(SLICE_S, self._bucket.wait(now, n)) if self._bucket else SLICE_S

    def set_limit(self, rate: float, burst: int, now: float) -> None:
        """Change the contract. What is lower counts here at once and everywhere after the next calls; nothing is minted."""
        self._contract_rate, self._contract_burst = _units(rate, burst)
        self._hold(self._rate, self._burst, now)

    def first_use(self) -> None:
        """Say before the first call that this limit was never used by anybody, so that nobody can still hold a share of it.

        Whoever knows that need not watch a new generation first. To be wrong about it is to break the limit once. It holds
        for the first call only: after that, others may have got shares before the store lost its memory.
        """
        self._first_use = self._beat == 0

    def request(self, now: float) -> list[Any]:
        """Begin a call: what to tell the script of this lease, to be sent after `now`. It can be repeated as it is."""
        if now > self._until:
            self._lapse()
        self._measure(now)
        return self._call(now, leaving=False)

    def release(self, now: float) -> list[Any]:
        """Give everything back: the last request. From here on nothing is granted, unless `request` joins again."""
        self._lapse()
        return self._call(now, leaving=True)

    def answered(self, reply: Sequence[Any], now: float) -> None:
        """End a call with what the script answered to its request."""
        beat, generation, rate, burst, others = reply
        if beat != self._beat or self._sent is None:
            return
        sent, self._sent = self._sent, None
        self._watch(_text(generation), others, now)
        if now > self._until:
            self._lapse()
            if self._reported:
                # What was reported as used had lapsed before this answer came: the store may have given it to others in the
                # meantime and then have believed the report. The next one says that nothing is used.
                return
        self._until = sent + self._ttl_s
        self._owes = rate < self._rate - self._rate // 8 or burst < self._burst - self._burst // 8
        self._hold(rate, burst, now)

    def _call(self, now: float, *, leaving: bool) -> list[Any]:
        self._beat += 1
        self._sent = now
        self._reported = self._rate > 0 or self._burst > 0
        self._owes = False
        patience = self._ttl_s + self._margin_s
        # Long enough to have got what was waited for: the whole burst, at the whole rate, twice.
        filled = 2 * self._contract_burst * _UNITS_PER_TOKEN / self._contract_rate if self._contract_rate else inf
        seated = now - self._seated
        still = [
            value
            for holder, (beat, since) in self._watched.items()
            if now - since > patience
            for value in (holder, beat)
        ]
        return [
            self.name,
            self._holder,
            self._beat,
            self._generation,
            now - self._watched_generation > patience,
            leaving,
            self._rate,
            self._burst,
            self._contract_rate,
            self._contract_burst,
            max(self._demands),
            self._urgent,
            seated > filled,
            seated > max(_TURN_S, filled),
            still,
        ]

    def _measure(self, now: float) -> None:
        """Demand in units a second; the greater of the last two slices counts, so that a gap in the work costs no share."""
        elapsed = now - self._measured
        if elapsed < SLICE_S / 2:  # a second call in one slice
            return
        backlog = max(self._short, self._wanted)
        demand = floor((self._granted / elapsed + backlog / SLICE_S) * _UNITS_PER_TOKEN)
        self._demands = (self._demands[1], min(demand, _MOST_UNITS))
        self._granted = self._short = 0
        self._measured = now

    def _watch(self, generation: str, others: Sequence[Any], now: float) -> None:
        if generation != self._generation:
            self._generation = generation
            self._watched_generation = -inf if self._first_use and self._beat == 1 else now
        seen = {}
        for n in range(0, len(others), 2):
            holder, beat = _text(others[n]), others[n + 1]
            known = self._watched.get(holder)
            seen[holder] = known if known and known[0] == beat else (beat, now)
        self._watched = seen

    def _hold(self, rate: int, burst: int, now: float) -> None:
        """Use a share, or what the contract leaves of it, from `now` on."""
        self._rate = min(rate, self._contract_rate)
        self._burst = min(burst, self._contract_burst)
        if not self._burst:
            self._empty()
        elif self._bucket:
            self._bucket.set_rate(self.rate, now, self._burst)
        else:
            self._bucket = TokenBucket(self.rate, self._burst, now)
            self._seated = now

    def _lapse(self) -> None:
        self._until = -inf
        self._rate = self._burst = 0
        self._empty()

    def _empty(self) -> None:
        # What was left in the bucket is lost: the burst that it was part of goes to another process, empty.
        self._bucket = None
        self._seated = inf


Run = Callable[[bytes], Awaitable[Sequence[Any]]]


class Keeper:
    """Carries the requests of all leases of a process to the store, in one call a slice.

    `run` calls `LEASE_SCRIPT` with one argument and gives its answer; it needs a time limit of its own, well below `ttl_s`.
    When it raises one of `failures`, the leases live on what they have until they lapse, and the next slice calls again.
    `leases` may change between calls. `clock` is the one that the leases are asked with.
    """

    def __init__(
        self,
        leases: Collection[Lease],
        run: Run,
        *,
        prefix: str,
        clock: Callable[[], float],
        failures: tuple[type[Exception], ...],
        slice_s: float = SLICE_S,
    ) -> None:
        self._leases = leases
        self._run = run
        self._prefix = prefix
        self._clock = clock
        self._failures = failures
        self._slice_s = slice_s
        self._closing = asyncio.Event()

    async def keep(self) -> None:
        """Call once a slice until `close`, then give everything back and return.

        Cancelling is what a crash is: nothing is given back, and others wait until they see that the beats stand still.
        """
        while not self._closing.is_set():
            due = self._clock() + self._slice_s
            await self._call(Lease.request)
            if any(lease.owes for lease in self._leases):
                await self._call(Lease.request)
            try:
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await self._closing.wait()
            except TimeoutError:
                pass
        await self._call(Lease.release)

    def close(self) -> None:
        """Make `keep` return after one last call."""
        self._closing.set()

    async def _call(self, request: Callable[[Lease, float], list[Any]]) -> None:
        leases, now = tuple(self._leases), self._clock()
        argument = msgspec.msgpack.encode([self._prefix, [request(lease, now) for lease in leases]])
        try:
            replies = await self._run(argument)
        except self._failures:
            return
        now = self._clock()
        for lease, reply in zip(leases, replies, strict=True):
            lease.answered(reply, now)


def redis_runner(client: Redis) -> Run:
    """Make a `run` for `Keeper` of a redis-py client; what it raises are redis.exceptions.RedisError."""
    script = client.register_script(LEASE_SCRIPT)

    async def run(argument: bytes) -> Sequence[Any]:
        replies: Sequence[Any] = await script(args=[argument])
        return replies

    return run


def _units(rate: float, burst: int) -> tuple[int, int]:
    bucket = TokenBucket(rate, burst, 0.0)  # which refuses what is no limit
    return floor(bucket.rate * _UNITS_PER_TOKEN), bucket.burst


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
