"""Delivery receipts: correlate, publish, and only then answer the SMSC.

A crash before the answer makes the SMSC send the receipt again. A receipt that finds nothing (it overtook its submit_sm_resp, or
came by another worker's bind) goes to the delay ladder and is looked up again until the limit; then it is matched with what
is in doubt for its destination, and at last published as an orphan. The state of a message only moves forward: the first
final receipt counts, and of a message of several parts the aggregate of all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway import events
from gateway.correlation import FINAL_MARK, Sent, attempt_key, decode_sent
from gateway.delay import RECEIPT, Ladder
from gateway.inbound import Inbound
from gateway.inbox import Delivery, Inbox
from gateway.model import EventStatus
from gateway.outbox import Batches, Outbox, Record
from gateway.providers.smpp import SmppPort
from gateway.store import Patience, Script
from smpp.pdu import DataSM, DeliverSM
from smpp.receipt import IdFormat, MessageState, canonical_receipt, parse

log = logging.getLogger("gateway.receipts")

# [prefix, final mark, keys to mark, [key, field] to forget, keys to look up] → values
_CORRELATE = Script("""
local a = cmsgpack.unpack(ARGV[1])
local prefix = a[1]
for _, key in ipairs(a[3]) do
  redis.call('SET', prefix .. key, a[2], 'XX', 'KEEPTTL')
end
for n = 1, #a[4], 2 do
  redis.call('HDEL', prefix .. a[4][n], a[4][n + 1])
end
local values = {}
for n, key in ipairs(a[5]) do
  values[n] = redis.call('GET', prefix .. key)
