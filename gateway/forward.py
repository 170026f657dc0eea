"""The first half of a message's way: which of what is admitted (`admission.py`) is written this turn, or goes elsewhere.

Choosing takes parts, most urgent class first, as tokens and window allow, and notes their intents and claims. What waits for a
lane that is down moves, what is late expires, what WhatsApp does not take now steps aside. Nothing here writes.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from math import inf

from gateway.admission import LOOK_S, Admission
from gateway.failover import Failover
from gateway.flight import Flight, Part, Queue
from gateway.lane import Lane, Slot
from gateway.model import TrafficClass, has_expired
from gateway.providers.contract import Failure, Unsendable
from gateway.settle import Settler
from gateway.turn import Turn
from smpp.errors import SMPPError

Chosen = list[tuple[Slot, list[Part]]]

_ASIDE_S = 300.0
"""How long a message without another lane leaves the queue of one that is down to those that have one."""
_STALE_S = 3600.0
"""What was admitted so long ago and not written asks again: its place lapses, and its template may be paused by now."""
_FRESH_S = 5.0
"""What was encoded longer ago is encoded again: its validity_period counts from the moment in which it is written."""
_PACE_S = 0.005
"""Seconds' worth of tokens that a lane at its rate waits for."""
_TURN_S = 0.005
"""Where a round trip has room for several turns of so long, a window is written in pieces, in four at most.

What is written at once is answered at once, and waits together for the next turn: the more it is, the longer each waits.
"""


