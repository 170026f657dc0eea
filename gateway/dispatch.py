"""A message's life between its lane topic and its outcome: forward, settle, one cycle for all slots of the worker.

    records ─admit─▶ ready ─choose─▶ exchange with the ledger ─▶ write ─▶ answers ─settle─▶ outcome ─▶ publisher

One turn of `_cycle` settles what was answered since the last turn, chooses what fits into the room that this makes, tells the
ledger both in one call, and only then writes. So nothing is written that the ledger does not know of, and what is in doubt at
a hard kill is never more than a window of each bind. There is no timer: the next turn starts when there is something to do and
the last one has ended, so batches grow with the load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.config import Classes
from gateway.correlation import encode_sent, sent
from gateway.errors import Disposition
from gateway.flight import Flight, Part, Queue
from gateway.inbox import Inbox
from gateway.lane import Slot
from gateway.ledger import Acquired, Ledger, Outcome
from gateway.model import decode_message
from gateway.providers.smpp import disposition, error_name
from gateway.publisher import Publisher, Settled
from gateway.retry import next_attempt
from smpp.errors import SMPPError
from smpp.receipt import canonical_resp
from smpp.session import LateResponse, Response

log = logging.getLogger("gateway.dispatch")

THROTTLE_PAUSE_S = 1.0
"""Silence of a lane after ESME_RTHROTTLED; Kannel's default. All that a window bounces counts as one signal."""


