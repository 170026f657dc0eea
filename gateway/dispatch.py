"""A message's life between its lane topic and its outcome: forward, settle, one loop for all slots of the worker.

    records ─admit─▶ ready ─choose─▶ exchange with the ledger ─▶ write ─▶ answers ─settle─▶ outcome ─▶ publisher

One turn settles what was answered since the last (`settle.py`), chooses what fits into the room that this makes (`forward.py`),
tells the ledger both in one call, and only then writes. So nothing is written that the ledger does not know of, and what is in
doubt at a hard kill is never more than a window of each bind. There is no timer: the next turn starts when there is something to
do and the last one has ended, so batches grow with the load.
"""

from __future__ import annotations

import asyncio
import logging
import time

from gateway.config import Classes
from gateway.correlation import attempt_key
from gateway.failover import Failover
from gateway.flight import Queue
from gateway.forward import Chosen, Forwarder, freshen
from gateway.inbox import Inbox
from gateway.lane import Slot
from gateway.ledger import Acquired, Ledger, Outcome
from gateway.portfolio import Portfolio
from gateway.publisher import Publisher
from gateway.settle import Settler
from gateway.turn import Turn

log = logging.getLogger("gateway.dispatch")

_WAITED_S = 5.0
"""An exchange takes milliseconds: what waited so long for the store is looked at again before it is written."""
_LONG_S = 60.0
"""A lane that has no tokens for longer is paused; whoever lets it go on wakes the loop."""


