"""How many messages that wait for a place of their portfolio get none within 24 hours: a metric, and an event when it is news.

What waits is counted by whoever has it: the records of a queue that have no place yet by its owner, and what was put off for want
of a place by whoever put it off, until it is to ask again. The store adds this up over all processes, and what an owner said
stays until the next one says otherwise. It is rather too many than too few: who counts already needs no other place, and whether
somebody does is seen when a message's turn comes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from msgspec import Struct

from gateway import events
from gateway.model import TrafficClass
from gateway.outbox import Record
from gateway.portfolio import ASIDE_MS, DAY_MS, Portfolio, limits_of
from gateway.store import Patience, Script

log = logging.getLogger("gateway.shortage")

_EVERY_S = 2.0
_BELIEVED_S = 60
"""How long what was said of a queue counts: longer than it takes to give the queue of a dead worker to another."""

# [portfolio, now, a day later, believed, the present moment, [queue/class, messages, …],
# [moment/class, messages put off until then, …], process, which of its looks]
# → {places used, places that become free within the day, [class, messages, …], [class, said so often, said last, …]}
# A moment is in steps of ten seconds.
_LOOK = Script("""
local a = cmsgpack.unpack(ARGV[1])
local places, queues, aside, said = a[1], a[1] .. ':queues', a[1] .. ':aside', a[1] .. ':said'
local now = string.format('(%.0f', a[2])
local clock = tonumber(redis.call('TIME')[1])
local waiting = {}
local function add(class, count) waiting[class] = (waiting[class] or 0) + tonumber(count) end

for n = 1, #a[6], 2 do redis.call('HSET', queues, a[6][n], clock .. ':' .. a[6][n + 1]) end
local all = redis.call('HGETALL', queues)
for n = 1, #all, 2 do
  local at, count = all[n + 1]:match('(%d+):(%d+)')
  if math.abs(clock - tonumber(at)) > a[4] then
    redis.call('HDEL', queues, all[n])
  else
    add(all[n]:match('/(%a+)$'), count)
  end
end

local last = aside .. ':' .. a[8]
if #a[7] > 0 and redis.call('GET', last) ~= a[9] then -- else the answer to this look was lost, and it comes again
  for n = 1, #a[7], 2 do redis.call('HINCRBY', aside, a[7][n], a[7][n + 1]) end
  redis.call('SET', last, a[9], 'EX', 3600)
end
all = redis.call('HGETALL', aside)
for n = 1, #all, 2 do
  local moment, class = all[n]:match('(%d+)/(%a+)')
  if tonumber(moment) < a[5] then
    redis.call('HDEL', aside, all[n])
  else
    add(class, all[n + 1])
  end
end
redis.call('EXPIRE', queues, 3600)
redis.call('EXPIRE', aside, 3600)

