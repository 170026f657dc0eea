"""A session under bytes, cuts and time: the input is a programme of what happens to it.

Beside the session runs a twin to which everything happens as well, but what it receives is cut in two: whatever the cut, both
must say and do the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from smpp.constants import CommandId
from smpp.events import Closed, Event, Expired, LateResponse, Response
from smpp.pdu import HEADER, Bind, BindTransceiver, BindTransmitter, DataSM, DeliverSM, SubmitSM, encode_response
from smpp.session import MAX_SEQUENCE_NUMBER, Role, Session, State

_COMMANDS = tuple(CommandId)
_STATUSES = (0, 0, 0x04, 0x58, 0x14, 0x40B)
_SEQUENCES = (0, 1, 2, 3, 4, 5, 6, MAX_SEQUENCE_NUMBER - 1, MAX_SEQUENCE_NUMBER, 0xFFFFFFFF)
_BODIES = (
    b"",
    b"SMSC\0",
    b"123\0",
    SubmitSM(destination_addr="573001234567", short_message=b"hola").encode_body(),
    DeliverSM(source_addr="573001234567", esm_class=4, short_message=b"id:1 stat:DELIVRD").encode_body(),
    DataSM(destination_addr="89000").encode_body(),
    BindTransceiver(system_id="recado").encode_body(),
)
_WINDOW = 4

RAW, SAY, SUBMIT, TICK, UNBIND, ANSWER, EOF, JUMP = range(8)


class _Tape:
    """Octets that are read as numbers and pieces; nought and nothing at its end."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._octets)

    def number(self) -> int:
        self._at += 1
        return self._octets[self._at - 1] if self._at <= len(self._octets) else 0

    def piece(self, size: int) -> bytes:
        self._at += size
        return self._octets[self._at - size : self._at]


class _End:
    """A session with its account: each request ends once."""

    def __init__(self, role: Role) -> None:
        self.session = Session(
            role, window=_WINDOW, response_timeout=20.0, enquire_link=10.0, enquire_timeout=4.0, drain=5.0, max_pdu=2048
        )
        self.open: set[int] = set()
        self.expired: set[int] = set()
        self.owed: list[SubmitSM | DeliverSM | DataSM] = []
        self.said = b""
        self.heard: list[Event] = []
        self.binds: list[Bind] = []
        self._count = 0

    def submit(self, wanted: int, now: float) -> None:
        room = self.session.room
        assert room <= _WINDOW - len(self.open)
        contexts = [self._count + n for n in range(min(wanted, room))]
        self._count += len(contexts)
        requests = [(b"", context) for context in contexts]
        if self.session.role is Role.ESME:
            self.session.submit(requests, now)
        else:
            self.session.deliver(requests, now)
        self.open |= set(contexts)

    def answer(self, which: int, status: int) -> None:
        if not self.owed:
            return
        request = self.owed.pop(which % len(self.owed))
        if isinstance(request, SubmitSM):
            self.session.answer_submit(request, status, "7")
        else:
            self.session.answer_deliveries([request], status)

    def take(self, events: list[Event]) -> None:
        self.heard += events
        for position, event in enumerate(events):
            if isinstance(event, Response):
                self.open.remove(event.context)
            elif isinstance(event, Expired):
                self.open.remove(event.context)
                self.expired.add(event.context)
            elif isinstance(event, LateResponse):
                self.expired.remove(event.context)
            elif isinstance(event, Closed):
                assert position == len(events) - 1
                assert set(event.unanswered) == self.open
                assert len(event.unanswered) == len(self.open)
                self.open.clear()
            elif isinstance(event, SubmitSM | DeliverSM | DataSM):
                self.owed.append(event)
            elif isinstance(event, Bind):
                self.binds.append(event)

    def settle(self, now: float) -> None:
        """Answer a bind, check what must be true after every step, and that what was said can be cut into PDUs."""
        session = self.session
        while self.binds:
            session.answer_bind(self.binds.pop(), 0, "SMSC")
        assert session.in_flight == len(self.open) <= _WINDOW
        if session.state is State.CLOSED:
            assert not self.open
            assert session.room == 0
            assert session.next_deadline is None
        data = session.data_to_send()
        self.said += data
        while data:
            length, command_id, _, sequence = HEADER.unpack_from(data)
            assert 16 <= length <= len(data)
            own = not command_id & 0x80000000
            assert not own or 1 <= sequence <= MAX_SEQUENCE_NUMBER
            data = data[length:]


