"""What people ask of a running gateway, of all its processes: pauses of lanes, templates and campaigns, lower rates.

What is asked for stands in one hash of the store, without a time to live: a pause that ends by itself is a campaign that goes
out unasked. Every process reads it once a second, and before it begins to send. Each knows the whole with its version, so that
a store that has lost its memory, or has an older one, is told again by whoever comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf

import msgspec
from msgspec import Struct

from gateway.errors import StoreUnavailable
from gateway.lane import Lane
from gateway.log import ALWAYS
from gateway.providers.whatsapp_hooks import template_subject
from gateway.store import Patience, Script, Store

log = logging.getLogger("gateway.admin")

_EVERY_S = 1.0
_SHORTEST_S = 15.0
_LONGEST_S = 900.0
"""What is paused steps aside to the delay ladder for as long as the pause has lasted, within these: a million messages are not
asked every few seconds, and a short pause ends soon after it was lifted."""

Key = tuple[str, ...]
"""`lane, <lane>` and `template, <lane>, <name>, <language>` and `campaign, <tenant>, <campaign>` are pauses; `rate, <lane>`."""


class Ask(Struct, array_like=True, frozen=True):
    """Something that was asked for: when (Unix seconds), and of a rate how much (parts per second)."""

    at: float
    rate: float = 0.0


# [key, version known, [field, JSON, …] known, [field, JSON or nothing, …] to change]
# → {version, [field, JSON, …] if it is another}
_TELL = Script("""
local a = cmsgpack.unpack(ARGV[1])
local key = a[1]
local version = tonumber(redis.call('HGET', key, 'version') or 0)
if version < a[2] then
  redis.call('DEL', key)
  for n = 1, #a[3], 2 do redis.call('HSET', key, a[3][n], a[3][n + 1]) end
  version = a[2]
  redis.call('HSET', key, 'version', version)
end
for n = 1, #a[4], 2 do
  if a[4][n + 1] == '' then
    redis.call('HDEL', key, a[4][n])
  else
    redis.call('HSET', key, a[4][n], a[4][n + 1])
  end
  version = version + 1
  redis.call('HSET', key, 'version', version)
end
if version == a[2] then return {version} end
return {version, redis.call('HGETALL', key)}
""")

_encode = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(Key).decode
_decode_ask = msgspec.json.Decoder(Ask).decode


def limit_of(asked: Mapping[Key, Ask], lane: str) -> float:
    """Return the parts per second that a lane may write by what people asked: 0 while paused, infinite without a wish."""
    if ("lane", lane) in asked:
        return 0.0
    wish = asked.get(("rate", lane))
    return wish.rate if wish else inf


def hold_of(key: Key, lane: str) -> tuple[str, str] | None:
    """Return what a lane's gate has to hold for a pause, as kind and subject; None if it does not concern the lane."""
    match key:
        case ("campaign", tenant, campaign):
            return "campaign", f"{tenant}/{campaign}"
        case ("template", of, name, language) if of == lane:
            return "template", template_subject(name, language)
    return None


def aside_s(ask: Ask, now: float) -> float:
    """Return for how many seconds a message steps aside that meets this pause at `now` (Unix seconds)."""
    return min(_LONGEST_S, max(_SHORTEST_S, now - ask.at))


def in_words(key: Key) -> str:
    """Return what a key is about: `lane andina`, `campaign banco/nov`."""
    return f"{key[0]} {'/'.join(key[1:])}"


class Controls:
    """See the module. `wake` is called when lanes may send what they could not before."""

    def __init__(self, store: Store, prefix: str, lanes: Mapping[str, Lane], wake: Callable[[], None]) -> None:
        self._store = store
        self._key = f"{prefix}asked"
        self._lanes = lanes
        self._wake = wake
        self._version = 0
        self.asked: Mapping[Key, Ask] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """Actions at this process's admin port, by name and result; that server counts them."""

    @property
    def paused(self) -> frozenset[Key]:
        """Lanes, campaigns and templates; a rate of 0 is a pause of its lane, which nobody can tell from one."""
        return frozenset(
            ("lane", *key[1:]) if key[0] == "rate" else key
            for key, ask in self.asked.items()
            if key[0] != "rate" or not ask.rate
        )

    @property
    def held(self) -> tuple[str, ...]:
        """Campaigns and templates that are paused, in words."""
        return tuple(in_words(key) for key in sorted(self.paused) if key[0] != "lane")

    async def load(self, store: Patience) -> None:
        """Learn what was asked for; waits while the store is away. Nothing is to be sent before."""
        self._learn(await store.run(_TELL, self._argument({})))

    async def run(self) -> None:
        """Look once a second until cancelled. While the store is away all stays as it was seen last."""
        while True:
            with contextlib.suppress(StoreUnavailable):  # who forwards says so, and stands still
                await self.look()
            self._apply(time.time(), time.monotonic())
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Learn what others were asked for a moment ago. Raises `StoreUnavailable`."""
        self._learn(await self._store.run(_TELL, self._argument({})))

    async def change(self, key: Key, ask: Ask | None) -> None:
        """Ask for something, or no more: here at once, everywhere within a second. Raises `StoreUnavailable`: then it is open.

        Who wants a lane to go on takes back a rate of 0 as well, which nobody can tell from a pause.
        """
        self._learn(await self._store.run(_TELL, self._argument({key: ask})))
        if key[0] == "lane" and ask is None and limit_of(self.asked, key[1]) == 0:
            await self.change(("rate", key[1]), None)

    def _argument(self, changes: Mapping[Key, Ask | None]) -> tuple[str, int, list[str], list[str]]:
        known = [text for key, ask in self.asked.items() for text in (_field(key), _encode(ask).decode())]
        told = [text for key, ask in changes.items() for text in (_field(key), _encode(ask).decode() if ask else "")]
        return self._key, self._version, known, told

    def _learn(self, answer: list[object]) -> None:
        version, *flat = answer
        if not flat:
            return
        (all_,) = flat
        assert isinstance(version, int)
        assert isinstance(all_, list)
        fields = dict(zip(all_[::2], all_[1::2], strict=True))
        fields.pop(b"version", None)
        asked = {_decode_key(field): _decode_ask(value) for field, value in fields.items()}
        for key in asked.keys() - self.asked.keys():
            log.warning("asked for %s=%s rate=%g", key[0], "/".join(key[1:]), asked[key].rate, extra=ALWAYS)
        for key in self.asked.keys() - asked.keys():
            log.warning("no longer asked for %s=%s", key[0], "/".join(key[1:]), extra=ALWAYS)
        before, self.asked, self._version = self.asked, asked, version
        self._apply(time.time(), time.monotonic())
        for key in before.keys() - asked.keys():
            for lane in self._lanes.values():
                if hold := hold_of(key, lane.name):
                    lane.gate.release(*hold)
        self._wake()

    def _apply(self, now: float, monotonic: float) -> None:
        """Have the lanes do it; repeated, since holds end by themselves."""
        for lane in self._lanes.values():
            lane.limit = limit_of(self.asked, lane.name)
            for key, ask in self.asked.items():
                if hold := hold_of(key, lane.name):
                    lane.gate.hold(*hold, monotonic + aside_s(ask, now))


def _field(key: Key) -> str:
    return _encode(key).decode()
