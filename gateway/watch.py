"""Which lanes can send, and how far behind they are, as all workers see it: each tells the store once a second, and reads.

A lane can send while any bind of it is up, wherever. What follows from that (down, up again, with hysteresis) is `health.py`'s;
routes and queues then go by it. What follows from a lane that is far behind is `brake.py`'s. Wall clocks decide only for how long
a worker that has gone is believed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from uuid import uuid4

from gateway.brake import Brake
from gateway.errors import StoreUnavailable
from gateway.failover import Failover
from gateway.health import Health
from gateway.inbox import Inbox
from gateway.lane import Lane, Slot
from gateway.metrics.machinery import Backlog
from gateway.store import Script, Store

log = logging.getLogger("gateway.watch")

_EVERY_S = 1.0
_BELIEVED_S = 5
"""How long what a worker said of a lane counts."""

# [prefix, worker, believed, [lane, 1 or 0, messages that wait, …]] → the same of all workers, not older than `believed` seconds
_TELL = Script("""
local a = cmsgpack.unpack(ARGV[1])
local key = a[1] .. 'lanes'
local now = tonumber(redis.call('TIME')[1])
for n = 1, #a[4], 3 do
  redis.call('HSET', key, a[4][n] .. '/' .. a[2], now .. ':' .. a[4][n + 1] .. ':' .. a[4][n + 2])
end
redis.call('EXPIRE', key, 3600)
local all = redis.call('HGETALL', key)
local said = {}
for n = 1, #all, 2 do
  local at, ok, waiting = string.match(all[n + 1], '(%d+):(%d):?(%d*)')
  if math.abs(now - tonumber(at)) > a[3] then
    redis.call('HDEL', key, all[n])
  else
    said[#said + 1] = string.match(all[n], '([^/]+)/')
    said[#said + 1] = tonumber(ok)
    said[#said + 1] = tonumber(waiting) or 0
  end
end
return said
""")


class Watch:
    """One loop per worker: it keeps `failover.down` and the brake up to date."""

    def __init__(
        self,
        *,
        store: Store,
        prefix: str,
        slots: Mapping[tuple[str, int], Slot],
        lanes: Mapping[str, Lane],
        health: Health,
        failover: Failover,
        brake: Brake,
        backlog: Backlog,
        inbox: Inbox,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._slots = slots
        self._lanes = lanes
        self._health = health
        self._failover = failover
        self._brake = brake
        self._backlog = backlog
        self._inbox = inbox
        self._worker = uuid4().hex

    async def run(self) -> None:
        """Look once a second until cancelled. While the store is away the lanes stay as they were seen last."""
        while True:
            if self._brake.most:
                await self._backlog.look()
            try:
                said = await self._store.run(_TELL, (self._prefix, self._worker, _BELIEVED_S, self._own()))
            except StoreUnavailable:
                pass  # who forwards says so, and stands still
            else:
                self._note(said, time.monotonic())
            await asyncio.sleep(_EVERY_S)

    def _own(self) -> list[str | int]:
        can = dict.fromkeys((name for name, _ in self._slots), 0)
        waiting = dict(can)
        for (name, _), slot in self._slots.items():
            if slot.port.bound and not slot.lane.stopped:
                can[name] = 1
            if self._brake.most:
                waiting[name] += sum(self._backlog.waiting(queue) for queue in slot.queues)
        return [value for name in can for value in (name, can[name], waiting[name])]

    def _note(self, said: list[bytes | int], now: float) -> None:
        can: dict[str, bool] = {}
        waiting: Counter[str] = Counter()
        for n in range(0, len(said), 3):
            name = said[n].decode() if isinstance(said[n], bytes) else str(said[n])  # type: ignore[union-attr]
            if name in self._lanes:
                can[name] = can.get(name, False) or bool(said[n + 1])
                waiting[name] += int(said[n + 2])
        self._brake.observe(waiting)
        for name, ok in can.items():
            self._health.observe(name, ok, now)
        for name, lane in self._lanes.items():
            if lane.stopped:
                self._health.stop(name, now)
        down = self._health.down(now)
        for name in down - frozenset(self._failover.down):
            log.error("lane down, its messages take the next lane of their route, if any lane=%s", name)
        for name in frozenset(self._failover.down) - down:
            log.warning("lane up lane=%s", name)
        if down != self._failover.down:
            self._failover.down = down
            self._inbox.wake.set()
