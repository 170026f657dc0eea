"""What a crash may and may not do: the record, in Redis, of what has been written to whom and what came of it.

A *queue* is one partition of one lane topic. Per queue the ledger keeps

- `intent`: the offset below which something may have been written to a socket; moved **before** the first octet leaves;
- `outcomes`: by blocks of 8192 offsets, what became of each offset: settled one way or another, or *open* (answered
  "not accepted", so certainly not under way, and waiting for its next write);
- `epoch`: who owns the queue. A worker that was thought dead and still writes finds a newer epoch and is turned away. It is the
  time, or one more: so it is newer also where the store does not know any more who came before.

Per message it keeps a *claim*: (tenant, message id, attempt) → the coordinates that may carry it. Whatever put a message twice
on lane topics (a publisher's second copy, an intake that crashed between produce and commit, a retry produced twice) meets the
claim at the last moment before the write. Claiming at intake instead would miss the second and third kind.

One worker settles, opens, claims and intends for all its queues in one script call: what was answered since the last call
makes room for exactly what the call intends, so at a hard kill no more than a window of each bind is in doubt.

All keys carry a time to live. All scripts can be repeated with the same arguments: a call that timed out may have run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from secrets import token_hex
from typing import Any

import msgspec

from gateway.metrics.meters import histogram
from gateway.store import Patience, Script, Store

BLOCK = 8192
"""Offsets in one hash of outcomes: small enough to delete at once, large enough to be few."""

# The argument: [prefix, ttl, claim_ttl, queues, claims, rows, doubts, forgotten].
# queue: [name, epoch, intent, outcomes [block, offset, value, …], rewritten [block, offset, …]]
# claims: [key, value, …]   rows: [key, value, ttl, …]   doubts: [key, field, value, ttl, …]   forgotten: [key, field, …]
# Answers: {numbers of fenced queues, and from -1 down of those whose owner the store had lost, indexes of claims held by others
# with their holders}.
_EXCHANGE = Script("""
local a = cmsgpack.unpack(ARGV[1])
local prefix, ttl, claim_ttl = a[1], a[2], a[3]
local fenced, taken = {}, {}
for i, q in ipairs(a[4]) do
  local key = prefix .. 'q:' .. q[1]
  local epoch = redis.call('HGET', key, 'epoch')
  if epoch and tonumber(epoch) > q[2] then
    fenced[#fenced + 1] = i - 1
  else
    if not epoch or tonumber(epoch) < q[2] then
      fenced[#fenced + 1] = -i
      redis.call('HSET', key, 'epoch', q[2])
    end
    if q[3] >= 0 then
      redis.call('HSET', key, 'intent', q[3])
    end
    redis.call('EXPIRE', key, ttl)
    local outcomes = q[4]
    local last
    for n = 1, #outcomes, 3 do
      local block = prefix .. 'o:' .. q[1] .. ':' .. outcomes[n]
      redis.call('HSET', block, outcomes[n + 1], outcomes[n + 2])
      if block ~= last then
        redis.call('EXPIRE', block, ttl)
        last = block
      end
    end
    local rewritten = q[5]
    for n = 1, #rewritten, 2 do
      redis.call('HDEL', prefix .. 'o:' .. q[1] .. ':' .. rewritten[n], rewritten[n + 1])
    end
  end
end
local claims = a[5]
for n = 1, #claims, 2 do
  local holder = redis.call('SET', prefix .. 'c:' .. claims[n], claims[n + 1], 'NX', 'GET', 'EX', claim_ttl)
  if holder and holder ~= claims[n + 1] then
    taken[#taken + 1] = (n - 1) / 2
    taken[#taken + 1] = holder
  end
end
local rows = a[6]
for n = 1, #rows, 3 do
  redis.call('SET', prefix .. rows[n], rows[n + 1], 'EX', rows[n + 2])
end
local doubts = a[7]
for n = 1, #doubts, 4 do
  redis.call('HSET', prefix .. doubts[n], doubts[n + 1], doubts[n + 2])
  redis.call('EXPIRE', prefix .. doubts[n], doubts[n + 3])
end
local forgotten = a[8]
for n = 1, #forgotten, 2 do
  redis.call('HDEL', prefix .. forgotten[n], forgotten[n + 1])
end
return {fenced, taken}
""")

# [prefix, ttl, queue name, committed offset, token of the call, intent of a queue that is not known]
# → {epoch, intent or -1, whether the queue was known, whether the intent is that one, [offset, value, …]}
_ACQUIRE = Script("""
local a = cmsgpack.unpack(ARGV[1])
local key = a[1] .. 'q:' .. a[3]
if redis.call('HGET', key, 'call') ~= a[5] then
  local known = redis.call('EXISTS', key)
  local now = redis.call('TIME')
  local epoch = math.max(tonumber(redis.call('HGET', key, 'epoch') or 0) + 1, now[1] * 1000 + math.floor(now[2] / 1000))
  redis.call('HSET', key, 'epoch', epoch, 'call', a[5], 'known', known)
  if known == 0 and a[6] >= 0 then
    redis.call('HSET', key, 'intent', a[6], 'guess', a[6])
  end
end
redis.call('EXPIRE', key, a[2])
local found = redis.call('HMGET', key, 'epoch', 'intent', 'known', 'guess')
local intent = tonumber(found[2] or -1)
local outcomes = {}
if intent > a[4] then
  for block = math.floor(a[4] / 8192), math.floor((intent - 1) / 8192) do
    local all = redis.call('HGETALL', a[1] .. 'o:' .. a[3] .. ':' .. block)
    for n = 1, #all do outcomes[#outcomes + 1] = all[n] end
  end
end
local guessed = found[4] and found[4] == found[2] and 1 or 0
return {tonumber(found[1]), intent, tonumber(found[3]), guessed, outcomes}
""")

# [prefix, queue names]
_FORGET = Script("""
local a = cmsgpack.unpack(ARGV[1])
for _, name in ipairs(a[2]) do
  local key = a[1] .. 'q:' .. name
  local intent = tonumber(redis.call('HGET', key, 'intent') or -1)
  redis.call('UNLINK', key)
  for block = 0, math.floor(intent / 8192) do
    redis.call('UNLINK', a[1] .. 'o:' .. name .. ':' .. block)
  end
end
return 1
""")

# [prefix, [queue name, first block, block after the last, …]]: what the committed offset has passed.
_TRIM = Script("""
local a = cmsgpack.unpack(ARGV[1])
for n = 1, #a[2], 3 do
  for block = a[2][n + 1], a[2][n + 2] - 1 do
    redis.call('UNLINK', a[1] .. 'o:' .. a[2][n] .. ':' .. block)
  end
end
return 1
""")


class Outcome(msgspec.Struct, array_like=True, gc=False, omit_defaults=True):
    """What became of one offset, with what is needed to publish its events again.

    `kind` is one letter: `s` submitted, `f` failed, `x` expired, `j` rejected (it had expired before it was published), `u`
    unknown, `d` duplicate, `q` our own second copy of a message (no event), `r` to be tried again (by the delay ladder), `w` not
    yet tried and waiting there, `m` moved to another lane, `n` failed and going on with a step of its plan, `p` a record that
    could not be read, `o` open. `at` is when, in Unix seconds. `ids` are the provider's ids of the parts, empty for a part that
    has none.
    """

    kind: str
    at: float
    ids: tuple[str, ...] = ()
    error_code: str = ""
    error_text: str = ""
    parts: int = 1
    due: float = 0.0
    """`r` and `w` only: when it is due, Unix seconds."""
    lane: str = ""
    """`m` and `n` only: the one that it moved to."""
    attempt: int = 0
    """`w`, `m` and `n` only: the attempt with which it goes on, the same one where nothing was written."""
    step: int = 0
    """`n` only: which of the steps that were left, from 0."""
    doubtful: bool = False
    """`r` and `w` only: this attempt may have been accepted for all that."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Outcome).decode


class Entry:
    """What one queue asks of the next exchange; filled by the dispatcher, emptied by `Ledger.exchange`."""

    __slots__ = ("epoch", "intent", "name", "outcomes", "rewritten")

    def __init__(self, name: str, epoch: int) -> None:
        self.name = name
        self.epoch = epoch
        self.intent = -1
        self.outcomes: list[Any] = []
        self.rewritten: list[int] = []

    def settle(self, offset: int, outcome: Outcome) -> None:
        self.outcomes += (offset // BLOCK, offset, _encode(outcome).decode())

    def taken(self) -> tuple[str, int, int, list[Any], list[int]]:
        """What is to be exchanged; outcomes start afresh. The intent is told every time: a store that lost it has it back."""
        taken = (self.name, self.epoch, self.intent, self.outcomes, self.rewritten)
        self.outcomes = []
        self.rewritten = []
        return taken

    def rewrite(self, offset: int) -> None:
        """An open offset is about to be written again: from now on it is in doubt."""
        self.rewritten += (offset // BLOCK, offset)


class Acquired(msgspec.Struct):
    """What a worker learns when it gets a queue."""

    epoch: int
    intent: int
    """Offsets below it may have been written; -1 when nothing ever was."""
    known: bool
    """False when the ledger had never heard of the queue, or has lost it."""
    lost: bool
    """The intent is what the caller, or an owner before, said for that case: nobody has told it anything since."""
    outcomes: dict[int, Outcome]


class Exchanged(msgspec.Struct):
    """What an exchange found."""

    fenced: list[str]
    """Queues that another worker owns by now: forward nothing more of them."""
    lost: list[str]
    """Queues that Redis had forgotten (it lost its data); they are known again."""
    taken: dict[int, str]
    """Index of a claim → who holds it."""


async def forget(store: Store | Patience, prefix: str, names: Sequence[str]) -> None:
    """Forget queues, whose offsets mean other messages now. Raises `StoreUnavailable`, if `store` has no patience."""
    await store.run(_FORGET, (prefix, names))


class Ledger:
    """The scripts above, with their names and times to live. Waits while Redis is away, see `Patience`."""

    def __init__(self, store: Patience, prefix: str, ttl_s: int, claim_ttl_s: int) -> None:
        self._store = store
        self._prefix = prefix
        self._ttl = ttl_s
        self._claim_ttl = claim_ttl_s
        self.seconds = histogram("recado_ledger_exchange_seconds")

    async def acquire(self, name: str, committed: int, lost: int = -1) -> Acquired:
        """Become the owner of a queue. `committed` is the group's offset, 0 if it has none.

        `lost` is below what may have been written if the queue is not known: that is its intent then, for the next owners too,
        until an exchange says better. -1 where it would be new.
        """
        argument = (self._prefix, self._ttl, name, committed, token_hex(8), lost)
        epoch, intent, known, guessed, flat = await self._store.run(_ACQUIRE, argument)
        outcomes = {int(flat[n]): _decode(flat[n + 1]) for n in range(0, len(flat), 2)}
        return Acquired(epoch, int(intent), bool(known), bool(guessed), outcomes)

    async def exchange(
        self, entries: list[Entry], claims: list[str], rows: list[Any], doubts: list[Any], forgotten: list[str]
    ) -> Exchanged:
        """One round trip for everything since the last: see the module.

        `claims` alternates key and coordinates; `rows` is key, value, time to live in seconds; `doubts` is key, field,
        value, time to live; `forgotten` is key, field of doubts that are none any more. When this returns, all of it is in
        Redis, and what was intended may be written, except for the claims that others hold.
        """
        started = time.monotonic()
        queues = [entry.taken() for entry in entries]
        fenced, taken = await self._store.run(
            _EXCHANGE, (self._prefix, self._ttl, self._claim_ttl, queues, claims, rows, doubts, forgotten)
        )
        self.seconds.observe(time.monotonic() - started)
        return Exchanged(
            fenced=[entries[n].name for n in fenced if n >= 0],
            lost=[entries[-n - 1].name for n in fenced if n < 0],
            taken={taken[n]: taken[n + 1].decode() for n in range(0, len(taken), 2)},
        )

    async def trim(self, passed: Iterable[tuple[str, int, int]]) -> None:
        """Forget outcomes below a committed offset: (queue, offset trimmed to before, committed offset)."""
        flat: list[Any] = []
        for name, before, committed in passed:
            if committed // BLOCK > before // BLOCK:
                flat += (name, before // BLOCK, committed // BLOCK)
        if flat:
            await self._store.run(_TRIM, (self._prefix, flat))
