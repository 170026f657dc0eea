"""How many people a portfolio may reach in 24 hours outside an open service window, counted exactly over all processes.

META/messaging-limits: distinct people *delivered to* in a moving 24 hours, by all numbers of the portfolio together. So a message
has a place reserved before it is written; the place is confirmed when it is delivered, which is when the 24 hours begin, and
given up when it has certainly failed. What is never heard of keeps its place for a whole window: it may have been delivered.

The counting is `ratelimit.quota_script`'s, with what it says of clocks: a step back frees nothing early, a step ahead frees by so
much too early what is counted at that moment. All times are Unix milliseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from msgspec import Struct

from gateway.model import TrafficClass
from gateway.store import Patience, Script
from gateway.window import as_one
from ratelimit.quota_script import QUOTA_SCRIPT

DAY_MS = 86_400_000
_MARGIN_MS = 600_000
"""Added to Meta's day: clocks differ, and a delivery of which we never hear still counts for a day if it came within this."""
_LONGEST_S = 900.0
"""A message that has no place asks again after this at the latest: the limit may have been raised."""
_SOON_S = 30.0
"""One for which there is a place, were it not for more urgent ones that have yet to ask."""
ASIDE_MS = 10_000
"""How exactly it is known until when a message was put off."""
_NOBODY: Mapping[TrafficClass, int] = {}

_QUOTA = Script(QUOTA_SCRIPT)

# [places, now, which of those that become free next: first from 0, last] → [when, …]
_NEXT = Script("""
local a = cmsgpack.unpack(ARGV[1])
local from = string.format('(%.0f', a[2])
local rows = redis.call('ZRANGEBYSCORE', a[1], from, '+inf', 'WITHSCORES', 'LIMIT', a[3], a[4] - a[3] + 1)
local times = {}
for n = 2, #rows, 2 do times[#times + 1] = tonumber(rows[n]) end
return times
""")


class Wish(Struct, frozen=True):
    """A message that is about to be written: to which number, which attempt (`attempt_key`), and how urgent it is."""

    to: str
    attempt: str
    class_: TrafficClass
    window_open: bool = False
    """The person wrote within 24 hours: the message needs no place."""


class Answer(Struct, frozen=True):
    """What became of a wish. `wait_s` is 0 for what goes; otherwise seconds after which to ask again.

    `placed` is whether a place was reserved, which has to be confirmed or released, and so to be remembered with the message.
    """

    wait_s: float
    placed: bool = False
    had: bool = False
    """The attempt had it before: this is another copy of its message, or a second owner of the first."""


GOES = Answer(0.0)
_PLACED = (Answer(0.0, placed=True), Answer(0.0, placed=True, had=True))