class Dispatcher:
    """The loop of one worker."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        ledger: Ledger,
        classes: Classes,
        receipts_ttl_s: int,
        batch: int,
        publisher: Publisher,
    ) -> None:
        self.slots: dict[tuple[str, int], Slot] = {}
        """What this worker owns; whoever assigns slots fills it."""
        self._inbox = inbox
        self._ledger = ledger
        self._classes = classes
        self._ttl = receipts_ttl_s
        self._batch = batch
        self._publisher = publisher
        self._settled: list[Settled] = []
        self._rows: list[Any] = []
        self._doubts: list[Any] = []
        self._forgotten: list[str] = []
        self._touched: dict[str, Queue] = {}
        self._gate = asyncio.Lock()
        self._first = 0  # whose turn it is to choose first: slots of one lane share its tokens
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Turn until cancelled. An exception out of here is a bug, and ends the worker: nothing is dropped by it."""
        wake = self._inbox.wake
        while True:
            await wake.wait()
            wake.clear()
            await self._cycle()

    async def acquire(self, queue: Queue, committed: int) -> Acquired:
        """Become the owner of a queue, in no turn's midst: an exchange is wholly of the old epoch or wholly of the new."""
        async with self._gate:
            found = await self._ledger.acquire(queue.name, committed)
            queue.take(found.epoch, committed)
            return found

    def release(self, queue: Queue) -> None:
        """Forward nothing more of a queue: what is not written goes back to Kafka, what is written is still settled."""
        queue.owned = False
        queue.records.clear()
        # What belongs to a message that is partly written waits for its answers with it.
        queue.ready = deque([part for part in queue.ready if part.flight.flying])
        now = time.time()
        for flight in list(queue.flights.values()):
            if not flight.flying and not flight.concluded:
                self._let_go(flight, now)
        self._inbox.wake.set()

    def _let_go(self, flight: Flight, now: float) -> None:
        """Leave a message to the next owner: what is known to be not under way is open, what is in doubt stays in doubt."""
        queue = flight.queue
        flight.concluded = True
        del queue.flights[flight.offset]
        if flight.intended and not flight.in_doubt:
            queue.entry.settle(flight.offset, Outcome("o", now, tuple(flight.ids), parts=len(flight.ids)))
            self._touched[queue.name] = queue

    async def _cycle(self) -> None:
        inbox = self._inbox
        now = time.time()
        answers, inbox.answers = inbox.answers, []
        unanswered, inbox.unanswered = inbox.unanswered, []
        late, inbox.late = inbox.late, []
        deliveries, inbox.deliveries = inbox.deliveries, []
        if answers:
            self._settle_answers(answers, now)
        if unanswered:
            self._settle_unanswered(unanswered, now)
        if late:
            self._settle_late(late, now)
        chosen, claimed, claims = self._forward(now)
        if self._touched or self._rows or self._forgotten:
            async with self._gate:
                await self._exchange(claimed, claims, now)
        if chosen:
            self._write(chosen, now)
        if self._settled or deliveries:
            settled, self._settled = self._settled, []
            # Deliveries go on only now: a receipt that came after its submit_sm_resp finds what the exchange has stored.
            self._publisher.add(settled, deliveries)
        self._publisher.turned.set()

    # Forward.

    def _forward(self, now: float) -> tuple[list[tuple[Slot, list[Part]]], list[Flight], list[str]]:
        """Choose what is written this turn, most urgent class first; note claims and intents."""
        chosen: list[tuple[Slot, list[Part]]] = []
        claimed: list[Flight] = []
        claims: list[str] = []
        if self._publisher.full:
            return chosen, claimed, claims  # it wakes us when Kafka has taken enough of what is settled
        monotonic = time.monotonic()
        wait = float("inf")
        slots = list(self.slots.values())
        self._first = (self._first + 1) % (len(slots) or 1)
        for slot in slots[self._first :] + slots[: self._first]:
            room = min(slot.port.room, self._batch)
            if room <= 0:
                continue
            have = 0
            for queue in slot.queues:
                if queue.owned and not queue.fenced:
                    if have < room and queue.records:
                        self._admit(queue, room - have, now)
                    have += len(queue.ready)
            if not have:
                continue
            bucket = slot.lane.bucket
            if slot.lane.hold_until > monotonic:
                wait = min(wait, slot.lane.hold_until - monotonic)
                continue
            want = min(room, have)
            granted = bucket.take(want, monotonic)
            if granted < want:
                wait = min(wait, bucket.wait(monotonic, min(want - granted, max(1, int(bucket.rate * 0.005)))))
            if granted:
                chosen.append((slot, self._choose(slot, granted, claimed, claims, now)))
        if wait < 60:
            self._wake_in(wait)
        return chosen, claimed, claims

    def _admit(self, queue: Queue, room: int, now: float) -> None:
        """Decode and encode records until `room` parts are ready; settle at once what is not to be written."""
        records = queue.records
        ready = queue.ready
        encode = queue.slot.lane.encoder.encode
        recover_before = queue.recover_before
        limit = queue.limit
        while records and len(ready) < room:
            if records[0].offset >= limit:
                break
            record = records.popleft()
            offset = record.offset
            try:
                message = decode_message(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._finish(Flight(queue, offset, record, []), Outcome("p", now, error_text=str(error)))
                continue
            flight = Flight(queue, offset, message, [])
            if offset < recover_before:
                if not self._recover(flight, now):
                    continue
            elif recover_before:
                queue.recover_before = recover_before = 0
                queue.recovered = {}
            if message.expires_at and message.expires_at <= now:
                self._expire(flight, now)
                continue
            try:
                bodies = encode(message, now)
            except SMPPError as error:
                self._finish(flight, Outcome("f", now, error_code="text", error_text=str(error)))
                continue
            if len(bodies) == 1:
                flight.ids.append("")
                flight.left = 1
                ready.append(Part(flight, 0, bodies[0]))
            else:
                ids = flight.ids or list(message.accepted_ids)
                count = len(bodies)
                flight.ids = ids if len(ids) == count else [""] * count
                parts = [Part(flight, n, body) for n, body in enumerate(bodies) if not flight.ids[n]]
                flight.left = len(parts)
                ready.extend(parts)
            queue.flights[offset] = flight

    def _recover(self, flight: Flight, now: float) -> bool:
        """Whether a message that an earlier owner may have written is to be written (again)."""
        queue = flight.queue
        ours = queue.flights.get(flight.offset)
        if ours is not None:
            ours.stray = False  # from before a rebalance: its answer is on its way
            return False
        outcome = queue.recovered.get(flight.offset)
        if outcome is not None:
            if outcome.kind == "o":
                flight.opened = flight.intended = True
                flight.ids = list(outcome.ids) if len(outcome.ids) > 1 else []
                return True
            queue.flights[flight.offset] = flight
            self._settled.append((flight, outcome))
            return False
        if self._classes.in_doubt(flight.message.class_) == "resend":
            flight.intended = flight.in_doubt = True
            return True
        self._give_up(flight, "ledger-lost" if queue.unsure else "crash", now)
        return False

    def _give_up(self, flight: Flight, code: str, now: float) -> None:
        """Nobody will say what became of it, and it is not sent again: unknown, unless a receipt tells."""
        flight.ids = flight.ids or [""] * self._count(flight)
        self._doubt(flight, range(len(flight.ids)))
        self._finish(
            flight, Outcome("u", now, tuple(flight.ids), code, "written or not, not answered", len(flight.ids))
        )

    def _count(self, flight: Flight) -> int:
        try:
            return flight.queue.slot.lane.encoder.count(flight.message.text)
        except SMPPError:
            return 1

    def _choose(self, slot: Slot, granted: int, claimed: list[Flight], claims: list[str], now: float) -> list[Part]:
        """Take `granted` parts, and note for each message that starts with them its intent and its claim."""
        parts: list[Part] = []
        for queue in slot.queues:
            ready = queue.ready
            if not ready or not queue.owned or queue.fenced:
                continue
            entry = queue.entry
            touched = False
            while ready and granted:
                part = ready.popleft()
                flight = part.flight
                message = flight.message
                if flight.concluded:
                    continue
                if flight.error_code:
                    self._drop_part(part, now)
                    continue
                if message.expires_at and message.expires_at <= now and not flight.flying and not any(flight.ids):
                    self._expire(flight, now)
                    continue
                granted -= 1
                flight.flying += 1
                parts.append(part)
                if not flight.written_at:
                    flight.written_at = now
                if not flight.intended:
                    flight.intended = True
                    if flight.offset >= entry.intent:
                        entry.intent = flight.offset + 1
                    claimed.append(flight)
                    claims.append(f"{message.tenant}/{message.message_id}/{message.attempt}")
                    claims.append(f"{message.source}|{queue.name}:{flight.offset}")
                    touched = True
                elif flight.opened:
                    flight.opened = False
                    entry.rewrite(flight.offset)
                    touched = True
            if touched:
                self._touched[queue.name] = queue
            if not granted:
                break
        return parts

    async def _exchange(self, claimed: list[Flight], claims: list[str], now: float) -> None:
        """Tell the ledger everything since the last turn; settle what turns out to be a duplicate."""
        touched = list(self._touched.values())
        self._touched = {}
        rows, self._rows = self._rows, []
        doubts, self._doubts = self._doubts, []
        entries = [queue.entry for queue in touched]
        forgotten, self._forgotten = self._forgotten, []
        found = await self._ledger.exchange(entries, claims, rows, doubts, forgotten)
        for queue in touched:
            if queue.name in found.fenced:
                queue.fenced = True
                # What it settled has not been recorded: the other owner decides, and says what became of it.
                self._settled = [(flight, outcome) for flight, outcome in self._settled if flight.queue is not queue]
                log.error("queue has another owner, forwarding stopped queue=%s", queue.name)
            elif queue.name in found.lost:
                log.critical("the store has lost its data: claims and outcomes up to now are gone queue=%s", queue.name)
        for index, holder in found.taken.items():
            flight = claimed[index]
            # The same job record twice on lane topics is our own doing (a crash between produce and commit): say nothing.
            kind = "q" if holder.partition("|")[0] == flight.message.source else "d"
            flight.error_code = "duplicate"
            self._finish(flight, Outcome(kind, now, error_code="duplicate", error_text="message_id was used before"))

    def _write(self, chosen: list[tuple[Slot, list[Part]]], now: float) -> None:
        """One write per bind. What no longer fits (the bind went down meanwhile) is open again, at the front."""
        for slot, parts in chosen:
            going = []
            for part in parts:
                # A duplicate, or another owner's by now.
                if part.flight.concluded or part.flight.queue.fenced:
                    part.flight.flying -= 1
                else:
                    going.append(part)
            if len(going) < len(parts):
                self._inbox.wake.set()  # there is room left
            room = slot.port.room
            if len(going) > room:
                for part in reversed(going[room:]):
                    part.flight.flying -= 1
                    self._put_back(part, now)
                del going[room:]
            if going:
                slot.port.submit([(part.body, part) for part in going])

    # Settle.

    def _settle_answers(self, answers: list[Response], now: float) -> None:
        rows = self._rows
        settled = self._settled
        touched = self._touched
        ttl = self._ttl
        queue: Queue | None = None
        for answer in answers:
            part: Part = answer.context
            flight = part.flight
            flight.flying -= 1
            if answer.command_status:
                self._refused(part, answer.command_status, now)
                continue
            provider_message_id = answer.message_id
            if len(flight.ids) > 1 or not provider_message_id:
                self._accepted(part, provider_message_id)
                flight.left -= 1
                self._landed(flight, now)
                continue
            # A message of one part, accepted: most of them. What `_accepted`, `_landed` and `_finish` do, written out.
            if flight.queue is not queue:
                queue = flight.queue
                entry = queue.entry
                lane = queue.slot.lane
                head = f"d:{lane.account}:"
                touched[queue.name] = queue
            flight.left = 0
            flight.concluded = True
            flight.ids[0] = provider_message_id
            rows += (
                head + canonical_resp(provider_message_id, lane.id_format),
                encode_sent(sent(flight.message, lane.name, 1, 0, provider_message_id)),
                ttl,
            )
            outcome = Outcome("s", now, (provider_message_id,))
            entry.settle(flight.offset, outcome)
            settled.append((flight, outcome))

    def _landed(self, flight: Flight, now: float) -> None:
        """One part fewer is open: the message is done, or waits for the others."""
        if not flight.left:
            self._conclude(flight, now)
        elif not flight.flying and not flight.queue.owned and not flight.concluded:
            self._let_go(flight, now)

    def _refused(self, part: Part, command_status: int, now: float) -> None:
        flight = part.flight
        name = error_name(command_status)
        what = disposition(command_status)
        lane = flight.queue.slot.lane
        lane.refused(name)
        if what is Disposition.THROTTLED:
            lane.hold_until = max(lane.hold_until, time.monotonic() + THROTTLE_PAUSE_S)
            self._put_back(part, now)
            return
        flight.left -= 1
        if what is Disposition.RETRY:
            flight.retry_code = flight.retry_code or name
        else:
            flight.error_code = flight.error_code or name
        self._landed(flight, now)

    def _settle_unanswered(self, parts: Sequence[Part], now: float) -> None:
        """Written, and nobody will say what became of it: the class decides."""
        for part in reversed(parts):
            flight = part.flight
            flight.flying -= 1
            flight.in_doubt = True
            if self._classes.in_doubt(flight.message.class_) == "resend":
                if flight.queue.owned:
                    flight.queue.ready.appendleft(part)
                elif not flight.flying and not flight.concluded:
                    self._let_go(flight, now)
                continue
            flight.left -= 1
            self._landed(flight, now)

    def _settle_late(self, answers: Sequence[LateResponse], now: float) -> None:
        """An answer after the response timeout: too late for the outcome, in time to know the message by its receipt."""
        for answer in answers:
            if answer.command_status:
                continue
            part: Part = answer.context
            flight = part.flight
            self._accepted(part, answer.message_id)
            ready = flight.queue.ready
            if part in ready:  # about to be sent again, and now we know that it need not be
                ready.remove(part)
                flight.left -= 1
                self._landed(flight, now)
            elif not flight.left and "" not in flight.ids:
                for number in range(len(flight.ids)):
                    self._forgotten += _doubt_key(flight, number)
                self._settled.append((flight, Outcome("s", now, tuple(flight.ids), parts=len(flight.ids))))

    def _accepted(self, part: Part, provider_message_id: str) -> None:
        flight = part.flight
        lane = flight.queue.slot.lane
        flight.ids[part.number] = provider_message_id
        if not provider_message_id:
            return  # an SMSC without ids has no receipts that could be told apart
        rows = self._rows
        rows.append(f"d:{lane.account}:{canonical_resp(provider_message_id, lane.id_format)}")
        rows.append(encode_sent(sent(flight.message, lane.name, len(flight.ids), part.number, provider_message_id)))
        rows.append(self._ttl)

    def _put_back(self, part: Part, now: float) -> None:
        """Certainly not accepted: back to the front, and known to the ledger as open once no part of it is under way."""
        flight = part.flight
        queue = flight.queue
        if not queue.owned:
            if not flight.flying and not flight.concluded:
                self._let_go(flight, now)
            return
        queue.ready.appendleft(part)
        if not flight.flying:
            flight.opened = True
            queue.entry.settle(flight.offset, Outcome("o", now, tuple(flight.ids), parts=len(flight.ids)))
            self._touched[queue.name] = queue
        self._inbox.wake.set()

    def _drop_part(self, part: Part, now: float) -> None:
        part.flight.left -= 1
        self._landed(part.flight, now)

    def _expire(self, flight: Flight, now: float) -> None:
        """Too late for a message of which nothing is known to be accepted; its other parts are dropped in their turn."""
        if flight.in_doubt:
            self._give_up(flight, "no-answer", now)
        else:
            self._finish(flight, Outcome("x", now, error_code="expired", parts=len(flight.ids) or self._count(flight)))

    def _conclude(self, flight: Flight, now: float) -> None:
        """All parts have their answers, or never will: what became of the message?"""
        if flight.concluded:
            return
        ids = tuple(flight.ids)
        parts = len(ids)
        if flight.error_code:
            outcome = Outcome("f", now, ids, flight.error_code, "refused by the operator", parts)
        elif flight.in_doubt and "" in ids and self._classes.in_doubt(flight.message.class_) == "report":
            self._doubt(flight, [n for n, provider_id in enumerate(ids) if not provider_id])
            outcome = Outcome("u", now, ids, "no-answer", "written, not answered", parts)
        elif flight.retry_code:
            due = next_attempt(flight.message, now)
            outcome = (
                Outcome("f", now, ids, flight.retry_code, "no attempts or time left", parts)
                if due is None
                else Outcome("r", now, ids, flight.retry_code, "", parts, due)
            )
        else:  # accepted, or answered in the end whatever was in doubt in between
            outcome = Outcome("s", now, ids, "", "", parts)
        self._finish(flight, outcome)

    def _doubt(self, flight: Flight, numbers: Iterable[int]) -> None:
        """Index the parts in doubt by where they went: a receipt that nobody claims may tell what became of them."""
        lane = flight.queue.slot.lane.name
        for number in numbers:
            row = sent(flight.message, lane, len(flight.ids), number)
            self._doubts += (*_doubt_key(flight, number), encode_sent(row), self._ttl)

    def _finish(self, flight: Flight, outcome: Outcome) -> None:
        queue = flight.queue
        flight.concluded = True
        queue.flights[flight.offset] = flight
        queue.entry.settle(flight.offset, outcome)
        self._touched[queue.name] = queue
        self._settled.append((flight, outcome))

    def _wake_in(self, delay: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(delay, self._inbox.wake.set)


def _doubt_key(flight: Flight, number: int) -> tuple[str, str]:
    """Key and field of a part in doubt: by account and destination, then by when it was written at the earliest."""
    message = flight.message
    group = f"{message.tenant}/{message.message_id}/{message.attempt}"
    at = flight.written_at or message.accepted_at
    return f"u:{flight.queue.slot.lane.account}:{message.to}", f"{at:017.6f}/{group}/{number}"