local counts, told = {}, {}
for class, count in pairs(waiting) do
  counts[#counts + 1] = class
  counts[#counts + 1] = count
end
all = redis.call('HGETALL', said)
for n = 1, #all, 2 do
  local times, count = all[n + 1]:match('(%d+):(%d+)')
  told[#told + 1] = all[n]
  told[#told + 1] = tonumber(times)
  told[#told + 1] = tonumber(count)
end
return {
  redis.call('ZCOUNT', places, now, '+inf'),
  redis.call('ZCOUNT', places, now, string.format('%.0f', a[3])),
  counts,
  told,
}
""")

# [portfolio, ttl, class, how often it was said, what]
_SAID = Script("""
local a = cmsgpack.unpack(ARGV[1])
redis.call('HSET', a[1] .. ':said', a[3], a[4] .. ':' .. a[5])
redis.call('EXPIRE', a[1] .. ':said', a[2])
""")
_SAID_TTL_S = 90 * 86_400


class Waiting(Struct, frozen=True):
    """Messages of one queue that have no place yet."""

    portfolio: str
    queue: str
    class_: TrafficClass
    count: int


def short_of(
    limits: Mapping[TrafficClass, int], taken: int, waiting: Mapping[TrafficClass, int]
) -> dict[TrafficClass, int]:
    """Return how many of those who wait have no place if the most urgent are given theirs first.

    `taken` are the places that will not be free in time; nobody who waits has one of them.
    """
    short = {}
    for class_, most in limits.items():
        count = waiting.get(class_, 0)
        fit = min(count, max(0, most - taken))
        short[class_] = count - fit
        taken += fit
    return short


def is_news(said: int, short: int) -> bool:
    """Whether it is worth saying, after what was said last: that some are short, that none is, and a tenth more or fewer."""
    return (short > 0) != (said > 0) or abs(short - said) > said // 10


class Shortages:
    """Looks at all portfolios until cancelled.

    `limit_of` gives a portfolio's limit, `speaks` whether this process is the one to say something of it, and `waiting` what
    waits with it in topics and in memory. `publish` returns when its records are in Kafka.
    """

    def __init__(
        self,
        portfolios: Mapping[str, Portfolio],
        store: Patience,
        *,
        limit_of: Callable[[str], int | None],
        speaks: Callable[[str], bool],
        waiting: Callable[[], Awaitable[Iterable[Waiting]]],
        publish: Callable[[list[Record]], Awaitable[None]],
    ) -> None:
        self._portfolios = portfolios
        self._store = store
        self._limit_of = limit_of
        self._speaks = speaks
        self._waiting = waiting
        self._publish = publish
        self._process = secrets.token_hex(8)
        self._looks = 0

    async def run(self) -> None:
        """Stands still while the store or Kafka is away: what was known stays."""
        while True:
            await self.look(time.time())
            await asyncio.sleep(_EVERY_S)

    async def look(self, now: float) -> None:
        """Tell what waits here, learn what waits everywhere, and say what is news. Unix seconds."""
        own: dict[str, list[str | int]] = {name: [] for name in self._portfolios}
        for one in await self._waiting():
            own[one.portfolio] += (f"{one.queue}/{one.class_}", one.count)
        for name, portfolio in self._portfolios.items():
            await self._look(portfolio, own[name], int(now * 1000))

    async def _look(self, portfolio: Portfolio, own: list[str | int], now_ms: int) -> None:
        self._looks += 1
        used, freed, counts, said = await self._store.run(
            _LOOK,
            (
                *(portfolio.key, now_ms, now_ms + DAY_MS, _BELIEVED_S, now_ms // ASIDE_MS),
                *(own, portfolio.take_aside(), self._process, str(self._looks)),
            ),
        )
        waiting = {
            TrafficClass(class_.decode()): count for class_, count in zip(counts[::2], counts[1::2], strict=True)
        }
        limit = self._limit_of(portfolio.name)
        short = (
            dict.fromkeys(TrafficClass, 0)
            if limit is None
            else short_of(limits_of(limit, portfolio.kept), used - freed, waiting)
        )
        portfolio.seen(used, waiting, short)
        if self._speaks(portfolio.name):
            last = {TrafficClass(said[n].decode()): (said[n + 1], said[n + 2]) for n in range(0, len(said), 3)}
            for class_, count in short.items():
                # Where nothing was said, or a store has forgotten it, counting begins with the time: no id comes again.
                times, before = last.get(class_, (now_ms // 1000, 0))
                if is_news(before, count):
                    await self._say(portfolio, class_, times + 1, count, now_ms)

    async def _say(self, portfolio: Portfolio, class_: TrafficClass, times: int, count: int, now_ms: int) -> None:
        """Publish, then note it: what was said and not noted is said again under the same id."""
        log.log(
            logging.WARNING if count else logging.INFO,
            "portfolio short of places portfolio=%s class=%s messages=%d",
            *(portfolio.name, class_, count),
        )
        await self._publish([events.of_shortage(portfolio.name, class_, times, events.utc(now_ms / 1000), count)])
        await self._store.run(_SAID, (portfolio.key, _SAID_TTL_S, class_.value, times, count))
