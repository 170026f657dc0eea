"""The second half of a message's way: what answers, silence and late answers make of it.

Nothing here waits or writes: it decides, and leaves in the turn what the ledger and the publisher are to be told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.config import Classes
from gateway.correlation import attempt_key, doubt_key, encode_sent, id_key, reference_key, sent
from gateway.errors import Disposition
from gateway.failover import Failover
from gateway.flight import Flight, Part, Queue
from gateway.inbox import Inbox
from gateway.lane import Lane
from gateway.ledger import Outcome
from gateway.model import Message, published_ms
from gateway.providers.contract import PUT_BACK, Failure, Scope
from gateway.providers.http_answer import Refusal
from gateway.providers.whatsapp import template_of
from gateway.retry import FIRST_S, next_attempt
from gateway.turn import Turn
from smpp.errors import SMPPError
from smpp.events import LateResponse
from smpp.receipt import canonical_resp

_GRAVITY = {
    Disposition.THROTTLED: 0,
    Disposition.RETRY: 0,
    Disposition.HOLD: 1,
    Disposition.REROUTE: 2,
    Disposition.REJECTED: 3,
}
"""Of failures of the parts of one message the gravest decides."""
_LASTING = {Disposition.REROUTE, Disposition.REJECTED}
"""What makes the rest of a message worth nothing on its lane."""
_SILENCE = Failure(Disposition.RETRY, "no-answer", doubtful=True)
LANE_DOWN = "lane-down"
"""Why a message moved that its lane never saw."""
TOO_LATE = "expires_at has passed"


class Settler:
    """Decides what became of messages; `rows_ttl_s` is how long receipts are waited for."""

    def __init__(self, turn: Turn, classes: Classes, inbox: Inbox, failover: Failover, rows_ttl_s: int) -> None:
        self._turn = turn
        self.classes = classes
        self._inbox = inbox
        self._failover = failover
        self._ttl = rows_ttl_s
        self._bounced: list[Part] = []

    def answers(self, answers: list[Any], now: float) -> None:
        """What one read of a bind, or one turn of a provider's requests, brought of answers (`inbox.Answer`), in its order."""
        rows = self._turn.rows
        settled = self._turn.settled
        touched = self._turn.touched
        queue: Queue | None = None
        part: Part = answers[0].context
        lane = part.flight.queue.slot.lane
        name = lane.name
        number = lane.number
        portfolio = number.whose.portfolio if number is not None else ""
        ttl = self._rows_ttl(lane)
        head = f"d:{lane.account}:"
        id_format = lane.carrier.id_format
        most = 0 if lane.carrier.by_reference else 1  # two rows of a part are the general way's
        written = part.written
        written_at = int(part.flight.written_at)
        for answer in answers:
            part = answer.context
            flight = part.flight
            flight.flying -= 1
            if answer.command_status:
                self._refused(part, lane.failure(answer, time.monotonic()), now)
                continue
            provider_message_id = answer.message_id
            if len(flight.ids) > most or not provider_message_id:
                self._accepted(part, provider_message_id)
                flight.left -= 1
                self._landed(flight, now)
                continue
            # A message of one part, accepted: most of them. What the general way does, written out.
            if flight.queue is not queue:
                queue = flight.queue
                entry = queue.entry
                touched[queue.name] = queue
            flight.left = 0
            flight.concluded = True
            flight.ids[0] = provider_message_id
            message = _twice(flight.message) if part.silent else flight.message
            place = portfolio if flight.placed else ""
            template = "" if number is None else number.accepted(message)
            row = sent(message, name, 1, 0, provider_message_id, place, written_at, template)
            rows += (head + canonical_resp(provider_message_id, id_format), encode_sent(row), ttl)
            outcome = Outcome("s", now, (provider_message_id,))
            entry.settle(flight.offset, outcome)
            settled.append((flight, outcome))
        if not isinstance(answers[0], Refusal):
            monotonic = time.monotonic()
            lane.answered(len(answers), monotonic - written, monotonic)
        if self._bounced:
            self._return(now)

    def unanswered(self, parts: Sequence[Part], now: float) -> None:
        """Written, and nobody will say what became of it: the class decides."""
        for part in reversed(parts):
            flight = part.flight
            flight.flying -= 1
            if flight.ids[part.number]:  # a late answer to an earlier write has told
                flight.left -= 1
                self._landed(flight, now)
                continue
            flight.in_doubt = True
            if not part.silent:
                flight.doubts |= {part.number}
            resend = self.classes.in_doubt(flight.message.class_) == "resend" and self.worth_it(flight)
            first = not part.silent and not flight.message.doubtful
            if resend and first and not flight.queue.slot.lane.carrier.echoes:
                part.silent = True
                self._landed(flight, now)
                if not flight.concluded:
                    flight.queue.ready.appendleft(part)
                continue
            if part.silent:
                flight.message = _twice(flight.message)
            # At once again only once: an operator that never answers may deliver each time, and over HTTP an answer that says
            # nothing comes at once.
            if resend:
                flight.failure = _SILENCE
            flight.left -= 1
            self._landed(flight, now)

    def late(self, answers: Sequence[LateResponse], now: float) -> None:
        """An answer after the response timeout: too late for the outcome, in time to know the message by its receipt."""
        for answer in answers:
            if answer.command_status:
                continue
            part: Part = answer.context
            flight = part.flight
            ready = flight.queue.ready
            if part in ready:  # about to be sent again, and now we know that it need not be
                ready.remove(part)
                part.silent = False
                flight.left -= 1
            known = "" not in flight.ids  # its second write was answered too
            self._accepted(part, answer.message_id)
            if not flight.concluded:
                self._landed(flight, now)
            elif not flight.left and "" not in flight.ids and not known:
                for number in range(len(flight.ids)):
                    self._turn.forgotten += _doubt_key(flight, number)
                self._turn.settled.append((flight, Outcome("s", now, tuple(flight.ids), parts=len(flight.ids))))

    def put_back(self, parts: Sequence[Part], now: float) -> None:
        """Certainly not accepted: back to the front, and known to the ledger as open once no part of it is under way.

        In the order of their records, whatever the order in which they bounced: one person's messages go in theirs.
        """
        queues: dict[str, list[Part]] = {}
        for part in parts:
            flight = part.flight
            self._landed(flight, now)
            # Also of a queue that is not ours, while others of its parts are under way: it may be ours again before they land.
            if not flight.concluded:
                queues.setdefault(flight.queue.name, []).append(part)
        for returned in queues.values():
            ready = returned[0].flight.queue.ready
            while ready and ready[0].flight.intended:  # what came back before
                returned.append(ready.popleft())
            returned.sort(key=_place)
            ready.extendleft(reversed(returned))
        self._inbox.wake.set()

    def _return(self, now: float) -> None:
        bounced, self._bounced = self._bounced, []
        self.put_back(bounced, now)

    def _open(self, flight: Flight, now: float) -> None:
        """Nothing of it is under way and something is left to write: not so for one of which a part is in doubt.

        What another owner has is not ours to tell of.
        """
        if not flight.in_doubt and not flight.queue.fenced:
            flight.opened = True
            self._turn.open(flight, now)

    def let_go(self, flight: Flight, now: float) -> None:
        """Leave a message to the next owner: what is known to be not under way is open, what is in doubt stays in doubt."""
        queue = flight.queue
        flight.concluded = True
        if flight.gives_back and not queue.fenced:
            self._turn.released.append(flight)
        del queue.flights[flight.offset]
        if flight.intended:
            self._open(flight, now)

    def defer(self, flight: Flight, seconds: float, now: float) -> None:
        """Let a message that is not under way step aside for so long; its parts are dropped in their turn."""
        message = flight.message
        if flight.intended:
            self._postpone(flight, now + seconds, now)
            return
        # What may have been written before the ledger was lost is as doubtful when it comes back.
        outcome = Outcome(
            "w", now, message.accepted_ids, due=now + seconds, attempt=message.attempt, doubtful=flight.in_doubt
        )
        self._turn.settle(flight, outcome)

    def refuse(self, flight: Flight, failure: Failure, now: float) -> None:
        """Fail a message of which this attempt has written nothing, or go on with the next step of its plan."""
        if flight.intended:
            self._fail(flight, failure, now)
        else:
            flight.failure = failure
            self._claim(flight)

    def too_late(self, flight: Flight, now: float) -> None:
        """End a message that is too late to be written; its other parts are dropped in their turn."""
        if flight.intended:
            self.expire(flight, now)
        else:
            self._claim(flight)

    def end(self, flight: Flight, now: float) -> None:
        """End a message that is not written and, as its claim has shown, no second copy."""
        if flight.failure is None:
            self.expire(flight, now)
        else:
            self._fail(flight, flight.failure, now)

    def move(self, flight: Flight, now: float) -> bool:
        """Send a message of which nothing is under way to its next lane; False if it has none."""
        lane = "" if flight.doubtful else self._failover.next_lane(flight.message, flight.queue.slot.lane.name)
        if lane:
            # The claim of an attempt that was never written is the copy's: should we be wrong about it, it meets it there.
            attempt = flight.message.attempt + flight.intended
            self._turn.settle(flight, Outcome("m", now, error_code=LANE_DOWN, lane=lane, attempt=attempt))
        return bool(lane)

    def worth_it(self, flight: Flight) -> bool:
        """Whether the parts that are left are still to be written although one was refused."""
        return flight.failure is None or flight.failure.disposition not in _LASTING

    def drop(self, part: Part, now: float) -> None:
        """A part that is not written because its message has failed already."""
        part.flight.left -= 1
        self._landed(part.flight, now)

    def expire(self, flight: Flight, now: float) -> None:
        """Too late for a message of which nothing is under way; what is left of it is dropped, also if parts were accepted."""
        if flight.in_doubt:
            self.give_up(flight, "no-answer", now)
        else:
            ids = tuple(flight.ids) if any(flight.ids) else ()
            kind, text = "x", ""
            if flight.message.doubtful:
                kind = "u"
            elif flight.message.expires_at * 1000 <= published_ms(flight.message):
                kind, text = "j", TOO_LATE
            self._turn.settle(flight, Outcome(kind, now, ids, "expired", text, len(flight.ids) or self._count(flight)))

    def give_up(self, flight: Flight, code: str, now: float) -> None:
        """Nobody will say what became of it, and it is not sent again: unknown, unless a receipt tells."""
        flight.ids = flight.ids or [""] * self._count(flight)
        self._doubt(flight, [n for n, provider_id in enumerate(flight.ids) if not provider_id])
        self._turn.settle(
            flight, Outcome("u", now, tuple(flight.ids), code, "written or not, not answered", len(flight.ids))
        )

    # Private.

    def _postpone(self, flight: Flight, due: float, now: float) -> None:
        """A message that has made its claim comes back as another attempt, if its class sends again what may have gone."""
        if flight.in_doubt and self.classes.in_doubt(flight.message.class_) == "report":
            self.give_up(flight, "no-answer", now)
            return
        ids = tuple(flight.ids)
        if flight.in_doubt:
            self._doubt(flight, [n for n, provider_id in enumerate(ids) if not provider_id], goes_on=True)
        self._turn.settle(flight, Outcome("r", now, ids, parts=len(ids), due=due, doubtful=flight.in_doubt))

    def _claim(self, flight: Flight) -> None:
        """Have it seen first whether it is a second copy, which has its end already, and whether its queue is still ours."""
        turn = self._turn
        if turn.unwritten and turn.unwritten[-1] is flight:
            return  # its parts come one behind the other
        queue = flight.queue
        queue.flights[flight.offset] = flight
        turn.touched[queue.name] = queue
        turn.claim(flight)
        turn.unwritten.append(flight)

    def _fail(self, flight: Flight, failure: Failure, now: float) -> None:
        outcome = self._elsewhere(flight, failure, now) or Outcome(
            "u" if flight.doubtful else "f", now, tuple(flight.ids), failure.code, failure.text, len(flight.ids) or 1
        )
        self._turn.settle(flight, outcome)

    def _landed(self, flight: Flight, now: float) -> None:
        """One part fewer is under way: the message is done, or waits for the others; if it failed, for those under way only."""
        if not flight.left or not (flight.flying or self.worth_it(flight)):
            self._conclude(flight, now)
        elif not flight.flying and not flight.concluded:
            if flight.queue.owned:
                self._open(flight, now)
            else:
                self.let_go(flight, now)

    def _refused(self, part: Part, failure: Failure, now: float) -> None:
        flight = part.flight
        lane = flight.queue.slot.lane
        what = failure.disposition
        if what is Disposition.THROTTLED and failure.scope is Scope.RECIPIENT and lane.number and lane.number.pairs:
            wait = lane.number.pairs.refused(flight.message.to, time.monotonic())
            failure = msgspec.structs.replace(failure, after=wait)
        bounces = what is Disposition.STOP or (what is Disposition.THROTTLED and failure.scope is not Scope.RECIPIENT)
        if what is Disposition.STOP:
            lane.stop(failure)
        elif bounces and failure is not PUT_BACK:
            lane.throttled(failure, part.written, time.monotonic())
        if flight.ids[part.number]:  # a late answer to an earlier write has told
            flight.left -= 1
            self._landed(flight, now)
            return
        if bounces:
            self._bounced.append(part)
            return
        if part.silent:  # that earlier write may have been accepted for all that
            failure = msgspec.structs.replace(failure, doubtful=True)
        if what is Disposition.HOLD:
            failure = lane.hold(flight, failure, time.monotonic())
            what = failure.disposition
        elif what is Disposition.REJECTED and failure.scope is Scope.TEMPLATE and lane.number is not None:
            lane.number.wrong(flight.message, failure, flight.written_at)
        flight.left -= 1
        worst = flight.failure
        if worst is None or _GRAVITY[what] > _GRAVITY[worst.disposition]:
            flight.failure = failure
        self._landed(flight, now)

    def _accepted(self, part: Part, provider_message_id: str) -> None:
        flight = part.flight
        lane = flight.queue.slot.lane
        flight.ids[part.number] = provider_message_id
        if part.number in flight.doubts:
            flight.doubts -= {part.number}
            flight.in_doubt = bool(flight.doubts)
        if not provider_message_id:
            return  # an SMSC without ids has no receipts that could be told apart
        rows = self._turn.rows
        ttl = self._rows_ttl(lane)
        at = int(flight.written_at)
        message = _twice(flight.message) if part.silent else flight.message
        row = encode_sent(sent(message, lane.name, len(flight.ids), part.number, provider_message_id, "", at))
        rows += (f"d:{lane.account}:{canonical_resp(provider_message_id, lane.carrier.id_format)}", row, ttl)
        if lane.carrier.by_reference:
            rows += (reference_key(lane.account, attempt_key(flight.message)), row, ttl)

    def _conclude(self, flight: Flight, now: float) -> None:
        """All parts have their answers, or never will: what became of the message?"""
        if flight.concluded:
            return
        ids = tuple(flight.ids)
        parts = len(ids)
        failure = flight.failure
        if failure is not None and failure.disposition in _LASTING:
            if failure.doubtful:
                self._doubt(flight, [n for n, provider_id in enumerate(ids) if not provider_id])
            kind = "u" if failure.doubtful or flight.message.doubtful else "f"
            outcome = self._elsewhere(flight, failure, now) or Outcome(
                kind, now, ids, failure.code, failure.text or "refused by the operator", parts
            )
        elif self._is_unknown(flight):
            self._doubt(flight, [n for n, provider_id in enumerate(ids) if not provider_id])
            outcome = Outcome("u", now, ids, "no-answer", "written, not answered", parts)
        elif failure is not None and "" in ids:
            outcome = self._again(flight, failure, now)
        else:  # accepted, or answered in the end whatever was in doubt in between
            outcome = Outcome("s", now, ids, "", "", parts)
        self._turn.settle(flight, outcome)

    def _is_unknown(self, flight: Flight) -> bool:
        """Whether silence is its end: its class says so, or said so before a reload, when a part could have been sent again."""
        if self.classes.in_doubt(flight.message.class_) == "report":
            return flight.in_doubt and "" in flight.ids
        return bool(flight.doubts) and flight.failure is None

    def _elsewhere(self, flight: Flight, failure: Failure, now: float) -> Outcome | None:
        """Another lane, or a step of the plan, if it is certain that this lane has accepted no part of the message."""
        message = flight.message
        if flight.doubtful or any(flight.ids):
            return None
        if failure.disposition is Disposition.REROUTE and (
            lane := self._failover.next_lane(message, flight.queue.slot.lane.name)
        ):
            return Outcome("m", now, error_code=failure.code, lane=lane, attempt=message.attempt + 1)
        if (found := self._failover.next_step(message)) is not None:
            step, lane = found
            parts = len(flight.ids)
            return Outcome("n", now, (), failure.code, failure.text, parts, 0.0, lane, message.attempt + 1, step)
        return None

    def _again(self, flight: Flight, failure: Failure, now: float) -> Outcome:
        ids = tuple(flight.ids)
        parts = len(ids)
        lane = flight.queue.slot.lane
        doubtful = failure.doubtful or flight.in_doubt
        if failure.disposition is Disposition.THROTTLED and lane.number is not None:
            # Meta's limit for one person: whatever the limit of attempts, and the lane goes on.
            due = now + (failure.after or FIRST_S)
            return Outcome("r", now, ids, failure.code, "", parts, due, doubtful=doubtful)
        # A provider over HTTP has said how long; an SMSC's seconds are the configuration's, the ceiling of a random wait.
        held = failure.after if failure.disposition is Disposition.HOLD or not lane.carrier.in_line else None
        again = next_attempt(
            flight.message,
            now,
            limit=min(lane.config.max_attempts, failure.attempts or lane.config.max_attempts),
            first_s=failure.after or FIRST_S,
            after=held or 0.0,
        )
        if failure.doubtful:  # a callback may tell before the next attempt does
            self._doubt(flight, [n for n, provider_id in enumerate(ids) if not provider_id], goes_on=again is not None)
        if again is not None:
            return Outcome("r", now, ids, failure.code, "", parts, again, doubtful=doubtful)
        if failure.doubtful or flight.message.doubtful:
            return Outcome("u", now, ids, failure.code, "written, and nobody says what became of it", parts)
        return self._elsewhere(flight, failure, now) or Outcome(
            "f", now, ids, failure.code, "no attempts or time left", parts
        )

    def _doubt(self, flight: Flight, numbers: Iterable[int], *, goes_on: bool = False) -> None:
        """Index the parts in doubt by where they went: a receipt that nobody claims may tell what became of them.

        Where callbacks carry our reference, by that: the first of them tells. If the message goes on with another attempt, what
        is told of this one starts no step of its plan.
        """
        lane = flight.queue.slot.lane
        message = _twice(flight.message) if goes_on else flight.message
        for number in numbers:
            template = "" if lane.number is None else template_of(flight.message)
            row = encode_sent(
                sent(message, lane.name, len(flight.ids), number, "", _portfolio(flight), template=template)
            )
            if lane.carrier.echoes:
                own_id = lane.carrier.own_id(flight.message)
                key = (
                    id_key(lane.account, own_id) if own_id else reference_key(lane.account, attempt_key(flight.message))
                )
                self._turn.rows += (key, row, self._rows_ttl(lane))
            else:
                self._turn.doubts += (*_doubt_key(flight, number), row, self._rows_ttl(lane))

    def _rows_ttl(self, lane: Lane) -> int:
        return max(self._ttl, lane.carrier.told_for_s)

    def _count(self, flight: Flight) -> int:
        try:
            return flight.queue.slot.lane.carrier.count(flight.message.text)
        except SMPPError:
            return 1


def _twice(message: Message) -> Message:
    """A message of which there may be another copy: what is told of this one starts no step of its plan."""
    return msgspec.structs.replace(message, doubtful=True)


def _doubt_key(flight: Flight, number: int) -> tuple[str, str]:
    """Key and field of a part in doubt: by account and destination, then by when it was written at the earliest."""
    message = flight.message
    at = flight.written_at or message.accepted_at
    return doubt_key(flight.queue.slot.lane.account, message.to), f"{at:017.6f}/{attempt_key(message)}/{number}"


def _place(part: Part) -> tuple[int, int]:
    return part.flight.offset, part.number


def _portfolio(flight: Flight) -> str:
    """Whose place a message has, if it has one."""
    number = flight.queue.slot.lane.number
    return number.whose.portfolio if number is not None and flight.placed else ""
