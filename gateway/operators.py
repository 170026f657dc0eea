"""Which network really serves a number: learned from receipts that say so, since prefixes do not tell where numbers are
portable.

A process asks the store once for the numbers of a batch and remembers the answers for a while; what receipts teach it is
stored with a time to live, since people change their operator. Only a configuration with a route by operator needs any
of it: in the store a number takes some 100 octets. Networks are MCC and MNC, five or six digits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from gateway.route_config import network
from gateway.store import Patience, Script

TTL_S = 30 * 86_400
"""How long an operator is believed."""

# [prefix, ttl, [number, network, …]]
STORE = Script("""
local a = cmsgpack.unpack(ARGV[1])
for n = 1, #a[3], 2 do
  redis.call('SET', a[1] .. 'n:' .. a[3][n], a[3][n + 1], 'EX', a[2])
end
return #a[3] / 2
""")

# [prefix, [number, …]]; answers a network or nil for each.
LOOK_UP = Script("""
local a = cmsgpack.unpack(ARGV[1])
local answers = {}
for n, number in ipairs(a[2]) do
  answers[n] = redis.call('GET', a[1] .. 'n:' .. number)
end
return answers
""")

_KNOWN_S = 3600.0
"""How long a process believes its own memory: what others learned meanwhile is in the store."""
_ABSENT_S = 300.0
"""The same for a number of which the store knew nothing."""
_STORE_S = 1.0
"""Between two times at which what receipts taught is stored."""


def from_tlv(value: bytes) -> str:
    """Return the network in a vendor's parameter of a receipt, or an empty text; read are ASCII digits, with a hyphen or not.

    No specification says how such a parameter looks: one of another form is not guessed at.
    """
    return network(value.rstrip(b"\0").decode("ascii", "replace")) or ""


class Learned:
    """What this process knows of the networks of numbers; at most `capacity` numbers, the longest unused leave first.

    At most `unstored` of what receipts taught wait for the store, more than a process gets receipts in a second.
    """

    def __init__(self, capacity: int = 100_000, unstored: int = 20_000) -> None:
        self._half = max(1, capacity // 2)
        self._unstored = unstored
        # Number → network and until when (monotonic seconds); two generations, so that leaving costs nothing.
        self._young: dict[str, tuple[str, float]] = {}
        self._old: dict[str, tuple[str, float]] = {}
        self._taught: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, to: str, now: float) -> str:
        """Return the network of a number, empty when this process does not know it."""
        return self._recall(to, now) or ""

    def missing(self, numbers: Iterable[str], now: float) -> list[str]:
        """Return those for which the store has to be asked, each once."""
        return [to for to in dict.fromkeys(numbers) if self._recall(to, now) is None]

    def fill(self, numbers: Sequence[str], answers: Sequence[bytes | None], now: float) -> None:
        """Remember what the store answered to `LOOK_UP` for `numbers`, nothing included."""
        for to, answer in zip(numbers, answers, strict=True):
            self._keep(to, answer.decode() if answer else "", now + (_KNOWN_S if answer else _ABSENT_S))

    def teach(self, to: str, network: str, now: float) -> None:
        """Note what a receipt says; what is new or long ago goes to the store with the next `taught`.

        What finds no room there is not noted at all, so that the next receipt of that number teaches it.
        """
        if self._recall(to, now) != network and len(self._taught) < self._unstored:
            self._keep(to, network, now + _KNOWN_S)
            self._taught[to] = network

    def taught(self) -> list[str]:
        """Take what is to be stored, as number and network in turn. It is a cache: lost with a store that is away."""
        taken, self._taught = self._taught, {}
        return [text for pair in taken.items() for text in pair]

    def _recall(self, to: str, now: float) -> str | None:
        known = self._young.get(to)
        if known is None and (known := self._old.get(to)) is not None:
            self._keep(to, *known)
        return known[0] if known is not None and now < known[1] else None

    def _keep(self, to: str, network: str, until: float) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[to] = (network, until)


class Operators:
    """What this process knows of networks, with the store behind it; asks and tells nothing without routes by operator."""

    def __init__(self, store: Patience, prefix: str, wanted: Callable[[], bool]) -> None:
        self._store = store
        self._prefix = prefix
        self._wanted = wanted
        self._learned = Learned()

    def teach(self, to: str, network: str) -> None:
        """Note what a receipt says of a number."""
        if self._wanted():
            self._learned.teach(to, network, time.monotonic())

    async def run(self) -> None:
        """Store what receipts taught until cancelled, whether jobs come here or not; waits while the store is away."""
        while True:
            if taught := self._learned.taught():
                await self._store.run(STORE, (self._prefix, TTL_S, taught))
            await asyncio.sleep(_STORE_S)

    async def of(self, numbers: Sequence[str]) -> dict[str, str]:
        """Return the networks of those numbers of which one is known; waits while the store is away."""
        if not self._wanted():
            return {}
        now = time.monotonic()
        if missing := self._learned.missing(numbers, now):
            self._learned.fill(missing, await self._store.run(LOOK_UP, (self._prefix, missing)), now)
        return {to: network for to in numbers if (network := self._learned.get(to, now))}