class Forwarder:
    """Chooses what is written; `batch` is the most parts of a slot in one turn."""

    def __init__(self, turn: Turn, settler: Settler, failover: Failover, batch: int) -> None:
        self._turn = turn
        self._settler = settler
        self._failover = failover
        self._admission = Admission(turn, settler, failover)
        self._batch = batch
        self.turn_s = 0.0
        """How long the dispatcher's turns are, of late."""
        self._turns = 0

    def choose(self, owned: Iterable[Slot], now: float) -> tuple[Chosen, float]:
        """What is written this turn, by slot; and in how many seconds to ask again, infinite if there is nothing to ask for."""
        chosen: Chosen = []
        # Tokens are taken when parts are written: until then they are only spoken for.
        planned: Counter[Lane] = Counter()
        wanted: Counter[Lane] = Counter()
        urgent: set[Lane] = set()
        monotonic = time.monotonic()
        wait = inf
        slots = list(owned)
        if self._admission.look_at <= now:
            self._expire_late(slots, now)
        self._turns += 1
        slots.sort(key=_last_served)  # slots of one lane share its tokens: who was given none the longest chooses first
        down = self._failover.down
        for slot in slots:
            lane = slot.lane
            if lane.name in down and self._evacuate(slot, now):
                wait = 0.0
            free = min(slot.port.room, self._batch)
            pieces = self._pieces(lane, len(slots))
            room = min(free, max(1, lane.config.window // pieces)) if pieces > 1 else free
            waiting: dict[TrafficClass, list[Queue]] = {}
            sizes: dict[TrafficClass, int] = {}
            number = lane.number
            behind = False
            for queue in slot.queues:
                if queue.owned and not queue.fenced:
                    # What is to go over a number of WhatsApp needs a place first: see `place`.
                    if queue.records and len(queue.ready) < room and number is None:
                        self._admission.admit(queue, room, now)
                    behind = behind or bool(queue.records)
                    # New ones only come at the end: if the last is admitted, all are.
                    if queue.ready and (number is None or queue.ready[-1].flight.admitted_at):
                        sizes[queue.class_] = sizes.get(queue.class_, 0) + len(queue.ready)
                        waiting.setdefault(queue.class_, []).append(queue)
            if number is not None:
                again, held = number.limit_classes(sizes, lane.lease.rate, monotonic)
                wait = min(wait, again)
                wanted[lane] += held
            ready = sum(sizes.values())
            want = min(room, ready)
            if behind and not want:  # what `refill` admits may expire before there is room for it
                wait = min(wait, LOOK_S)
            if want:
                tokens = lane.tokens(monotonic)
                granted = max(0, min(want, tokens.available(monotonic) - planned[lane]))
                planned[lane] += granted
                wanted[lane] += ready - granted
                if sizes.get(TrafficClass.OTP, 0) > granted:
                    urgent.add(lane)
                if granted < want:
                    # Some at a time: a wake for every token would make batches of one.
                    some = min(want - granted, max(1, int(lane.lease.rate * _PACE_S)))
                    wait = min(wait, lane.wait(monotonic, planned[lane] + some))
                if granted:
                    slot.served = self._turns
                    parts = self._take(slot, waiting, sizes, granted, now)
                    if parts:
                        chosen.append((slot, parts))
                    # There is room for another piece; or some stepped aside, and there are tokens for who is behind them.
                    if granted == room < free or len(parts) < granted:
                        wait = 0.0
        for lane in {slot.lane for slot in slots}:
            lane.lease.want(wanted[lane], urgent=lane in urgent)
        return chosen, wait if self._admission.look_at == inf else min(wait, LOOK_S)

    def _pieces(self, lane: Lane, slots: int) -> int:
        """In how many turns a slot fills its window: as many as all slots have time for while its answers are on their way."""
        if not lane.carrier.in_line:
            return 1
        # An answer has waited for its turn: what a turn takes does not make an operator far.
        return min(4, int((lane.round_trip_s - self.turn_s) / max(_TURN_S * slots, self.turn_s)))

    def refill(self, owned: Iterable[Slot], now: float) -> None:
        """Admit what the next turns will write, so that an answer's room is used without delay."""
        for slot in owned:
            ahead = slot.lane.ahead
            # What messages of WhatsApp need besides is asked for in calls of the store: for many at a time.
            most = ahead if slot.lane.number is None else 2 * ahead
            for queue in slot.queues:
                if queue.records and len(queue.ready) < ahead and queue.owned and not queue.fenced:
                    self._admission.admit(queue, most, now)

    async def place(self, owned: Iterable[Slot], now: float) -> bool:
        """Ask for what messages of WhatsApp need before they may be written; what may not go now steps aside, or fails.

        True if any may go. What was under way before (and is to be sent again) has what it needs.
        """
        admitted = False
        for slot in list(owned):
            number = slot.lane.number
            if number is None:
                continue
            flights: list[Flight] = []
            gate = slot.lane.gate
            gone: set[Flight] = set()
            for queue in slot.queues:
                for part in queue.ready:
                    flight = part.flight
                    if flight.intended:
                        if not flight.admitted_at:  # else nobody is woken for what waits for tokens
                            flight.admitted_at = now
                            admitted = True
                    elif not flight.admitted_at and not flight.concluded and flight not in gone:
                        if has_expired(flight.message, now):
                            self._settler.too_late(flight, now)
                            gone.add(flight)
                        elif wait := gate.closed(flight.message, now):
                            self._step_aside(flight, wait, now)
                            gone.add(flight)
                        else:
                            flights.append(flight)
            if not flights and not gone:
                continue
            behind: Counter[TrafficClass] = Counter()
            for queue in slot.queues:
                behind[queue.class_] += len(queue.records)
            for flight, answer in zip(flights, await number.place(flights, behind), strict=True):
                if flight.concluded:  # its queue went elsewhere meanwhile
                    continue
                if isinstance(answer, Failure):
                    self._settler.refuse(flight, answer, now)
                    gone.add(flight)
                elif answer:
                    # A number that is held may be so for good: another may take its messages meanwhile.
                    if not (number.is_held(flight.message) and self._settler.move(flight, now)):
                        self._step_aside(flight, answer, now)
                else:
                    flight.admitted_at = now
                    admitted = True
            for queue in slot.queues:
                staying = (part for part in queue.ready if not (part.flight.concluded or part.flight in gone))
                queue.keep(staying, now)
        return admitted

    def _evacuate(self, slot: Slot, now: float) -> bool:
        """Move what waits for a lane that is down to its next lanes, as far as it has any; True if there is more."""
        more = False
        for queue in slot.queues:
            if not queue.owned or queue.fenced or not self._failover.has_way(slot.lane.name, queue.class_):
                continue
            # What was intended once, and has no other lane, cannot step aside either: a batch is what is behind it.
            room = self._batch + sum(part.flight.intended for part in queue.ready)
            if queue.records and len(queue.ready) < room:
                self._admission.admit(queue, room, now)
            staying: list[Part] = []
            for part in queue.ready:
                flight = part.flight
                if flight.concluded:
                    continue
                if flight.flying or flight.in_doubt or any(flight.ids) or not self._settler.move(flight, now):
                    staying.append(part)
                else:
                    more = more or bool(queue.records)
            queue.keep(staying, now)
            if queue.records and len(staying) >= min(slot.lane.ahead, self._batch):
                # What has no other lane must not stand in the way of what may have.
                for part in staying:
                    if not part.flight.intended and not part.flight.concluded:
                        self._step_aside(part.flight, _ASIDE_S, now)
                        more = True
        return more

    def _take(
        self,
        slot: Slot,
        waiting: dict[TrafficClass, list[Queue]],
        sizes: dict[TrafficClass, int],
        granted: int,
        now: float,
    ) -> list[Part]:
        """Take `granted` parts of what is waiting, `sizes` of each class, as class, reserve and fairness have it."""
        turns = slot.turns
        parts: list[Part] = []
        number = slot.lane.number
        for class_, share in turns.shares(sizes, granted):
            if number is not None:
                number.took(class_, share, time.monotonic())
            queues = waiting[class_]
            left = share
            while left and queues:
                queue, most = turns.next(queues, left)
                before = len(parts)
                self._take_from(queue, most, parts, now)
                if not queue.ready:
                    queues.remove(queue)
                if taken := len(parts) - before:
                    left -= taken
                    turns.took(queue, taken, parts[-1].flight.message.tenant)
        return parts

    def _take_from(self, queue: Queue, most: int, parts: list[Part], now: float) -> None:
        """Add up to `most` parts of one queue, and note for each message that starts with them its intent."""
        turn = self._turn
        ready = queue.ready
        entry = queue.entry
        gate = queue.slot.lane.gate
        touched = False
        while ready and most:
            part = ready.popleft()
            flight = part.flight
            message = flight.message
            if flight.concluded:
                continue
            if flight.failure is not None and not self._settler.worth_it(flight):
                self._settler.drop(part, now)
                continue
            if has_expired(message, now) and not flight.flying:
                self._settler.too_late(flight, now)
                continue
            if flight.admitted_at and not flight.intended and now - flight.admitted_at > _STALE_S:
                self._settler.defer(flight, 0.0, now)
                continue
            if not gate.open:
                # What is under way is written to its end: of this attempt a part has gone.
                going = flight.flying or (flight.intended and any(flight.ids))
                if not going and (wait := gate.closed(message, now)):
                    self._step_aside(flight, wait, now)
                    continue
                left_s = message.expires_at - now if message.expires_at else inf
                if not flight.intended and (wait := gate.wait(message, flight.left, time.monotonic(), left_s)):
                    self._step_aside(flight, wait, now)
                    continue
            if flight.encoded_at and now - flight.encoded_at > _FRESH_S:
                freshen(part, now)
            most -= 1
            flight.flying += 1
            parts.append(part)
            if not flight.written_at:
                flight.written_at = now
            if not flight.intended:
                flight.intended = True
                if flight.offset >= entry.intent:
                    entry.intent = flight.offset + 1
                turn.claim(flight)
                touched = True
            elif flight.opened:
                flight.opened = False
                entry.rewrite(flight.offset)
                touched = True
        queue.line.left(len(ready), now)
        if touched:
            turn.touched[queue.name] = queue

    def _expire_late(self, slots: Iterable[Slot], now: float) -> None:
        """Settle what expired while it was ready, whether or not its lane may write.

        What is behind it in the records is looked at when it is ready in its place.
        """
        self._admission.look_at = inf
        for slot in slots:
            for queue in slot.queues:
                if not queue.owned or queue.fenced:
                    continue
                late: set[Flight] = set()
                for part in queue.ready:
                    flight = part.flight
                    if has_expired(flight.message, now) and not (flight in late or flight.flying or flight.concluded):
                        self._settler.too_late(flight, now)
                        late.add(flight)
                if late:
                    queue.keep((part for part in queue.ready if part.flight not in late), now)
                # Also for what is under way: it may bounce.
                if any(
                    not flight.concluded and flight.message.expires_at and flight not in late
                    for flight in queue.flights.values()
                ):
                    self._admission.look_at = now + LOOK_S

    def _step_aside(self, flight: Flight, seconds: float, now: float) -> None:
        """Let a message ask again after so long, or when it expires: that is told in its time, whatever it waits for."""
        expires_at = flight.message.expires_at
        self._settler.defer(flight, min(seconds, expires_at - now) if expires_at > now else seconds, now)


def freshen(part: Part, now: float) -> None:
    """Encode what waited again: its validity_period counts from the moment in which it is written."""
    flight = part.flight
    lane = flight.queue.slot.lane
    with contextlib.suppress(SMPPError, Unsendable):  # it could be encoded before
        part.body = lane.carrier.encode(lane.gate.within_hours(flight.message, now), now)[part.number]


def _last_served(slot: Slot) -> int:
    return slot.served