end
return values
""")

# [prefix, ttl, [group, part number, state, …]] → for each all states of its group, as [number, state, …]
_ADVANCE = Script("""
local a = cmsgpack.unpack(ARGV[1])
local groups = {}
for n = 1, #a[3], 3 do
  local key = a[1] .. 'g:' .. a[3][n]
  redis.call('HSET', key, a[3][n + 1], a[3][n + 2])
  redis.call('EXPIRE', key, a[2])
  groups[#groups + 1] = redis.call('HGETALL', key)
end
return groups
""")

# [prefix, keys] → for each all parts in doubt, as [field, row, …]
_DOUBTS = Script("""
local a = cmsgpack.unpack(ARGV[1])
local all = {}
for n, key in ipairs(a[2]) do
  all[n] = redis.call('HGETALL', a[1] .. key)
end
return all
""")

_DELIVERED = int(MessageState.DELIVERED)
_STATE_NAMES = {int(state): state.name for state in MessageState}

_EARLY_FIRST_S = 1.0


class Early(msgspec.Struct, array_like=True, gc=False):
    """A receipt on its way to its message; also what waits on the delay ladder."""

    lane: str
    account: str
    to: str
    """The destination of the message, digits only: `+57…`, `0057…` and `57…` are one."""
    id: str
    key: str
    state: int
    error: str
    seen_at: float
    """Unix seconds."""


_decode_early = msgspec.json.Decoder(Early).decode
_encode_early = msgspec.json.Encoder().encode


class Receipts:
    """One loop per worker over all its deliveries; messages from people are passed on to `inbound`."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        store: Patience,
        prefix: str,
        outbox: Outbox,
        ladder: Ladder,
        inbound: Inbound,
        events_topic: str,
        formats: dict[str, IdFormat],
        ttl_s: int,
        early_limit_s: float,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._prefix = prefix
        self._outbox = outbox
        self._ladder = ladder
        self._inbound = inbound
        self._events_topic = events_topic
        self._formats = formats
        self._ttl = ttl_s
        self._early_limit = early_limit_s
        self._deliveries: list[Delivery] = []
        self._wake = asyncio.Event()
        self._marks: list[str] = []
        self._forget: list[str] = []
        self.counts: Counter[str] = Counter()
        """matched, repeated, intermediate, early, resolved, orphan."""

    def add(self, deliveries: list[Delivery]) -> None:
        """Deliveries whose predecessors on their connection are in the store; called by the publisher."""
        self._deliveries += deliveries
        self._wake.set()

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            deliveries, self._deliveries = self._deliveries, []
            await self._turn(deliveries)
            if self._marks and not self._deliveries:
                await self._correlate([])

    async def again(self, payloads: Sequence[bytes]) -> None:
        """Look early receipts up again: the delay ladder's handler."""
        await self._process([_decode_early(payload) for payload in payloads], time.time())

    async def _turn(self, deliveries: list[Delivery]) -> None:
        now = time.time()
        receipts: list[Early] = []
        messages: list[tuple[SmppPort, DeliverSM | DataSM]] = []
        for delivery in deliveries:
            lane = delivery.port.lane
            account = delivery.port.account
            head = f"d:{account}:"
            id_format = self._formats[account]
            for pdu in delivery.pdus:
                receipt = parse(pdu.esm_class, pdu.short_message, pdu.tlvs)
                if receipt is None:
                    messages.append((delivery.port, pdu))
                elif receipt.final:
                    receipts.append(
                        Early(
                            lane,
                            account,
                            pdu.source_addr.lstrip("+0"),
                            receipt.message_id,
                            head + canonical_receipt(receipt.message_id, id_format),
                            receipt.state,
                            receipt.error,
                            now,
                        )
                    )
                else:
                    self.counts["intermediate"] += 1
        if receipts:
            await self._process(receipts, now)
        if messages:
            await self._inbound.take(messages, now)
        self._inbox.answer(deliveries)

    async def _process(self, receipts: list[Early], now: float) -> None:
        """Publish what the receipts say. When this returns each is in Kafka, as an event or on the delay ladder."""
        rows = await self._correlate([receipt.key for receipt in receipts])
        matched: dict[str, tuple[Early, Sent]] = {}
        missed: list[Early] = []
        for receipt, row in zip(receipts, rows, strict=True):
            if row is None:
                missed.append(receipt)
            elif row == FINAL_MARK or receipt.key in matched:
                self.counts["repeated"] += 1
            else:
                sent = decode_sent(row)
                if sent.to[1:] == receipt.to or _same_destination(sent.to, receipt.to):
                    matched[receipt.key] = (receipt, sent)
                else:
                    missed.append(receipt)  # the provider has used the id again, or it is not ours
        batches: Batches = {}
        records: list[Record] = []
        if missed:
            resolved, forget, orphans = await self._missed(missed, now, batches)
            self._forget += forget
            records += orphans
        else:
            resolved = []
        self.counts["matched"] += len(matched)
        records += await self._events([*matched.values(), *resolved], now)
        if records:
            await self._outbox.send_keyed(self._events_topic, records)
        if batches:
            await self._outbox.send(batches)
        self._marks += matched

    async def _correlate(self, keys: list[str]) -> list[bytes | None]:
        marks, self._marks = self._marks, []
        forget, self._forget = self._forget, []
        values: list[bytes | None] = await self._store.run(
            _CORRELATE, (self._prefix, FINAL_MARK.decode(), marks, forget, keys)
        )
        return values

    async def _events(self, matched: list[tuple[Early, Sent]], now: float) -> list[Record]:
        records = []
        parts: list[tuple[Early, Sent]] = []
        for receipt, sent in matched:
            if sent.parts == 1:
                records.append(_event(sent, now, receipt.state, receipt.error, 1))
            else:
                parts.append((receipt, sent))
        if parts:
            records += await self._aggregates(parts, now)
        return records

    async def _aggregates(self, parts: list[tuple[Early, Sent]], now: float) -> list[Record]:
        """Note the parts' states; of messages whose parts are all known now, the event: delivered only if all are."""
        flat: list[Any] = []
        for receipt, sent in parts:
            flat += (attempt_key(sent), sent.number, f"{receipt.state}:{receipt.error}")
        groups = await self._store.run(_ADVANCE, (self._prefix, self._ttl, flat))
        records = {}
        for (_, sent), states in zip(parts, groups, strict=True):
            if len(states) < 2 * sent.parts:
                continue
            worst, error = MessageState.DELIVERED, "000"
            for state in states[1::2]:
                value, _, code = state.decode().partition(":")
                if int(value) != MessageState.DELIVERED:
                    worst, error = MessageState(int(value)), code
            delivered = sum(state.startswith(b"%d:" % MessageState.DELIVERED) for state in states[1::2])
            records[attempt_key(sent)] = _event(sent, now, worst, error, delivered)
        return list(records.values())

    async def _missed(
        self, missed: list[Early], now: float, batches: Batches
    ) -> tuple[list[tuple[Early, Sent]], list[str], list[Record]]:
        """Later, or resolved by what is in doubt, or an orphan."""
        last: list[Early] = []
        for receipt in missed:
            if now - receipt.seen_at < self._early_limit:
                self.counts["early"] += 1
                due = min(now + max(_EARLY_FIRST_S, now - receipt.seen_at), receipt.seen_at + self._early_limit)
                self._ladder.put(batches, due, RECEIPT, receipt.key.encode(), _encode_early(receipt), now)
            else:
                last.append(receipt)
        if not last:
            return [], [], []
        keys = [f"u:{receipt.account}:+{receipt.to}" for receipt in last]
        doubts = await self._store.run(_DOUBTS, (self._prefix, keys))
        resolved: list[tuple[Early, Sent]] = []
        forget: list[str] = []
        orphans: list[Record] = []
        taken: set[tuple[str, bytes]] = set()
        for receipt, key, flat in zip(last, keys, doubts, strict=True):
            fields = sorted((field, row) for field, row in zip(flat[::2], flat[1::2], strict=True))
            field, row = next(((f, r) for f, r in fields if (key, f) not in taken), (b"", b""))
            if field and float(field[:17]) <= receipt.seen_at:
                taken.add((key, field))
                self.counts["resolved"] += 1
                resolved.append((receipt, msgspec.structs.replace(decode_sent(row), id=receipt.id)))
                forget += (key, field.decode())
            else:
                self.counts["orphan"] += 1
                state = _STATE_NAMES[receipt.state]
                at = events.utc(receipt.seen_at)
                orphans.append(
                    events.of_orphan(receipt.lane, receipt.account, receipt.id, at, f"{state}:{receipt.error}")
                )
        return resolved, forget, orphans


def _same_destination(to: str, address: str) -> bool:
    """Some SMSCs leave the country code out: the longer number then ends with the shorter one."""
    ours = to.lstrip("+0")
    return not address or (len(address) >= 7 and (ours.endswith(address) or address.endswith(ours)))


def _event(sent: Sent, at: float, state: int, error: str, parts_done: int) -> Record:
    if state == _DELIVERED:
        return events.of_receipt(sent, EventStatus.DELIVERED, at, parts_done, "")
    status = EventStatus.EXPIRED if state == MessageState.EXPIRED else EventStatus.FAILED
    return events.of_receipt(sent, status, at, parts_done, f"receipt:{error}", _STATE_NAMES[state])