def session(data: bytes) -> bool:
    """No programme makes a session raise, lose a request, end one twice, pass its window or depend on how bytes are cut."""
    tape = _Tape(data)
    head = tape.number()
    role = Role.SMSC if head & 1 else Role.ESME
    whole, cut = _End(role), _End(role)
    now = 0.0
    if role is Role.ESME:
        for end in (whole, cut):
            end.session.bind((BindTransceiver if head & 2 else BindTransmitter)(system_id="recado"), now)
            if head & 4:
                end.take(end.session.receive(encode_response(CommandId.BIND_TRANSCEIVER_RESP, 0, 1, b"SMSC\0"), now))
    while tape.left:
        now = _step(tape, whole, cut, now)
        for end in (whole, cut):
            end.settle(now)
        assert whole.session.state is cut.session.state
    for end in (whole, cut):
        end.take(end.session.receive_eof())
        end.settle(now)
        assert not end.open
    assert whole.heard == cut.heard
    assert whole.said == cut.said
    return any(isinstance(event, Response) for event in whole.heard)


def _step(tape: _Tape, whole: _End, cut: _End, now: float) -> float:
    ends = (whole, cut)
    what = tape.number() % 8
    if what in (RAW, SAY):
        data = tape.piece(tape.number()) if what == RAW else _pdu(tape)
        if not data:
            return now
        at = 1 + tape.number() % len(data)
        whole.take(whole.session.receive(data, now))
        cut.take(cut.session.receive(data[:at], now))
        if at < len(data):
            cut.take(cut.session.receive(data[at:], now))
    elif what == TICK:
        now += tape.number() / 4
        for end in ends:
            end.take(end.session.tick(now))
            deadline = end.session.next_deadline
            assert deadline is None or deadline > now
    elif what == SUBMIT:
        wanted = tape.number() % 6
        for end in ends:
            end.submit(wanted, now)
    elif what == UNBIND:
        for end in ends:
            end.session.unbind(now)
    elif what == ANSWER:
        which, status = tape.number(), _STATUSES[tape.number() % len(_STATUSES)]
        for end in ends:
            end.answer(which, status)
    elif what == JUMP:
        left = tape.number() % 4
        for end in ends:
            end.session._sequence = MAX_SEQUENCE_NUMBER - left
    elif what == EOF and tape.number() % 8 == 0:
        for end in ends:
            end.take(end.session.receive_eof())
    return now


def _pdu(tape: _Tape) -> bytes:
    """A PDU with a header that makes sense."""
    command_id = _COMMANDS[tape.number() % len(_COMMANDS)]
    status = _STATUSES[tape.number() % len(_STATUSES)]
    sequence = _SEQUENCES[tape.number() % len(_SEQUENCES)]
    return encode_response(command_id, status, sequence, _BODIES[tape.number() % len(_BODIES)])


def _said(command: CommandId, sequence: int, body: int = 0, status: int = 0) -> bytes:
    return bytes((SAY, _COMMANDS.index(command), status, sequence, body, 5))


def sessions() -> Iterator[bytes]:
    submit, answer = bytes((SUBMIT, 3)), [_said(CommandId.SUBMIT_SM_RESP, sequence, 2) for sequence in (3, 2, 4)]
    yield bytes((6,)) + submit + b"".join(answer)
    yield bytes((6,)) + submit + answer[0] + bytes((TICK, 90)) + answer[1] + bytes((UNBIND,))
    yield bytes((6,)) + submit + _said(CommandId.UNBIND, 5) + b"".join(answer)
    yield bytes((6,)) + _said(CommandId.DELIVER_SM, 1, 4) + bytes((ANSWER, 0, 0)) + bytes((TICK, 60, TICK, 30))
    yield bytes((6,)) + _said(CommandId.ENQUIRE_LINK, 9) + _said(CommandId.DATA_SM, 2, 5) + bytes((UNBIND,))
    yield bytes((1,)) + _said(CommandId.BIND_TRANSCEIVER, 1, 6) + _said(CommandId.SUBMIT_SM, 2, 3)
    yield bytes((1,)) + _said(CommandId.BIND_RECEIVER, 1, 6) + submit + _said(CommandId.DELIVER_SM_RESP, 1)
    yield bytes((6, JUMP, 1)) + submit + bytes((TICK, 10, EOF, 0))
    yield bytes((6,)) + submit + _said(CommandId.SUBMIT_SM_RESP, 2, 0, 2) + b"".join(answer)
    yield bytes((6,)) + (submit + _said(CommandId.ENQUIRE_LINK_RESP, 0) + bytes((TICK, 30))) * 9
    garbage = bytes.fromhex("00000010800000150000000000000009")
    yield bytes((4, RAW, len(garbage))) + garbage + bytes((3,))