class Portfolio:
    """The places of one portfolio as this process asks for them; `kept` are shares of the limit kept for classes.

    A class cannot use what is kept for more urgent ones, nor what those want that wait. A limit of None is unlimited: nothing
    is counted then, so a limit that comes later starts from nothing.
    """

    def __init__(self, name: str, store: Patience, prefix: str, kept: Mapping[TrafficClass, float]) -> None:
        self.name = name
        self.key = f"{prefix}places:{name}"
        """Of its places in the store; what else there is of it has a name that begins so."""
        self.kept = kept
        self.used = 0
        """As of the last call, for metrics."""
        self.denied = 0
        """Wishes that were not granted so far."""
        self.waiting: Mapping[TrafficClass, int] = {}
        """Messages without a place in all processes, as `shortage.py` saw them last, less those that have asked here since."""
        self.short: Mapping[TrafficClass, int] = {}
        """How many of them will have none within 24 hours."""
        self._store = store
        self._promised: deque[int] = deque()
        self._spoken: deque[int] = deque()
        """Until when some were put off for places that are only spoken for."""
        self._aside: Counter[str] = Counter()

    async def reserve(
        self,
        limit: int | None,
        wishes: Sequence[Wish],
        now_ms: int,
        behind: Mapping[TrafficClass, int] = _NOBODY,
    ) -> list[Answer]:
        """Reserve places for what is about to be written: one answer a wish, in their order; waits while the store is away.

        The most urgent classes are asked for first, and leave to the others what those `behind` them want, or those who wait
        elsewhere. Who counts already needs no other place, and counts for longer. A wish can be repeated: an attempt that has
        its place keeps it. So none is lost when a call is cut short.
        """
        answers = [GOES] * len(wishes)
        if limit is None:
            return answers
        limits = limits_of(limit, self.kept)
        urgency = list(TrafficClass)
        counted = sorted((urgency.index(wish.class_), n) for n, wish in enumerate(wishes) if not wish.window_open)
        asked = Counter(wish.class_ for wish in wishes)
        waiting = {class_: max(0, count - asked[class_]) for class_, count in self.waiting.items()}
        self.waiting = waiting
        for rank, group in groupby(counted, key=lambda one: one[0]):
            indexes = [n for _, n in group]
            first = sum(max(behind.get(class_, 0), waiting.get(class_, 0)) for class_ in urgency[:rank])
            of_class = max(0, limits[urgency[rank]] - first)
            ops: list[str | int] = []
            for n in indexes:
                attempt = (as_one(wishes[n].to), now_ms, wishes[n].attempt)
                ops += ("has", *attempt, "reserve", *attempt)
            results = await self._quota(of_class, ops)
            short = [n for n, ok in zip(indexes, results[1::2], strict=True) if not ok]
            for n, had in zip(indexes, results[::2], strict=True):
                answers[n] = _PLACED[had]
            if short:
                self.denied += len(short)
                soon = self._soon(limits[urgency[rank]] - self.used, len(short), now_ms)
                waits = soon + await self._waits(of_class, len(short) - len(soon), now_ms)
                for n, seconds in zip(short, waits, strict=True):
                    answers[n] = Answer(seconds)
                    self._aside[f"{int(now_ms + seconds * 1000) // ASIDE_MS}/{urgency[rank]}"] += 1
        return answers

    async def settle(
        self, delivered: Iterable[tuple[str, str]], failed: Iterable[tuple[str, str]], now_ms: int
    ) -> None:
        """Confirm and release places: (number, attempt) of messages that were `placed` and that have reached their end.

        Waits while the store is away. `delivered` counts from `now_ms` on; to repeat it counts from then, so only the first
        word of a delivery is to be told. `failed` must be certain: what may yet be delivered keeps its place.
        """
        ops: list[str | int] = []
        for to, attempt in delivered:
            ops += ("confirm", as_one(to), now_ms, attempt)
        for to, attempt in failed:
            ops += ("release", as_one(to), now_ms, attempt)
        if ops:
            await self._quota(0, ops)

    def seen(self, used: int, waiting: Mapping[TrafficClass, int], short: Mapping[TrafficClass, int]) -> None:
        """Note how it stands in all processes together."""
        self.used, self.waiting, self.short = used, waiting, short

    def take_aside(self) -> list[str | int]:
        """Return who was put off since the last call: when they ask again (in steps of `ASIDE_MS`) and class, and how many."""
        aside, self._aside = self._aside, Counter()
        return [value for pair in aside.items() for value in pair]

    async def _quota(self, limit: int, ops: list[str | int]) -> list[int]:
        argument = (self.key, limit, DAY_MS + _MARGIN_MS, ops)
        self.used, _, results = await self._store.run(_QUOTA, argument)
        return list(results)

    def _soon(self, places: int, count: int, now_ms: int) -> list[float]:
        """One wait for each place that is only spoken for: whoever those are for may count already.

        The others of a campaign would all come back for the same few.
        """
        spoken = self._spoken
        while spoken and spoken[0] <= now_ms:
            spoken.popleft()
        soon = max(0, min(count, places - len(spoken)))
        spoken.extend([now_ms + int(_SOON_S * 1000)] * soon)
        return [_SOON_S] * soon

    async def _waits(self, limit: int, count: int, now_ms: int) -> list[float]:
        """When to ask again: one for each place that becomes free, behind those that were promised one before."""
        promised = self._promised
        while promised and promised[0] <= now_ms:
            promised.popleft()
        first = max(0, self.used - limit) + len(promised)
        times = await self._store.run(_NEXT, (self.key, now_ms, first, first + count - 1))
        waits = []
        for at in times:
            seconds = (at - now_ms) / 1000
            if seconds > _LONGEST_S:
                break
            promised.append(at)
            waits.append(seconds)
        return waits + [_LONGEST_S] * (count - len(waits))


def limits_of(limit: int, kept: Mapping[TrafficClass, float]) -> dict[TrafficClass, int]:
    """Return how much of a limit each class may use: all but what is kept for more urgent ones."""
    limits = {}
    left = limit
    for class_ in TrafficClass:
        limits[class_] = max(0, left)
        left -= round(limit * kept.get(class_, 0.0))
    return limits
