"""What providers say of messages later: correlate, publish, and only then answer the SMSC or the callback.

A crash before the answer makes the provider say it again. What finds nothing (it overtook the answer to its message, or
came to another worker) goes to the delay ladder and is looked up again until the limit; then it is matched with what
is in doubt for its destination, and at last published as an orphan. The state of a message only moves forward: of an SMSC
the first final receipt counts, and of a message of several parts the aggregate of all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from gateway import early as earlies
from gateway.correlation import (
    FINAL_MARK,
    LASTING,
    REMEMBER_S,
    ROW,
    Sent,
    attempt_key,
    decode_sent,
    doubt_key,
    follows,
    id_key,
    opened,
    parts_key,
    reference_key,
)
from gateway.delay import RECEIPT, Ladder
from gateway.early import OF_AN_SMSC, OF_STATE, Early, decode_early, encode_early
from gateway.failover import Failover, with_step
from gateway.group import Group
from gateway.inbound import Inbound
from gateway.inbox import Delivery, Inbox
from gateway.metrics.count import Histogram
from gateway.metrics.meters import histogram
from gateway.model import EventStatus, decode_message, encode_message
from gateway.operators import from_tlv
from gateway.outbox import Batches, Outbox, Record
from gateway.providers.contract import Status
from gateway.providers.smpp import SmppPort
from gateway.receipt_scripts import COLLECT, CORRELATE, DOUBTS, TOLD
from gateway.store import Patience
from smpp.pdu import DataSM, DeliverSM
from smpp.receipt import IdFormat, canonical_receipt, parse

log = logging.getLogger("gateway.receipts")

_EARLY_FIRST_S = 1.0
_TIMED = 8
"""Receipts of a batch whose delay is looked at."""
_BATCH = 2000
"""Statuses in one call of the store, which does nothing else meanwhile: some milliseconds."""
_DOUBTS = 5000
"""Parts in doubt that are read of one number: a handset for load tests may have any number of them."""


Reached = dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]]
"""By portfolio: number and attempt of messages that were delivered, and of those that certainly were not."""
Refused = Sequence[tuple[Sent, str]]
"""Messages of WhatsApp that a callback says have failed, and the code."""

_REACHED = (EventStatus.DELIVERED, EventStatus.READ)
_OVER = (EventStatus.FAILED, EventStatus.EXPIRED)


class Receipts:
    """One loop per worker over all its deliveries, one over all its callbacks; messages from people go on to `inbound`.

    `capacity` is how many statuses of callbacks may wait for Kafka; `learn` is told a number and the network that serves it.
    """

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
        capacity: int = 20_000,
        learn: Callable[[str, str], None] | None = None,
        network_tlvs: Mapping[str, int] | None = None,
        failover: Failover | None = None,
        settled: Callable[[Reached], Awaitable[None]] | None = None,
        refused: Callable[[Refused], Awaitable[None]] | None = None,
    ) -> None:
        """`network_tlvs` are parameters of receipts, by lane, in which an operator names the network that serves the number.

        `failover` finds the next step of what has failed; `settled` is told who was reached and who was not, by portfolio;
        `refused` what has failed, which may be about more than this one message."""
        self._network_tlvs = network_tlvs or {}
        self._failover = failover
        self._settled = settled
        self._reached: Reached = {}
        self._on_refused = refused
        self._refused: list[tuple[Sent, str]] = []
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
        self._capacity = capacity
        self._learn = learn
        self._deliveries: list[Delivery] = []
        self._wake = asyncio.Event()
        self._callbacks = Group(self._process, self._rest, _BATCH)
        self._marks: list[str] = []
        self._told: list[str | bool] = []
        self._forget: list[str] = []
        self._resolved: list[str] = []
        """Keys of receipts that told of a doubt: said again, they are known."""
        self.of_account: Counter[tuple[str, str]] = Counter()
        """The same as `counts`, by account."""
        self.delays: defaultdict[str, Histogram] = defaultdict(partial(histogram, "recado_receipt_delay_seconds"))
        """By lane, from a message's write to what was said of it."""
        self.counts: Counter[str] = Counter()
        """matched, repeated, overtaken, intermediate, early, resolved, orphan, unusable."""

    @property
    def full(self) -> bool:
        """Whether callbacks have to wait outside."""
        return self._callbacks.waiting >= self._capacity

    def add(self, deliveries: list[Delivery]) -> None:
        """Deliveries whose predecessors on their connection are in the store; called by the publisher."""
        self._deliveries += deliveries
        self._wake.set()

    async def take(self, lane: str, account: str, statuses: Sequence[Status], channel: str = "sms") -> None:
        """Return when what a callback says is in Kafka, as events or on the delay ladder.

        Cancelling is safe: what has begun is finished, what has not is left, and the provider says all of it again.
        Raises `StoreUnavailable` when this process stops.
        """
        now = time.time()
        found = [earlies.of_status(lane, account, channel, each, now) for each in statuses if earlies.usable(each)]
        if len(found) < len(statuses):
            self._count(account, "unusable", len(statuses) - len(found))
        if found:
            await self._callbacks.put(found)

    async def run(self) -> None:
        """Turn until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._callbacks.run(), name="callbacks")
            loops.create_task(self._inbound.run(), name="inbound")
            while True:
                await self._wake.wait()
                self._wake.clear()
                deliveries, self._deliveries = self._deliveries, []
                await self._turn(deliveries)
                await self._rest()

    async def again(self, payloads: Sequence[bytes]) -> None:
        """Look early ones up again: the delay ladder's handler."""
        await self._callbacks.put([decode_early(payload) for payload in payloads])

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
                    key = head + canonical_receipt(receipt.message_id, id_format)
                    status, name = OF_STATE[receipt.state]
                    to = pdu.source_addr.lstrip("+0")
                    code = OF_AN_SMSC + receipt.error
                    early = Early(lane, account, to, receipt.message_id, key, status, code, name, now)
                    if lane in self._network_tlvs:
                        early.network = from_tlv(pdu.tlvs.get(self._network_tlvs[lane], b""))
                    receipts.append(early)
                else:
                    self._count(account, "intermediate")
        if receipts:
            await self._process(receipts)
        if messages:
            await self._inbound.take(messages, now)
        self._inbox.answer(deliveries)

    async def _process(self, batch: list[Early]) -> None:
        """Publish what they say. When this returns each is in Kafka, as an event or on the delay ladder."""
        now = time.time()
        rows = await self._correlate(batch)
        matched: list[tuple[Early, Sent]] = []
        missed: list[Early] = []
        told: dict[str, str] = {}
        for early, row in zip(batch, rows, strict=True):
            key = early.key
            if row is None:
                missed.append(early)
                continue
            if early.smpp and row[0] == ROW and key not in told:
                sent = decode_sent(row)
            elif (news := self._news(early, row, told)) is None:
                continue
            else:
                sent = news
                key = _subject(early, sent)
            if sent.to[1:] == early.to or earlies.same_destination(sent.to, early.to):
                told[key] = early.status
                matched.append((early, sent))
            else:
                missed.append(early)  # the provider has used the id again, or it is not ours
        batches: Batches = {}
        records: list[Record] = []
        if missed:
            resolved, forget, orphans = await self._missed(missed, now, batches)
            records += orphans
        else:
            resolved, forget = [], []
        self.counts["matched"] += len(matched)
        for account, times in Counter([early.account for early, _ in matched]).items():
            self.of_account[account, "matched"] += times
        self._time(matched)
        records += await self._events(matched + resolved, now, batches)
        if self._reached and self._settled is not None:
            reached, self._reached = self._reached, {}
            await self._settled(reached)
        if self._refused and self._on_refused is not None:
            refused, self._refused = self._refused, []
            await self._on_refused(refused)
        if records:
            await self._outbox.send_keyed(self._events_topic, records)
        if batches:
            await self._outbox.send(batches)
        # Only now: a doubt that was forgotten before its event was in Kafka would be lost with this process.
        self._forget += forget
        self._resolved += [early.key for early, _ in resolved if early.id]
        for early, sent in matched:
            if early.smpp:
                self._marks.append(early.key)
            else:
                self._remember(early, sent)
            if early.network and self._learn is not None:  # by our own number: some SMSCs leave the country code out
                self._learn(sent.to, early.network)

    def _time(self, matched: list[tuple[Early, Sent]]) -> None:
        """Note how long receipts took; of many some stand for the others."""
        every = 1 + len(matched) // _TIMED
        for n in range(0, len(matched), every):
            early, sent = matched[n]
            if sent.at and early.status is not EventStatus.READ:
                self.delays[sent.lane].observe(max(0.0, early.seen_at - sent.at), min(every, len(matched) - n))

    def _count(self, account: str, what: str, times: int = 1) -> None:
        self.counts[what] += times
        self.of_account[account, what] += times

    def _news(self, early: Early, row: bytes, told: Mapping[str, str]) -> Sent | None:
        """Return the message if what is said of it takes it forward; `told` is what this batch has told, by `_subject`."""
        before, sent = opened(row)
        before = told.get(_subject(early, sent), before)
        if early.status is EventStatus.SUBMITTED and before != EventStatus.UNKNOWN:
            self._count(early.account, "intermediate")
        elif before in (early.status, FINAL_MARK.decode()):
            self._count(early.account, "repeated")
        elif sent is None or not follows(before, early.status):
            self._count(early.account, "overtaken")
        else:
            if before == EventStatus.DELIVERED and sent.portfolio:  # its place counts from then
                sent = msgspec.structs.replace(sent, portfolio="")
            return sent if sent.id else msgspec.structs.replace(sent, id=early.id)
        return None

    def _remember(self, early: Early, sent: Sent) -> None:
        """Note what was told of a message because of a callback, under all of its keys, whichever the callback carried."""
        keys = {early.key, reference_key(early.account, attempt_key(sent))}
        if sent.id:
            keys.add(id_key(early.account, sent.id))
        for key in keys:
            self._told += (key, early.status, early.status in LASTING)

    async def _rest(self) -> None:
        """Have the store remember what was told, unless something is coming that takes it along."""
        if (self._marks or self._told or self._forget) and not self._deliveries:
            await self._correlate([])

    async def _correlate(self, batch: list[Early]) -> list[bytes | None]:
        marks, self._marks = self._marks, []
        told, self._told = self._told, []
        forget, self._forget = self._forget, []
        resolved, self._resolved = self._resolved, []
        keys = [early.key for early in batch]
        others = [
            each for number, early in enumerate(batch, 1) if early.reference for each in (number, early.reference)
        ]
        values: list[bytes | None] = await self._store.run(
            CORRELATE, (self._prefix, REMEMBER_S, marks, told, forget, others, keys, resolved, self._ttl)
        )
        return values

    async def _events(self, matched: list[tuple[Early, Sent]], now: float, batches: Batches) -> list[Record]:
        """The events of what is matched; what goes on with a step of its plan is added to `batches`."""
        records = []
        parts: list[tuple[Early, Sent]] = []
        for early, sent in matched:
            if sent.parts == 1:
                records.append(self._tell(sent, now, early.status, early.code, early.text, 1, batches))
            else:
                parts.append((early, sent))
        if parts:
            records += await self._aggregates(parts, now, batches)
        return records

    def _tell(
        self, sent: Sent, now: float, status: EventStatus, code: str, text: str, parts_done: int, batches: Batches
    ) -> Record:
        if sent.portfolio and status in (*_REACHED, *_OVER):
            self._reached.setdefault(sent.portfolio, ([], []))[status in _OVER].append((sent.to, attempt_key(sent)))
        if sent.channel == "whatsapp" and status is EventStatus.FAILED and self._on_refused is not None:
            self._refused.append((sent, code))
        if sent.plan and status in _OVER and self._failover is not None:
            message = decode_message(sent.plan.encode())
            if (found := self._failover.next_step(message)) is not None:
                step, lane = found
                goes_on = with_step(message, step, sent.attempt + 1)
                where = self._failover.address(lane, goes_on)
                batches.setdefault(where, []).append((goes_on.to.encode(), encode_message(goes_on)))
                status = EventStatus.FALLBACK
        return earlies.event(sent, now, status, code, text, parts_done)

    async def _aggregates(self, parts: list[tuple[Early, Sent]], now: float, batches: Batches) -> list[Record]:
        """Note the parts' states; of messages whose parts are all known now, the event: delivered only if all are."""
        flat: list[Any] = []
        for early, sent in parts:
            known = f"{sent.attempt} {int(bool(sent.plan))} {early.status} {early.text} {early.code}"
            flat += (f"a:{parts_key(sent)}", sent.number, known, early.key)
        groups = await self._store.run(COLLECT, (self._prefix, self._ttl, flat))
        records = {}
        for (_, sent), states in zip(parts, groups, strict=True):
            if len(states) < 2 * sent.parts:
                continue
            said = [state.decode().split(" ", 4) for state in states[1::2]]
            others = [each for each in said if each[2] != EventStatus.DELIVERED]
            _, _, status, text, code = (others or said)[-1]
            delivered = len(said) - len(others)
            # Several attempts may have got parts accepted. A step goes on from the last of them, since the others' successors
            # have claims already, and not at all where one of them was in doubt.
            last = max(int(attempt) for attempt, *_ in said)
            plan = sent.plan if all(plan == "1" for _, plan, *_ in said) else ""
            whole = msgspec.structs.replace(sent, attempt=last, plan=plan)
            records[parts_key(sent)] = self._tell(whole, now, EventStatus(status), code, text, delivered, batches)
        return list(records.values())

    async def _missed(
        self, missed: list[Early], now: float, batches: Batches
    ) -> tuple[list[tuple[Early, Sent]], list[str], list[Record]]:
        """Later, or resolved by what is in doubt, or an orphan."""
        last: list[Early] = []
        for early in missed:
            if now - early.seen_at < self._early_limit:
                self._count(early.account, "early")
                due = min(now + max(_EARLY_FIRST_S, now - early.seen_at), early.seen_at + self._early_limit)
                # Those of one number go to one worker: two that read its doubts at the same time would tell of the same one.
                whose = doubt_key(early.account, early.to) if early.to else early.key
                self._ladder.put(batches, due, RECEIPT, whose.encode(), encode_early(early), now)
            elif early.status is EventStatus.SUBMITTED:
                self._count(early.account, "intermediate")  # on its way, as whoever sent it knows
            else:
                last.append(early)
        if not last:
            return [], [], []
        keys = [doubt_key(early.account, early.to) for early in last]
        doubts = await self._doubts(list(dict.fromkeys(keys)))
        resolved: list[tuple[Early, Sent]] = []
        forget: list[str] = []
        orphans: list[Record] = []
        told: set[str] = set()
        for early, key in zip(last, keys, strict=True):
            if early.key in told:  # said twice, it tells of one message all the same
                self._count(early.account, "repeated")
                continue
            # With no id that we know, all that it says of the number has to be right.
            ours = (n for n, (_, sent) in enumerate(doubts[key]) if sent.to.endswith(early.to))
            first = next(ours, None)
            if first is not None and float(doubts[key][first][0][:17]) <= early.seen_at:
                field, sent = doubts[key].pop(first)
                if early.id:  # else its key is that of all receipts without one
                    told.add(early.key)
                self._count(early.account, "resolved")
                resolved.append((early, msgspec.structs.replace(sent, id=early.id)))
                forget += (key, field.decode())
            else:
                self._count(early.account, "orphan")
                orphans.append(earlies.orphan(early))
        return resolved, forget, orphans

    async def _doubts(self, keys: list[str]) -> dict[str, list[tuple[bytes, Sent]]]:
        """For each destination what is in doubt, the oldest first; without parts that a receipt of their own has told of.

        A worker that was killed had their answer, but the message is not settled before all of them have theirs.
        """
        found = await self._store.run(DOUBTS, (self._prefix, keys, _DOUBTS))
        doubts = {
            key: [(field, decode_sent(row)) for field, row in sorted(zip(flat[::2], flat[1::2], strict=True))]
            for key, flat in zip(keys, found, strict=True)
        }
        parts = [sent for of_one in doubts.values() for _, sent in of_one if sent.parts > 1]
        if not parts:
            return doubts
        flat = [each for sent in parts for each in (f"a:{parts_key(sent)}", sent.number)]
        told = iter(await self._store.run(TOLD, (self._prefix, flat)))
        return {
            key: [(field, sent) for field, sent in of_one if sent.parts == 1 or not next(told)]
            for key, of_one in doubts.items()
        }


def _subject(early: Early, sent: Sent | None) -> str:
    """By what it is known within a batch what was told: a callback may name the same message by its id or by our reference."""
    return early.key if early.smpp or sent is None else f"{attempt_key(sent)}/{sent.number}"