class Dispatcher:
    """The loop of one worker."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        ledger: Ledger,
        classes: Classes,
        failover: Failover,
        receipts_ttl_s: int,
        batch: int,
        publisher: Publisher,
    ) -> None:
        self.slots: dict[tuple[str, int], Slot] = {}
        """What this worker owns; whoever assigns slots fills it."""
        self.numbers = False
        """Whether any lane is one of WhatsApp."""
        self._inbox = inbox
        self._ledger = ledger
        self._publisher = publisher
        self._turn = Turn()
        self._settler = Settler(self._turn, classes, inbox, failover, receipts_ttl_s)
        self._forwarder = Forwarder(self._turn, self._settler, failover, batch)
        self._told: set[str] = set()
        """Queues of which a store is told that has lost its data: that it does not know them is no news."""
        self._gate = asyncio.Lock()
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Turn until cancelled. An exception out of here is a bug, and ends the worker: nothing is dropped by it."""
        wake = self._inbox.wake
        while True:
            await wake.wait()
            wake.clear()
            started = time.monotonic()
            await self._take_turn()
            forwarder = self._forwarder
            forwarder.turn_s += (time.monotonic() - started - forwarder.turn_s) / 8

    def configure(self, classes: Classes) -> None:
        """Go on with what a reload says of the classes."""
        self._settler.classes = classes

    async def acquire(self, queue: Queue, committed: int, lost: int = -1) -> Acquired:
        """Become the owner of a queue, in no turn's midst: an exchange is wholly of the old epoch or wholly of the new."""
        async with self._gate:
            found = await self._ledger.acquire(queue.name, committed, lost)
            queue.take(found.epoch, committed)
            return found

    def tell(self, queue: Queue) -> None:
        """Have the ledger told of a queue's intent with the next turn, though nothing of it is written."""
        self._turn.touched[queue.name] = queue
        self._inbox.wake.set()

    def release(self, queue: Queue) -> None:
        """Forward nothing more of a queue: what is not written goes back to Kafka, what is written is still settled."""
        queue.owned = False
        queue.records.clear()
        now = time.time()
        # What belongs to a message that is partly written waits for its answers with it.
        queue.keep((part for part in queue.ready if part.flight.flying), now)
        for flight in list(queue.flights.values()):
            if not flight.flying and not flight.concluded:
                self._settler.let_go(flight, now)
        self._inbox.wake.set()

    async def _take_turn(self) -> None:
        inbox = self._inbox
        turn = self._turn
        now = time.time()
        answers, inbox.answers = inbox.answers, []
        unanswered, inbox.unanswered = inbox.unanswered, []
        late, inbox.late = inbox.late, []
        deliveries, inbox.deliveries = inbox.deliveries, []
        for batch in answers:
            self._settler.answers(batch, now)
        if unanswered:
            self._settler.unanswered(unanswered, now)
        if late:
            self._settler.late(late, now)
        chosen: Chosen = []
        if not self._publisher.full:  # it wakes us when Kafka has taken enough of what is settled
            chosen, wait = self._forwarder.choose(self.slots.values(), now)
            if wait < _LONG_S:
                self._wake_in(wait)
        if turn.touched or turn.claims or turn.rows or turn.forgotten:
            async with self._gate:
                await self._exchange(now)
        if chosen:
            self._write(chosen, now)
        if turn.settled or deliveries:
            settled, turn.settled = turn.settled, []
            # Deliveries go on only now: a receipt that came after its submit_sm_resp finds what the exchange has stored.
            self._publisher.add(settled, deliveries)
        self._forwarder.refill(self.slots.values(), now)
        if self.numbers and await self._forwarder.place(self.slots.values(), now):
            inbox.wake.set()
        if turn.released:
            await self._release()
        if turn.touched:
            inbox.wake.set()
        self._publisher.turned.beat()

    async def _exchange(self, now: float) -> None:
        """Tell the ledger everything since the last turn; settle what turns out to be a duplicate."""
        turn = self._turn
        touched, turn.touched = list(turn.touched.values()), {}
        claimed, turn.claimed = turn.claimed, []
        claims, turn.claims = turn.claims, []
        rows, turn.rows = turn.rows, []
        doubts, turn.doubts = turn.doubts, []
        forgotten, turn.forgotten = turn.forgotten, []
        found = await self._ledger.exchange([queue.entry for queue in touched], claims, rows, doubts, forgotten)
        for queue in touched:
            if queue.name in found.fenced:
                queue.fenced = True
                # What it settled has not been recorded: the other owner decides, and says what became of it.
                for flight, _ in turn.settled:
                    if flight.queue is queue and queue.flights.get(flight.offset) is flight:
                        del queue.flights[flight.offset]
                turn.settled = [(flight, outcome) for flight, outcome in turn.settled if flight.queue is not queue]
                log.error("queue has another owner, forwarding stopped queue=%s", queue.name)
            elif queue.name in found.lost and queue.name not in self._told:
                queue.slot.lane.meter.ledgers_lost += 1
                log.critical("the store has lost its data: claims and outcomes up to now are gone queue=%s", queue.name)
                self._tell_all()
            self._told.discard(queue.name)
        for index, holder in found.taken.items():
            flight = claimed[index]
            if flight.concluded:  # its queue went elsewhere meanwhile
                continue
            # The same job record twice on lane topics is our own doing (a crash between produce and commit): say nothing.
            kind = "q" if holder.partition("|")[0] == flight.message.source else "d"
            turn.settle(flight, Outcome(kind, now, error_code="duplicate", error_text="message_id was used before"))
        unwritten, turn.unwritten = turn.unwritten, []
        for flight in unwritten:
            if not flight.concluded and not flight.queue.fenced:
                self._settler.end(flight, now)

    def _tell_all(self) -> None:
        """Have a store that has lost its data told of queues at rest too: their next owner would not know what that means."""
        for slot in self.slots.values():
            for queue in slot.queues:
                if queue.owned and not queue.fenced:
                    self._told.add(queue.name)
                    self.tell(queue)

    async def _release(self) -> None:
        """Give back the places of what has certainly reached nobody."""
        released, self._turn.released = self._turn.released, []
        by_portfolio: dict[Portfolio, list[tuple[str, str]]] = {}
        for flight in released:
            number = flight.queue.slot.lane.number
            if number is not None:
                whom = flight.message.to, attempt_key(flight.message)
                by_portfolio.setdefault(number.portfolio, []).append(whom)
        for portfolio, failed in by_portfolio.items():
            await portfolio.settle((), failed, int(time.time() * 1000))

    def _write(self, chosen: Chosen, now: float) -> None:
        """One write per bind. What no longer fits (the bind went down, the rate was cut) is open again, at the front.

        So is what has become too late in an exchange that had to wait for the store: it is chosen again, and told of then. What
        is not, is encoded again. What another owner has by now is let go, here or with its queue.
        """
        later = time.time()
        waited = later - now > _WAITED_S
        for slot, parts in chosen:
            going = []
            missed = []
            # Tokens are taken now, not when the parts were chosen: the operator counts what arrives, whatever the exchange took.
            monotonic = time.monotonic()
            for part in parts:
                flight = part.flight
                if flight.concluded:  # a duplicate
                    flight.flying -= 1
                elif flight.queue.fenced or (waited and slot.lane.gate.too_late(flight.message, later)):
                    flight.flying -= 1
                    missed.append(part)
                else:
                    if waited and flight.encoded_at:
                        freshen(part, later)
                    part.written = monotonic
                    going.append(part)
            if missed:
                self._settler.put_back(missed, now)
            if len(going) < len(parts):
                self._inbox.wake.set()  # there is room left
            room = slot.lane.tokens(monotonic).take(min(len(going), slot.port.room), monotonic)
            if len(going) > room:
                for part in going[room:]:
                    part.flight.flying -= 1
                self._settler.put_back(going[room:], now)
                del going[room:]
            if going:
                slot.port.submit([(part.body, part) for part in going])
                slot.lane.meter.written += len(going)

    def _wake_in(self, delay: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(delay, self._inbox.wake.set)
