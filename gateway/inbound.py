"""What people write to us: parts joined whatever their order, published, and only then answered.

Parts wait for each other in Redis, since they may come by different binds and workers; should one never come, the delay ladder
has what did come published, with the number of parts missing. A part that is delivered again after all were joined is known for a
while and only answered. Providers over HTTP join them, and repeat themselves.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import numbers
from gateway.correlation import REMEMBER_S
from gateway.delay import JOIN, Ladder
from gateway.group import Group
from gateway.model import Inbound as InboundRecord
from gateway.model import encode_inbound
from gateway.outbox import Batches, Outbox, Record
from gateway.providers.smpp import SmppPort
from gateway.quantities import DAY
from gateway.store import Patience, Script
from smpp.constants import Tag
from smpp.pdu import DataSM, DeliverSM
from smpp.segment import Concat, concat, decode_text, split_udh

_UDHI = 0x40
_BINARY = (0x02, 0x04)  # a data_coding of octets, SMPP 3.4 §5.2.19
_INTERNATIONAL = 1  # a TON of SMPP 3.4 §5.2.5
_WHOLE = 12
"""Digits that no number has without its country code, but for a few of Austria and Indonesia."""

# A key has the octets of each part by its number, in hex. Once they are joined "=" and a digest take the place of each. A part
# that fits its digest was delivered before: it is kept all the same, since it may be of another message with the same reference.
# The first that does not fit shows that there is one, and ends what is left of the joined one; so do all its parts together.
# From when all are there until then nothing takes the place of any: what comes meanwhile waits until they are published.
_DONE_PARTS = """
local function done_parts(rows)
  local done = {}
  for n = 2, #rows, 2 do
    if rows[n]:sub(1, 1) == '=' then done[#done + 1] = rows[n - 1] end
  end
  return done
end
"""

# [prefix, ttl, [key, part number, number of parts, octets in hex, …]] → for each whether it has to wait, and all parts of its key
# as [number, octets, …]; none if it is known
_COLLECT = Script(
    _DONE_PARTS
    + """
local a = cmsgpack.unpack(ARGV[1])
local groups = {}
for n = 1, #a[3], 4 do
  local key, number, count, octets = a[1] .. a[3][n], a[3][n + 1], a[3][n + 2], a[3][n + 3]
  local rows = redis.call('HGETALL', key)
  local waits = #rows == 2 * count and #done_parts(rows) == 0
  if not waits then
    local before = redis.call('HGET', key, number)
    redis.call('HSET', key, number, octets)
    rows = redis.call('HGETALL', key)
    local done = done_parts(rows)
    if #done > 0 and (before == octets or before == '=' .. redis.sha1hex(octets)) then
      rows = {}
    else
      if #done > 0 then
        redis.call('HDEL', key, unpack(done))
        rows = redis.call('HGETALL', key)
      end
      redis.call('EXPIRE', key, a[2])
    end
  end
  groups[#groups + 1] = {waits and 1 or 0, rows}
end
return groups
"""
)

# [prefix, ttl, [key, part number, octets in hex, …]] of parts that were joined; what stands there now may be another message's
_DONE = Script("""
local a = cmsgpack.unpack(ARGV[1])
for n = 1, #a[3], 3 do
  local key, number, octets = a[1] .. a[3][n], a[3][n + 1], a[3][n + 2]
  if redis.call('HGET', key, number) == octets then
    redis.call('HSET', key, number, '=' .. redis.sha1hex(octets))
    redis.call('EXPIRE', key, a[2])
  end
end
""")

# [prefix, keys to read, keys to delete] → for each key read its parts; none where they are joined
_TAKE = Script(
    _DONE_PARTS
    + """
local a = cmsgpack.unpack(ARGV[1])
for _, key in ipairs(a[3]) do redis.call('UNLINK', a[1] .. key) end
local all = {}
for n, key in ipairs(a[2]) do
  local rows = redis.call('HGETALL', a[1] .. key)
  all[n] = #done_parts(rows) == 0 and rows or {}
end
return all
"""
)

# [prefix, seconds to remember, keys to mark, keys to look up] → for each whether it is marked
_SEEN = Script("""
local a = cmsgpack.unpack(ARGV[1])
for _, key in ipairs(a[3]) do redis.call('SET', a[1] .. key, 1, 'EX', a[2]) end
local seen = {}
for n, key in ipairs(a[4]) do seen[n] = redis.call('EXISTS', a[1] .. key) end
return seen
""")

_BATCH = 1000
"""Messages in one call of the store and one batch for Kafka."""
_STANDSTILL_S = 7 * DAY
"""The SMSC has its answer, and the deadline has no octets: what the store forgets before that falls is lost."""
_MOST_OCTETS = 500_000
"""Of a record. What people write is far smaller; what a provider makes of it must fit into a batch all the same."""
_MOST_TEXT = 50_000
_MOST_NAME = 512

WRITTEN_AT = "written_at"
"""In `data`: when the provider says that it was written (RFC 3339), where `time` is when it reached us."""


class _Joining(msgspec.Struct, array_like=True, gc=False):
    """What the parts of one message have in common; what waits on the delay ladder."""

    key: str
    lane: str
    account: str
    from_: str
    to: str
    count: int
    data_coding: int
    elements: dict[int, bytes]
    at: float
    number: int = 0
    """Of a deadline: a part that it was made for, and the digest of that one's octets."""
    digest: str = ""


_Part = tuple[_Joining, int, bytes]
"""What it is a part of, its number, and its octets."""

_decode_joining = msgspec.json.Decoder(_Joining).decode
_encode_joining = msgspec.json.Encoder().encode


class Inbound:
    """Publishes messages from people to the inbound topic.

    `parts_wait_s` is how long parts wait for each other, `capacity` how many that came ready-made may wait for Kafka.
    """

    def __init__(
        self,
        *,
        store: Patience,
        prefix: str,
        outbox: Outbox,
        ladder: Ladder,
        topic: str,
        parts_wait_s: int,
        capacity: int = 20_000,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._outbox = outbox
        self._ladder = ladder
        self._topic = topic
        self._wait = parts_wait_s
        self._capacity = capacity
        self._ready = Group(self._publish, self._rest, _BATCH)
        self._marks: list[str] = []
        self.counts: Counter[str] = Counter()
        """Of messages from people: published, repeated, cut."""

    @property
    def full(self) -> bool:
        """Whether callbacks have to wait outside."""
        return self._ready.waiting >= self._capacity

    async def run(self) -> None:
        """Serve `take_ready` until cancelled."""
        await self._ready.run()

    async def take(self, messages: Sequence[tuple[SmppPort, DeliverSM | DataSM]], now: float) -> None:
        """When this returns every message is in Kafka, or is a part that waits in the store with its deadline in Kafka."""
        records: list[Record] = []
        parts: list[_Part] = []
        for port, pdu in messages:
            payload = pdu.short_message or pdu.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
            elements: dict[int, bytes] = {}
            if pdu.esm_class & _UDHI and (split := split_udh(payload)) is not None:
                elements, payload = split
            place = concat(elements, pdu.tlvs)
            joining = _Joining(
                _key(port.account, pdu, place),
                port.lane,
                port.account,
                _writer(pdu),
                pdu.destination_addr,
                place.part_count if place else 1,
                pdu.data_coding,
                elements,
                now,
            )
            if place is None or place.part_count == 1:
                records.append(self._record(joining, [payload], 0))
            else:
                parts.append((joining, place.part_number, payload))
        said: set[Record] = set()  # what one read brings again as a whole would have the same id
        while records or parts:
            joined, octets, parts = await self._join(parts, now) if parts else ({}, [], [])
            records += (record for record in joined.values() if record not in said)
            if records:
                await self._outbox.send_keyed(self._topic, records)
                self.counts["published"] += len(records)
            if joined:
                await self._store.run(_DONE, (self._prefix, self._wait, octets))
            said.update(joined.values())
            records = []

    async def take_ready(self, messages: Sequence[InboundRecord]) -> None:
        """Return when messages that a provider delivers whole, opt-outs among them, are in Kafka.

        What has been published is left out for `REMEMBER_S`, known by account and id. Cancelling is safe, as everywhere.
        Raises `StoreUnavailable` when this process stops.
        """
        if messages:
            await self._ready.put(messages)

    async def overdue(self, payloads: Sequence[bytes]) -> None:
        """The delay ladder's handler: publish what is there of messages whose parts have not all come."""
        waiting: defaultdict[str, list[_Joining]] = defaultdict(list)
        for joining in map(_decode_joining, payloads):
            waiting[joining.key].append(joining)  # every read that left it incomplete made a deadline
        found = await self._store.run(_TAKE, (self._prefix, list(waiting), []))
        records: dict[str, Record] = {}
        for (key, deadlines), flat in zip(waiting.items(), found, strict=True):
            by_number = _by_number(flat)  # empty if it was complete in time
            # What is there instead of a deadline's own part is of a later message with the reference, and has a deadline too.
            own = next((each for each in deadlines if by_number and _is_there(each, by_number)), None)
            if own is not None:
                records[key] = self._record(own, list(by_number.values()), own.count - len(by_number))
        if records:
            await self._outbox.send_keyed(self._topic, list(records.values()))
            self.counts["published"] += len(records)
            await self._store.run(_TAKE, (self._prefix, [], list(records)))

    async def _publish(self, messages: list[InboundRecord]) -> None:
        marks, self._marks = self._marks, []
        keys = [f"i:{message.account}:{_id_of(message)}" for message in messages]
        seen = await self._store.run(_SEEN, (self._prefix, REMEMBER_S, marks, keys))
        fresh: dict[str, Record] = {}
        for message, key, known in zip(messages, keys, seen, strict=True):
            if known or key in fresh:
                self.counts["repeated"] += 1
            else:
                fresh[key] = self._ready_record(message)
        if fresh:
            await self._outbox.send_keyed(self._topic, list(fresh.values()))
        self.counts["published"] += len(fresh)
        self._marks += fresh

    async def _rest(self) -> None:
        if self._marks:
            await self._publish([])

    def _ready_record(self, message: InboundRecord) -> Record:
        return self._fitting(msgspec.structs.replace(message, inbound_id=_id_of(message)))

    def _record(self, joining: _Joining, payloads: list[bytes], missing: int) -> Record:
        return self._fitting(_message(joining, b"".join(payloads), missing))

    def _fitting(self, message: InboundRecord) -> Record:
        """Make a record, cut to what a batch has room for, whatever the length of what is in it."""
        value = encode_inbound(message)
        if len(value) > _MOST_OCTETS:
            self.counts["cut"] += 1
            names = {"from_": message.from_, "to": message.to, "reference": message.reference}
            cut = {name: text[:_MOST_NAME] for name, text in names.items()}
            value = encode_inbound(msgspec.structs.replace(message, text=message.text[:_MOST_TEXT], data={}, **cut))
        return message.from_.encode()[:_MOST_NAME], value

    async def _join(self, parts: list[_Part], now: float) -> tuple[dict[str, Record], list[Any], list[_Part]]:
        """Return what is complete, by its key; of what octets, for `_DONE`; and the parts that come again once that is done."""
        flat: list[Any] = []
        for joining, number, payload in parts:
            flat += (joining.key, number, joining.count, payload.hex())
        # Kept longer than they wait, so that the deadline on the ladder finds them also after a standstill of days.
        found = await self._store.run(_COLLECT, (self._prefix, 2 * self._wait + _STANDSTILL_S, flat))
        records: dict[str, Record] = {}
        octets: list[Any] = []
        incomplete: dict[str, _Part] = {}
        waiting: list[_Part] = []
        for part, (waits, all_parts) in zip(parts, found, strict=True):
            joining = part[0]
            if waits:
                waiting.append(part)
            if not all_parts or joining.key in records:
                continue
            by_number = _by_number(all_parts)
            if len(by_number) == joining.count:
                records[joining.key] = self._record(joining, list(by_number.values()), 0)
                for n in range(0, len(all_parts), 2):
                    octets += (joining.key, all_parts[n].decode(), all_parts[n + 1].decode())
                incomplete.pop(joining.key, None)
            else:
                incomplete[joining.key] = part
        if incomplete:
            # Also where others of its parts came before: who stored those may have been killed with no deadline in Kafka.
            deadlines: Batches = {}
            for key, (joining, number, payload) in incomplete.items():
                deadline = msgspec.structs.replace(joining, number=number, digest=_digest(payload))
                self._ladder.put(deadlines, now + self._wait, JOIN, key.encode(), _encode_joining(deadline), now)
            await self._outbox.send(deadlines)
        return records, octets, waiting


def _id_of(message: InboundRecord) -> str:
    """The provider's id. Where it gives none, or none that could be a key: the same for what it says again within a minute."""
    given = message.inbound_id
    if given and len(given) <= _MOST_NAME:
        return given
    when = message.data.get(WRITTEN_AT) or int(message.time.timestamp() // 60)
    seed = given or "|".join((message.account, message.from_, message.to, message.text, str(when)))
    return hashlib.sha256(seed.encode()).hexdigest()[:32]


def _writer(pdu: DeliverSM | DataSM) -> str:
    """Return who has written: a number in E.164, as in jobs, where that is sure, so that an opt-out finds its recipient.

    Else as the SMSC writes it: without a TON `3241234567` may be of Belgium, or of Colombia without the country code.
    """
    digits = pdu.source_addr.lstrip("+0")
    whole = pdu.source_addr_ton == _INTERNATIONAL or (not pdu.source_addr_ton and len(digits) >= _WHOLE)
    return f"+{digits}" if whole and numbers.check(f"+{digits}") is None else pdu.source_addr


def _key(account: str, pdu: DeliverSM | DataSM, place: Concat | None) -> str:
    if place is None:
        return ""
    return f"j:{account}:{pdu.source_addr}:{pdu.destination_addr}:{place.reference}:{place.part_count}"


def _by_number(flat: list[bytes]) -> dict[int, bytes]:
    parts = {int(flat[n]): bytes.fromhex(flat[n + 1].decode()) for n in range(0, len(flat), 2)}
    return dict(sorted(parts.items()))


def _is_there(deadline: _Joining, by_number: dict[int, bytes]) -> bool:
    """Whether the part that a deadline was made for still waits; one without a part is of a version that named none."""
    return not deadline.number or _digest(by_number.get(deadline.number, b"")) == deadline.digest


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:32]


def _message(joining: _Joining, payload: bytes, missing: int) -> InboundRecord:
    text = decode_text(joining.data_coding, payload, joining.elements)
    binary = joining.data_coding in _BINARY
    # SMPP gives a message from a person no id. This one is the same when an SMSC delivers again within the minute.
    seed = "|".join((joining.account, joining.from_, joining.to, text, str(int(joining.at // 60))))
    return InboundRecord(
        inbound_id=hashlib.sha256(seed.encode()).hexdigest()[:32],
        channel="sms",
        lane=joining.lane,
        account=joining.account,
        from_=joining.from_,
        to=joining.to,
        time=datetime.fromtimestamp(joining.at, UTC),
        kind="binary" if binary else "text",
        text=text,
        parts=joining.count,
        parts_missing=missing,
        data={"data": payload.hex()} if binary else {},
    )
