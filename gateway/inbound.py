"""What people write to us: parts joined whatever their order, published, and only then answered.

Parts wait for each other in Redis, since they may come by different binds and workers; should one never come, the delay ladder
has what did come published, with the number of parts missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.delay import JOIN, Ladder
from gateway.model import Inbound as InboundRecord
from gateway.model import encode_inbound
from gateway.outbox import Batches, Outbox, Record
from gateway.providers.smpp import SmppPort
from gateway.store import Patience, Script
from smpp.constants import Tag
from smpp.pdu import DataSM, DeliverSM
from smpp.segment import Concat, concat, decode_text, split_udh

_UDHI = 0x40

# [prefix, ttl, [key, part number, part, …]] → for each all its parts, as [number, part, …]
_JOIN = Script("""
local a = cmsgpack.unpack(ARGV[1])
local all = {}
for n = 1, #a[3], 3 do
  local key = a[1] .. a[3][n]
  redis.call('HSET', key, a[3][n + 1], a[3][n + 2])
  redis.call('EXPIRE', key, a[2])
  all[#all + 1] = redis.call('HGETALL', key)
end
return all
""")

# [prefix, keys to read, keys to delete] → for each key read its parts
_TAKE = Script("""
local a = cmsgpack.unpack(ARGV[1])
for _, key in ipairs(a[3]) do redis.call('UNLINK', a[1] .. key) end
local all = {}
for n, key in ipairs(a[2]) do all[n] = redis.call('HGETALL', a[1] .. key) end
return all
""")


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


_decode_joining = msgspec.json.Decoder(_Joining).decode
_encode_joining = msgspec.json.Encoder().encode


class Inbound:
    """Publishes messages from people to the inbound topic. `parts_wait_s` is how long parts wait for each other."""

    def __init__(
        self, *, store: Patience, prefix: str, outbox: Outbox, ladder: Ladder, topic: str, parts_wait_s: int
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._outbox = outbox
        self._ladder = ladder
        self._topic = topic
        self._wait = parts_wait_s

    async def take(self, messages: Sequence[tuple[SmppPort, DeliverSM | DataSM]], now: float) -> None:
        """When this returns every message is in Kafka, or is a part that waits in the store with its deadline in Kafka."""
        records: list[Record] = []
        parts: list[tuple[_Joining, int, bytes]] = []
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
                pdu.source_addr,
                pdu.destination_addr,
                place.part_count if place else 1,
                pdu.data_coding,
                elements,
                now,
            )
            if place is None or place.part_count == 1:
                records.append(_record(joining, [payload], 0))
            else:
                parts.append((joining, place.part_number, payload))
        complete: list[str] = []
        if parts:
            records += await self._join(parts, now, complete)
        if records:
            await self._outbox.send_keyed(self._topic, records)
        if complete:
            await self._store.run(_TAKE, (self._prefix, [], complete))

    async def overdue(self, payloads: Sequence[bytes]) -> None:
        """The delay ladder's handler: publish what is there of messages whose parts have not all come."""
        waiting = [_decode_joining(payload) for payload in payloads]
        keys = [joining.key for joining in waiting]
        found = await self._store.run(_TAKE, (self._prefix, keys, []))
        records = []
        for joining, flat in zip(waiting, found, strict=True):
            if flat:  # else it was complete in time
                by_number = _by_number(flat)
                records.append(_record(joining, by_number, joining.count - len(by_number)))
        if records:
            await self._outbox.send_keyed(self._topic, records)
        await self._store.run(_TAKE, (self._prefix, [], keys))

    async def _join(self, parts: list[tuple[_Joining, int, bytes]], now: float, complete: list[str]) -> list[Record]:
        flat: list[Any] = []
        for joining, number, payload in parts:
            flat += (joining.key, number, payload.hex())
        # Kept longer than they wait, so that the deadline on the ladder always finds them.
        found = await self._store.run(_JOIN, (self._prefix, 2 * self._wait + 86_400, flat))
        records: dict[str, Record] = {}
        deadlines: Batches = {}
        for (joining, _, _), all_parts in zip(parts, found, strict=True):
            by_number = _by_number(all_parts)
            if len(by_number) == joining.count:
                records[joining.key] = _record(joining, by_number, 0)
                complete.append(joining.key)
            elif len(by_number) == 1:
                key = joining.key.encode()
                self._ladder.put(deadlines, now + self._wait, JOIN, key, _encode_joining(joining), now)
        if deadlines:
            await self._outbox.send(deadlines)
        return list(records.values())


def _key(account: str, pdu: DeliverSM | DataSM, place: Concat | None) -> str:
    if place is None:
        return ""
    return f"j:{account}:{pdu.source_addr}:{pdu.destination_addr}:{place.reference}:{place.part_count}"


def _by_number(flat: list[bytes]) -> list[bytes]:
    parts = {int(flat[n]): bytes.fromhex(flat[n + 1].decode()) for n in range(0, len(flat), 2)}
    return [parts[number] for number in sorted(parts)]


def _record(joining: _Joining, payloads: list[bytes], missing: int) -> Record:
    text = decode_text(joining.data_coding, b"".join(payloads), joining.elements)
    # SMPP gives a message from a person no id. This one is the same when an SMSC delivers again within the minute.
    seed = "|".join((joining.account, joining.from_, joining.to, text, str(int(joining.at // 60))))
    record = InboundRecord(
        inbound_id=hashlib.sha256(seed.encode()).hexdigest()[:32],
        channel="sms",
        lane=joining.lane,
        account=joining.account,
        from_=joining.from_,
        to=joining.to,
        time=datetime.fromtimestamp(joining.at, UTC),
        text=text,
        parts=joining.count,
        parts_missing=missing,
    )
    return joining.from_.encode(), encode_inbound(record)
