"""Admitting: from a record to parts that are ready to be written, or to an outcome at once.

Decodes, looks up what an earlier owner made of it, asks whether its lane may carry it at all, and encodes; ahead of its turn,
while a window is full. Nothing here waits or writes.
"""

from __future__ import annotations

from math import inf

import msgspec

from gateway.errors import Disposition
from gateway.failover import Failover, admits
from gateway.flight import Flight, Part, Queue
from gateway.ledger import Outcome
from gateway.model import decode_message
from gateway.providers.contract import Failure, Unsendable
from gateway.settle import Settler
from gateway.turn import Turn
from smpp.errors import SMPPError

LOOK_S = 1.0
"""How often somebody looks whether what may not go expires."""


class Admission:
    """Of one worker, for all its queues."""

    def __init__(self, turn: Turn, settler: Settler, failover: Failover) -> None:
        self._turn = turn
        self._settler = settler
        self._failover = failover
        self.look_at = inf
        """When to look whether something is late: not at all while nothing that is admitted has an end."""

    def admit(self, queue: Queue, room: int, now: float) -> None:
        """Decode and encode records until `room` parts are ready; settle at once what is not to be written."""
        records = queue.records
        ready = queue.ready
        encode = queue.slot.lane.carrier.encode
        gate = queue.slot.lane.gate
        max_parts = queue.slot.lane.config.max_parts
        recover_before = queue.recover_before
        limit = queue.limit
        since = records[0].timestamp / 1000
        while records and len(ready) < room:
            if records[0].offset >= limit:
                break
            record = records.popleft()
            offset = record.offset
            try:
                message = decode_message(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:  # the last for one without a value
                self._turn.settle(Flight(queue, offset, record, []), Outcome("p", now, error_text=str(error)))
                continue
            flight = Flight(queue, offset, message, [])
            if offset < recover_before:
                if not self._recover(flight, now):
                    continue
            elif recover_before:
                queue.recover_before = recover_before = 0
                queue.recovered = {}
            if message.purpose and not flight.in_doubt and not admits(queue.slot.lane.config, message.purpose):
                why = Failure(Disposition.REROUTE, "policy", f"{message.purpose} is not sent over {message.channel}")
                self._refuse(flight, why, now)
                continue
            told = message if gate.open else gate.within_hours(message, now)
            if told.expires_at:
                flight.encoded_at = now
                if self.look_at == inf:
                    self.look_at = now + LOOK_S
            try:
                bodies = encode(told, now)
            except SMPPError as error:
                self._refuse(flight, Failure(Disposition.REROUTE, "text", str(error)), now)
                continue
            except (Unsendable, ValueError) as error:
                # The last is what no encoder foresaw: it must not end every worker in turn.
                why = Failure(Disposition.REJECTED, getattr(error, "code", "text"), str(error))
                self._refuse(flight, why, now)
                continue
            if len(bodies) == 1:
                flight.ids.append("")
                flight.left = 1
                ready.append(Part(flight, 0, bodies[0], silent=flight.in_doubt))
            else:
                ids = flight.ids or list(message.accepted_ids)
                count = len(bodies)
                if count > max_parts and not flight.doubtful and not any(ids):
                    why = Failure(Disposition.REROUTE, "parts", f"more than the {max_parts} parts that the lane allows")
                    self._refuse(flight, why, now)
                    continue
                flight.ids = ids if len(ids) == count else [""] * count
                parts = [
                    Part(flight, n, body, silent=flight.in_doubt) for n, body in enumerate(bodies) if not flight.ids[n]
                ]
                if not parts:  # nothing is left to write, and no answer will come that says so
                    self._turn.settle(flight, Outcome("s", now, tuple(flight.ids), parts=count))
                    continue
                flight.left = len(parts)
                ready.extend(parts)
            queue.flights[offset] = flight
        queue.line.joined(len(ready), since, now)

    def _refuse(self, flight: Flight, failure: Failure, now: float) -> None:
        """Nobody else carries a message of which parts were accepted."""
        flight.ids = flight.ids or list(flight.message.accepted_ids)
        self._settler.refuse(flight, failure, now)

    def _recover(self, flight: Flight, now: float) -> bool:
        """Whether a message that an earlier owner may have written is to be written (again)."""
        queue = flight.queue
        ours = queue.flights.get(flight.offset)
        if ours is not None:
            ours.stray = False  # from before a rebalance: its answer is on its way
            return False
        outcome = queue.recovered.get(flight.offset)
        if outcome is not None:
            # It moved to a lane that was then taken away.
            gone = outcome.lane and not self._failover.knows(outcome.lane)
            if outcome.kind == "o" or gone:
                flight.opened = flight.intended = True
                flight.ids = list(outcome.ids) if len(outcome.ids) > 1 else []
                return True
            queue.flights[flight.offset] = flight
            self._turn.settled.append((flight, outcome))
            return False
        if self._settler.classes.in_doubt(flight.message.class_) == "resend":
            flight.in_doubt = True
            flight.intended = not queue.unsure  # its claim is lost too, and a second copy may be behind it
            return True
        self._settler.give_up(flight, "ledger-lost" if queue.unsure else "crash", now)
        return False
