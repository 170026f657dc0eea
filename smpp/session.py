"""One SMPP session without its socket: bytes and time in, events and bytes out.

The same class is the ESME of the gateway and the SMSC of the simulator. It owns everything that is decided by the bytes and
the clock alone: framing, the window, sequence numbers, response timeouts, enquire_link, unbind from either side, generic_nack.
It reads no clock and touches no socket (`link.py` and `simulator.py` do), so every path can be tested with plain numbers.

What must be true, whatever the peer sends:

- Each submitted request ends exactly once: in a `Response`, or in `Expired`, or in `Closed.unanswered`. The last two mean that
  nobody knows whether it was accepted. A `LateResponse` may still follow an `Expired`.
- A request is registered before its bytes are handed out; `in_flight` never passes `window`.
- Sequence numbers of ours and of the peer live in different maps; ours wrap at 0x7FFFFFFF and skip those still in flight.
- A peer's bytes end in an event, an answer, a generic_nack or `Closed`; never in an exception.

An SMSC that answers enquire_link may be deaf to submit_sm all the same. When a request of an ESME expires and nothing has been
answered since it was written, the session is on `probation`: it has room for one request at a time, until anything is answered,
be it late. When one that was written after that expires as well, and still nothing was answered, the session unbinds; whoever
connects anew begins on probation, as after a session that ended before anything was answered. So a silent SMSC is not given
window after window but one message in a response timeout, what comes up to a whole timeout too late is still taken, and who is
slow, or has lost a single answer, keeps its bind.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from smpp.constants import RESPONSE, CommandId, CommandStatus
from smpp.errors import FramingError, LocalProtocolError, MalformedPDU
from smpp.events import Closed, Event, Expired, LateResponse, Malformed, Response, Unexpected
from smpp.pdu import HEADER, Bind, BindResp, DataSM, DeliverSM, DeliveryReader, SubmitSM, decode, encode_response

__all__ = ["Role", "Session", "State"]

MAX_SEQUENCE_NUMBER = 0x7FFFFFFF  # §5.1.4
MAX_PDU = 65_536 + 512
"""Longest PDU taken: one message_payload of 64 KiB with its mandatory parameters. A longer one ends the session."""

_LONGEST_ID = 255
"""Of a message_id; §5.2.23 allows 64 octets. A longer one is none: what is kept of a message has to fit into a record."""

_LATE_KEPT = 4
"""Expired requests remembered for a late answer, as a multiple of the window."""

_USUAL_ANSWER = 16 + _LONGEST_ID
"""Octets of an answer whose message_id cannot be too long."""

_DELIVERY_RESP = struct.Struct(">IIIIB")
"""deliver_sm_resp and data_sm_resp: the header and an empty message_id (§4.6.2)."""

_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_SUBMIT_SM_RESP = int(CommandId.SUBMIT_SM_RESP)
_DELIVER_SM = int(CommandId.DELIVER_SM)
_DELIVER_SM_RESP = int(CommandId.DELIVER_SM_RESP)
_DATA_SM = int(CommandId.DATA_SM)
_DATA_SM_RESP = int(CommandId.DATA_SM_RESP)
_ENQUIRE_LINK = int(CommandId.ENQUIRE_LINK)
_ENQUIRE_LINK_RESP = int(CommandId.ENQUIRE_LINK_RESP)
_UNBIND = int(CommandId.UNBIND)
_UNBIND_RESP = int(CommandId.UNBIND_RESP)
_GENERIC_NACK = int(CommandId.GENERIC_NACK)
_ALERT_NOTIFICATION = int(CommandId.ALERT_NOTIFICATION)
_NOT_BOUND = int(CommandStatus.ESME_RINVBNDSTS)


class Role(Enum):
    ESME = "esme"
    SMSC = "smsc"


class State(Enum):
    """§2.2, with BINDING and UNBINDING told apart because they have deadlines."""

    OPEN = "open"
    BINDING = "binding"
    BOUND_TX = "bound_tx"
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBINDING = "unbinding"
    CLOSED = "closed"


_BOUND = {
    int(CommandId.BIND_TRANSMITTER): State.BOUND_TX,
    int(CommandId.BIND_RECEIVER): State.BOUND_RX,
    int(CommandId.BIND_TRANSCEIVER): State.BOUND_TRX,
}
_BIND_ANSWERS = frozenset((*(command_id | RESPONSE for command_id in _BOUND), _GENERIC_NACK))
# In which states a side may send messages, and in which it takes them (§2.3). What was under way at an unbind is taken.
_SENDING = {Role.ESME: (State.BOUND_TX, State.BOUND_TRX), Role.SMSC: (State.BOUND_RX, State.BOUND_TRX)}
_TAKING = {
    Role.ESME: (State.BOUND_RX, State.BOUND_TRX, State.UNBINDING),
    Role.SMSC: (State.BOUND_TX, State.BOUND_TRX, State.UNBINDING),
}


class Session:
    """See the module. Times are seconds of one monotonic clock.

    `window` is the most requests of ours that may be unanswered. `enquire_link` is the silence of the peer after which it is
    asked whether it lives; it then has `enquire_timeout` to answer. `drain` is how long answers are awaited once an unbind
    has come in. `probation` is that of the session before (see the module).
    """

    def __init__(
        self,
        role: Role,
        *,
        window: int = 10,
        response_timeout: float = 60.0,
        enquire_link: float = 30.0,
        enquire_timeout: float = 10.0,
        drain: float = 5.0,
        max_pdu: int = MAX_PDU,
        probation: bool = False,
    ) -> None:
        self.role = role
        self.state = State.OPEN
        self.window = window
        self.probation = probation
        self._response_timeout = response_timeout
        self._enquire_link = enquire_link
        self._enquire_timeout = enquire_timeout
        self._drain = drain
        self._max_pdu = max_pdu
        # The request and the answer that make up the traffic are read in the loop of `receive`.
        self._read: Callable[[bytes, int], SubmitSM | DeliverSM]
        if role is Role.ESME:
            self._request_id, self._read, self._answer_id = _DELIVER_SM, DeliveryReader().decode, _SUBMIT_SM_RESP
        else:
            self._request_id, self._read, self._answer_id = _SUBMIT_SM, SubmitSM.decode_body, _DELIVER_SM_RESP
        self._sending = _SENDING[role]
        self._taking = _TAKING[role]
        self._sequence = 0
        self._buffer = b""
        self._out: list[bytes] = []
        self._waiting: dict[int, tuple[float, Any]] = {}  # ours, in order of their deadlines
        self._late: OrderedDict[int, Any] = OrderedDict()
        self._heard = 0.0
        self._silent = False  # a request has expired, and nothing was answered since it was written
        # Deadline of a request written when the last answer came, or when `_silent` was found; 0 before either.
        self._unheard_from = 0.0
        self._silence: float | None = None  # until when the peer has to answer our enquire_link or unbind
        self._binding: int | None = None  # sequence_number of our bind
        self._bound_as = State.OPEN  # what it asks for
        self._unbinding: int | None = None  # sequence_number of our unbind
        self._why = ""  # of our unbind
        self._peer_unbind: tuple[int, float] | None = None  # the peer's unbind: to be answered when drained, or by then

    def __repr__(self) -> str:
        return f"<Session {self.role.value} {self.state.value} {self.in_flight}/{self.window}>"

    # What may be asked at any time.

    @property
    def in_flight(self) -> int:
        """Requests of ours without an answer."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many requests `submit` would take now."""
        window = min(1, self.window) if self.probation else self.window
        return max(0, window - len(self._waiting)) if self.can_send else 0

    @property
    def can_send(self) -> bool:
        """Whether this side may send messages: bound in the right direction, and no unbind under way."""
        return self.state in self._sending

    @property
    def next_deadline(self) -> float | None:
        """When `tick` has something to do if nothing arrives; None when there is nothing to wait for."""
        if self.state is State.CLOSED:
            return None
        deadlines = [deadline for deadline, _ in self._waiting.values()][:1]
        if self._peer_unbind is not None:
            deadlines.append(self._peer_unbind[1])
        elif self._silence is not None:
            deadlines.append(self._silence)
        elif self.state in _BOUND.values():
            deadlines.append(self._heard + self._enquire_link)
        return min(deadlines, default=None)

    def data_to_send(self) -> bytes:
        """Bytes for the socket; what is handed out is not handed out again."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # Requests of ours.

    def bind(self, request: Bind, now: float) -> None:
        """Ask to be bound. The answer is a `BindResp` event; its deadline is the caller's."""
        if self.role is not Role.ESME or self.state is not State.OPEN:
            raise LocalProtocolError(f"bind in state {self.state.value}")
        self._binding = self._next_sequence()
        self._bound_as = _BOUND[request.command_id]
        self.state = State.BINDING
        self._heard = now
        self._out.append(request.encode(self._binding))

    def submit(self, requests: Iterable[tuple[bytes, Any]], now: float, command_id: int = _SUBMIT_SM) -> None:
        """Queue requests, each a body and the context that its answer will carry.

        Raises `LocalProtocolError` when there are more than `room`; then none has been queued.
        """
        batch = list(requests)
        if len(batch) > self.room:
            raise LocalProtocolError(f"{len(batch)} requests, room for {self.room} in {self!r}")
        waiting = self._waiting
        deadline = now + self._response_timeout
        sequence = self._sequence
        pack = HEADER.pack
        out = self._out
        for body, context in batch:
            sequence = sequence + 1 if sequence < MAX_SEQUENCE_NUMBER else 1
            while sequence in waiting:
                sequence = sequence + 1 if sequence < MAX_SEQUENCE_NUMBER else 1
            waiting[sequence] = (deadline, context)
            out.append(pack(16 + len(body), command_id, 0, sequence))
            out.append(body)
        self._sequence = sequence

    def deliver(self, requests: Iterable[tuple[bytes, Any]], now: float) -> None:
        """The SMSC's side of `submit`: deliver_sm."""
        self.submit(requests, now, _DELIVER_SM)

    def unbind(self, now: float, why: str = "unbound") -> None:
        """Take leave. Nothing can be submitted any more; answers under way still come. Ends in `Closed`, which says why."""
        if self.state in (State.UNBINDING, State.CLOSED):
            return
        self._why = why
        self.state = State.UNBINDING
        self._unbinding = self._next_sequence()
        self._out.append(HEADER.pack(16, _UNBIND, 0, self._unbinding))
        self._silence = now + self._enquire_timeout  # an unbind needs no longer to be answered than an enquire_link

    # Answers of ours.

    def answer_deliveries(self, requests: Iterable[DeliverSM | DataSM], command_status: int = 0) -> None:
        """Answer deliver_sm and data_sm, once what they said is safe."""
        if self.state is State.CLOSED:
            return
        pack = _DELIVERY_RESP.pack
        self._out.extend(
            [
                pack(
                    17,
                    _DELIVER_SM_RESP if type(request) is DeliverSM else _DATA_SM_RESP,
                    command_status,
                    request.sequence_number,
                    0,
                )
                for request in requests
            ]
        )

    def answer_submit(self, request: SubmitSM, command_status: int, message_id: str = "") -> None:
        """The SMSC's answer to one submit_sm. An error carries no message_id (§4.4.2)."""
        if self.state is State.CLOSED:
            return
        body = b"" if command_status else message_id.encode("latin-1") + b"\0"
        self._out.append(encode_response(_SUBMIT_SM_RESP, command_status, request.sequence_number, body))

    def answer_bind(self, request: Bind, command_status: int, system_id: str = "") -> None:
        """The SMSC's answer to a bind; status 0 binds."""
        if self.state is State.CLOSED:
            return
        self.state = State.OPEN if command_status else _BOUND[request.command_id]
        body = b"" if command_status else system_id.encode("latin-1") + b"\0"
        self._out.append(encode_response(request.command_id | RESPONSE, command_status, request.sequence_number, body))

    # Time and bytes.

    def tick(self, now: float) -> list[Event]:
        """What the passing of time brings: expired requests, an enquire_link, the end of a dead or deaf session."""
        if self.state is State.CLOSED:
            return []
        events: list[Event] = []
        waiting = self._waiting
        expired = -1.0
        while waiting:
            sequence, (deadline, context) = next(iter(waiting.items()))
            if deadline > now:
                break
            del waiting[sequence]
            self._late[sequence] = context
            if len(self._late) > _LATE_KEPT * self.window:
                self._late.popitem(last=False)
            events.append(Expired(context))
            expired = deadline
        if expired >= self._unheard_from and self.role is Role.ESME and self.can_send:
            if self._silent:
                self.unbind(now, "submit_sm not answered")
            else:
                self._silent = self.probation = True
                self._unheard_from = now + self._response_timeout
        if self._peer_unbind is not None:
            if not waiting or self._peer_unbind[1] <= now:
                events.append(self._finish_peer_unbind())
        elif self._silence is not None:
            if self._silence <= now:
                what = "unbind" if self.state is State.UNBINDING else "enquire_link"
                events.append(self.close(f"{what} not answered"))
        elif self.state in _BOUND.values() and self._heard + self._enquire_link <= now:
            self._silence = now + self._enquire_timeout
            self._out.append(HEADER.pack(16, _ENQUIRE_LINK, 0, self._next_sequence()))
        return events

    def close(self, reason: str, *, clean: bool = False) -> Closed:
        """The end, from whichever side: what was not answered is handed back. Only the first call has anything to hand."""
        unanswered = [context for _, context in self._waiting.values()]
        if unanswered and not self._unheard_from:
            self.probation = True
        self._waiting.clear()
        self._late.clear()
        self._buffer = b""
        self.state = State.CLOSED
        return Closed(reason, unanswered, clean)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what the socket gave; any cutting of the stream gives the same events in the same order."""
        if self.state is State.CLOSED:
            return []
        self._heard = now
        if self._silence is not None and self.state is not State.UNBINDING:
            self._silence = None  # whatever it says, it lives
        events: list[Event] = []
        buffer = self._buffer + data if self._buffer else data
        at, size = 0, len(buffer)
        waiting, taking = self._waiting, self._taking
        unanswered = len(waiting) + len(self._late)
        answer_id, request_id, read = self._answer_id, self._request_id, self._read
        unpack = HEADER.unpack_from
        try:
            while size - at >= 16:
                length, command_id, status, sequence = unpack(buffer, at)
                if not 16 <= length <= self._max_pdu:
                    raise FramingError(f"command_length {length}")
                end = at + length
                if end > size:
                    break
                body = buffer[at + 16 : end]
                at = end
                if command_id == answer_id and length <= _USUAL_ANSWER and sequence in waiting:
                    # Some SMSCs leave the NUL out, some the whole body of an error.
                    message_id = body.partition(b"\0")[0].decode("latin-1")
                    events.append(Response(waiting.pop(sequence)[1], status, message_id))
                    if status == _NOT_BOUND:
                        self._disowned(now)
                    if not waiting and self._peer_unbind is not None:
                        events.append(self._finish_peer_unbind())
                        return self._last(events)
                elif command_id == request_id and self.state in taking:
                    try:
                        events.append(read(body, sequence))
                    except MalformedPDU as error:
                        self._nack(command_id, sequence, error, events)
                else:
                    self._receive_other(command_id, status, sequence, body, now, events)
                    if events and isinstance(events[-1], Closed):
                        return self._last(events)
        except FramingError as error:
            self._out.append(encode_response(_GENERIC_NACK, CommandStatus.ESME_RINVCMDLEN, 0))
            events.append(self.close(f"framing: {error}"))
            return self._last(events)
        self._buffer = buffer[at:] if at < size else b""
        if len(waiting) + len(self._late) < unanswered:
            self._silent = self.probation = False
            self._unheard_from = now + self._response_timeout
        return events

    def receive_eof(self) -> list[Event]:
        """The peer closed the connection."""
        return [] if self.state is State.CLOSED else [self.close("connection closed by the peer")]

    # Private: the end, and one PDU that is neither the request nor the answer of the traffic.

    def _last(self, events: list[Event]) -> list[Event]:
        """An answer that comes with the end ends the silence as any other does."""
        if any(isinstance(event, Response | LateResponse) for event in events):
            self.probation = False
        return events

    def _receive_other(
        self, command_id: int, status: int, sequence: int, body: bytes, now: float, events: list[Event]
    ) -> None:
        if command_id == _ENQUIRE_LINK:
            self._out.append(HEADER.pack(16, _ENQUIRE_LINK_RESP, 0, sequence))
        elif command_id & RESPONSE:
            if command_id != _ENQUIRE_LINK_RESP:  # `receive` has already noted that the peer lives
                self._receive_response(command_id, status, sequence, body, events)
            if status == _NOT_BOUND:
                self._disowned(now)
        elif command_id == _UNBIND:
            self._receive_unbind(sequence, now, events)
        elif command_id != _ALERT_NOTIFICATION:  # of no use here, and it has no answer (§4.12)
            self._receive_request(command_id, sequence, body, events)

    def _disowned(self, now: float) -> None:
        """The SMSC lives and no longer knows our bind: leave it in order, so that the answers under way still come."""
        if self.role is Role.ESME and self.state in _BOUND.values():
            self.unbind(now, "ESME_RINVBNDSTS")

    def _receive_request(self, command_id: int, sequence: int, body: bytes, events: list[Event]) -> None:
        try:
            request = decode(command_id, body, sequence)
        except MalformedPDU as error:
            self._nack(command_id, sequence, error, events)
            return
        if isinstance(request, DataSM) and self.state in self._taking:
            events.append(request)
        elif isinstance(request, Bind) and self.role is Role.SMSC and self.state is State.OPEN:
            self.state = State.BINDING
            events.append(request)
        elif request is None:
            self._out.append(encode_response(_GENERIC_NACK, CommandStatus.ESME_RINVCMDID, sequence))
            events.append(Unexpected(command_id))
        else:
            again = isinstance(request, Bind) and self.role is Role.SMSC
            status = CommandStatus.ESME_RALYBND if again else CommandStatus.ESME_RINVBNDSTS
            self._out.append(encode_response(command_id | RESPONSE, status, sequence))
            events.append(Unexpected(command_id))

    def _nack(self, command_id: int, sequence: int, error: MalformedPDU, events: list[Event]) -> None:
        self._out.append(encode_response(_GENERIC_NACK, CommandStatus.ESME_RINVCMDLEN, sequence))
        events.append(Malformed(command_id, str(error)))

    def _receive_response(self, command_id: int, status: int, sequence: int, body: bytes, events: list[Event]) -> None:
        text = body.partition(b"\0")[0].decode("latin-1")
        if command_id == _GENERIC_NACK:
            status = status or CommandStatus.ESME_RUNKNOWNERR  # a nack is no success, whatever it says
        answers = command_id in (self._answer_id, _DATA_SM_RESP, _GENERIC_NACK)
        if answers and len(text) > _LONGEST_ID:
            events.append(Malformed(command_id, f"message_id of {len(text)} octets"))
            text = ""
        if answers and sequence in self._waiting:
            events.append(Response(self._waiting.pop(sequence)[1], status, text))
            if not self._waiting and self._peer_unbind is not None:
                events.append(self._finish_peer_unbind())
        elif answers and sequence in self._late:
            events.append(LateResponse(self._late.pop(sequence), status, text))
        elif sequence == self._binding and command_id in _BIND_ANSWERS:
            self._binding = None
            self.state = State.OPEN if status else self._bound_as
            events.append(BindResp(status, text))
        elif sequence == self._unbinding and command_id == _UNBIND_RESP:
            events.append(self.close(self._why, clean=True))
        elif sequence == self._unbinding and command_id == _GENERIC_NACK:
            events.append(self.close("unbind refused"))
        else:
            events.append(Unexpected(command_id))

    def _receive_unbind(self, sequence: int, now: float, events: list[Event]) -> None:
        """Stop sending, let the answers under way come in, then answer: an answer at once would cost their outcomes."""
        if self._peer_unbind is None:
            self._peer_unbind = (sequence, now + self._drain)
            self.state = State.UNBINDING
        if not self._waiting:
            events.append(self._finish_peer_unbind())

    def _finish_peer_unbind(self) -> Closed:
        assert self._peer_unbind is not None
        self._out.append(HEADER.pack(16, _UNBIND_RESP, 0, self._peer_unbind[0]))
        self._peer_unbind = None
        return self.close("unbound by the peer", clean=True)

    def _next_sequence(self) -> int:
        sequence = self._sequence
        while True:
            sequence = sequence + 1 if sequence < MAX_SEQUENCE_NUMBER else 1
            if sequence not in self._waiting:
                self._sequence = sequence
                return sequence
