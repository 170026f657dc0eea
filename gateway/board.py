"""The conditions of all processes kept the same, and over restarts: what one learns the others know within a second.

Facts are in one hash of the store with a version. Every process tells what it has learned at once, and looks twice a second
whether the version is another; then it reads all of them. What was learned while the store was away is told when it is back, and
what a store has forgotten is told again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf
from typing import Protocol

import msgspec
from msgspec import Struct

from gateway.conditions import Conditions, Fact, Key, News, Whose
from gateway.errors import GatewayError
from gateway.providers.contract import Call, Change, Failure, Reply
from gateway.store import Patience, Script

log = logging.getLogger("gateway.conditions")

_EVERY_S = 0.5
_LOOK_S = 1.0
"""How soon a number is asked for its health by a new owner."""
_KEPT_S = 90 * 86_400
"""What was not said again for so long is forgotten: a template that is disabled says so when it is tried."""

# [prefix, version known, ttl, [fact, JSON, …] told, [fact, JSON, …] to forget] → {version, [fact, JSON, …] if it is another}
# A version of a store that has lost its memory is none that anybody knows: it begins with the time.
_TELL = Script("""
local a = cmsgpack.unpack(ARGV[1])
local key = a[1] .. 'conditions'
local version = tonumber(redis.call('HGET', key, 'version') or 0)
local told, stale = a[4], a[5]
local changed = false
for n = 1, #told, 2 do
  local old = redis.call('HGET', key, told[n])
  if not old or (old ~= told[n + 1] and cjson.decode(old)[1] <= cjson.decode(told[n + 1])[1]) then
    redis.call('HSET', key, told[n], told[n + 1])
    changed = true
  end
end
for n = 1, #stale, 2 do
  if redis.call('HGET', key, stale[n]) == stale[n + 1] then
    redis.call('HDEL', key, stale[n])
  end
end
if changed then
  if version == 0 then
    local time = redis.call('TIME')
    version = time[1] * 1000000 + time[2]
  end
  version = version + 1
  redis.call('HSET', key, 'version', version)
end
redis.call('EXPIRE', key, a[3])
if version == a[2] then return {version} end
local facts = redis.call('HGETALL', key)
return {version, facts}
""")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Fact).decode


class Board:
    """See the module. `wake` is called when something is another than it was."""

    def __init__(self, conditions: Conditions, store: Patience, prefix: str, wake: Callable[[], None]) -> None:
        self.conditions = conditions
        self._store = store
        self._prefix = prefix
        self._wake = wake
        self._version = -1
        self._untold: dict[Key, Fact] = {}
        self._stale: list[str] = []
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()

    async def load(self) -> None:
        """Learn what is known already; waits while the store is away. Nothing is to be sent before."""
        await self._exchange()

    async def safe(self) -> None:
        """Return when everything learned so far is in the store; waits while that is away."""
        async with self._turn:
            if self._untold:
                await self._exchange()

    async def run(self) -> None:
        """Tell and learn until cancelled."""
        while True:
            async with self._turn:
                await self._exchange()
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    def changed(self, changes: Iterable[Change], whose: Whose, at: float) -> None:
        """See `Conditions.changed`; here at once, everywhere within a second."""
        self._tell(self.conditions.changed(changes, whose, at))

    def failed(self, failure: Failure, whose: Whose, template: str, at: float) -> None:
        """See `Conditions.failed`; here at once, everywhere within a second."""
        self._tell(self.conditions.failed(failure, whose, template, at))

    def resumed(self, numbers: Iterable[Whose], at: float) -> None:
        """See `Conditions.resumed`; here at once, everywhere within a second. Who is woken finds none of them stopped."""
        self._tell({key: news for whose in numbers for key, news in self.conditions.resumed(whose, at).items()})

    def _tell(self, news: Mapping[Key, News]) -> None:
        if not news:
            return
        for (subject, what), each in news.items():
            self._untold[subject, what] = fact = each.fact
            if not subject.startswith("number:+") and what != "display_phone_number":  # ids are no secret, digits are
                level = logging.WARNING if each.bad else logging.INFO
                log.log(level, "condition subject=%s %s=%r until=%.0f", subject, what, fact.value, fact.until)
        self._news.set()
        self._wake()

    async def _exchange(self) -> None:
        self._news.clear()
        told, stale = dict(self._untold), self._stale
        flat = [text for key, fact in told.items() for text in ("|".join(key), _encode(fact).decode())]
        version, *facts = await self._store.run(_TELL, (self._prefix, self._version, _KEPT_S, flat, stale))
        self._untold = {key: fact for key, fact in self._untold.items() if told.get(key) is not fact}
        self._stale = []
        if facts:
            self._version = version
            self._learn(dict(zip(facts[0][::2], facts[0][1::2], strict=True)), time.time() - _KEPT_S)

    def _learn(self, said: dict[bytes, bytes], forgotten_before: float) -> None:
        """Take in what the store has, and note what it has to be told, or to forget."""
        said.pop(b"version", None)
        known = dict(self.conditions.facts())
        changed = False
        for name, text in said.items():
            subject, _, what = name.decode().rpartition("|")
            fact = _decode(text)
            ours = known.pop((subject, what), None)
            if fact.at < forgotten_before:
                self._stale += (name.decode(), text.decode())
            elif self.conditions.learn(subject, what, fact):
                changed = True
            elif ours and ours.at > fact.at:
                self._untold.setdefault((subject, what), ours)
        for key, fact in known.items():
            if fact.at >= forgotten_before:
                self._untold.setdefault(key, fact)
        if changed:
            self._wake()


class Healthy(Protocol):
    """What can be asked for the health of a number, as `WhatsApp` can."""

    def health_call(self) -> Call: ...

    def read_health(self, reply: Reply) -> list[Change]: ...


class Polled(Struct, frozen=True):
    """A lane whose number is asked for its health; `call` raises a `GatewayError` for no answer."""

    lane: str
    provider: Healthy
    call: Callable[[Call], Awaitable[Reply]]
    whose: Whose


class Poll:
    """Asks for what no callback tells. `owned` gives the lanes of which this process has slot 0, so that one process asks."""

    def __init__(self, board: Board, owned: Callable[[], Iterable[Polled]], poll_s: float) -> None:
        self._board = board
        self._owned = owned
        self.poll_s = poll_s
        self._asked: dict[str, float] = {}
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Ask every lane once in `poll_s`, and one that is newly owned soon, until cancelled."""
        while True:
            now = time.monotonic()
            due = [lane for lane in self._owned() if now - self._asked.get(lane.lane, -inf) >= self.poll_s]
            async with asyncio.TaskGroup() as tasks:
                for lane in due:
                    self._asked[lane.lane] = now
                    tasks.create_task(self._ask(lane), name=f"health {lane.lane}")
            await asyncio.sleep(_LOOK_S)

    async def _ask(self, lane: Polled) -> None:
        at = time.time()
        try:
            reply = await lane.call(lane.provider.health_call())
        except GatewayError as error:
            if all(owned.lane != lane.lane for owned in self._owned()):
                return  # its slot was given up meanwhile, and its connections with it
            changes, why = [], type(error).__name__
        else:
            changes, why = lane.provider.read_health(reply), f"HTTP {reply.status}"
        self._board.changed(changes, lane.whose, at)
        if changes:
            if lane.lane in self._silent:
                self._silent.remove(lane.lane)
                log.info("the number's health is known again lane=%s", lane.lane)
        elif lane.lane not in self._silent:
            self._silent.add(lane.lane)
            log.error("the number's health cannot be asked for, what was known stays lane=%s reason=%s", lane.lane, why)
