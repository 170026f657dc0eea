"""An ESME and an SMSC joined in memory: every request ends exactly once, whatever the bytes and the clock do.

Nor is a silent SMSC written to for long, nor one given up that has answered within two response timeouts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smpp.constants import CommandId
from smpp.events import Closed, Event, Expired, LateResponse, Malformed, Response, Unexpected
from smpp.pdu import (
    HEADER,
    Bind,
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSM,
    DeliverSM,
    SubmitSM,
    encode_response,
)
from smpp.session import MAX_SEQUENCE_NUMBER, Role, Session, State

EVENTS = Response | LateResponse | Expired | Malformed | Unexpected | Closed | Bind | SubmitSM | DeliverSM | DataSM
REQUESTS = (CommandId.SUBMIT_SM, CommandId.DELIVER_SM)
KINDS = st.sampled_from([BindTransmitter, BindReceiver, BindTransceiver])
STATUSES = st.sampled_from([0, 0, 0, 0x58, 0x14, 0x40B, 0x04])
PATIENCE_S = 20.0


class End:
    """One side of the connection: its session, the bytes on their way from it, and an account of its requests."""

    def __init__(self, role: Role, window: int, now: float = 0.0, probation: bool = False) -> None:
        self.session = Session(
            role,
            window=window,
            response_timeout=PATIENCE_S,
            enquire_link=10.0,
            enquire_timeout=4.0,
            drain=5.0,
            max_pdu=4096,
            probation=probation,
        )
        self.wire = b""
        self.open: dict[str, int] = {}  # requests that have not ended, and their sequence numbers
        self.expired: set[str] = set()
        self.to_answer: list[SubmitSM | DeliverSM | DataSM] = []
        self.answered_at = now
        self.unheard = 0  # requests since then
        self.believable = True  # nobody but the other end has spoken to this one

    def send(self) -> list[tuple[int, int]]:
        """Put what the session says on the wire; the commands and sequence numbers of it."""
        data = self.session.data_to_send()
        self.wire += data
        said = []
        while data:
            length, command_id, _, sequence_number = HEADER.unpack_from(data)
            said.append((command_id, sequence_number))
            data = data[length:]
        return said

    def submit(self, contexts: list[str], now: float) -> None:
        self.send()
        pdu = SubmitSM if self.session.role is Role.ESME else DeliverSM
        requests = [(pdu(destination_addr=context).encode_body(), context) for context in contexts]
        if pdu is SubmitSM:
            self.session.submit(requests, now)
        else:
            self.session.deliver(requests, now)
        numbers = [number for command_id, number in self.send() if command_id in REQUESTS]
        assert len(numbers) == len(contexts)
        self.unheard += len(contexts)
        for context, number in zip(contexts, numbers, strict=True):
            assert 1 <= number <= MAX_SEQUENCE_NUMBER
            assert number not in self.open.values()
            self.open[context] = number

    def take(self, events: Iterable[Event], now: float) -> None:
        events = list(events)
        for position, event in enumerate(events):
            assert isinstance(event, EVENTS) or type(event).__name__ == "BindResp"
            if isinstance(event, Response | LateResponse):
                self.answered_at, self.unheard = now, 0
                assert not self.session.probation
            if isinstance(event, Response):
                del self.open[event.context]
                self.believe(event)
            elif isinstance(event, Expired):
                del self.open[event.context]
                self.expired.add(event.context)
            elif isinstance(event, LateResponse):
                self.expired.remove(event.context)
                self.believe(event)
            elif isinstance(event, Closed):
                assert position == len(events) - 1
                for context in event.unanswered:
                    del self.open[context]
            elif isinstance(event, SubmitSM | DeliverSM | DataSM):
                self.to_answer.append(event)
            elif isinstance(event, Bind):
                self.session.answer_bind(event, 0, "SMSC")

    def tick(self, now: float) -> None:
        """Let time pass: by that alone only an ESME leaves, and only who has been silent for long enough."""
        before = self.session.state
        self.take(self.session.tick(now), now)
        if self.session.state is State.UNBINDING and before is not State.UNBINDING:
            assert self.session.role is Role.ESME
            assert now - self.answered_at > 2 * PATIENCE_S - 0.001

    def believe(self, event: Response | LateResponse) -> None:
        """The answer is the one to this request, if nothing but the other end has spoken."""
        if self.believable and event.command_status == 0 and self.session.role is Role.ESME:
            assert event.message_id == event.context

    def answer(self, which: int, status: int) -> None:
        request = self.to_answer.pop(which % len(self.to_answer))
        if isinstance(request, SubmitSM):
            self.session.answer_submit(request, status, request.destination_addr)
        else:
            self.session.answer_deliveries([request], status)


class Conversation(RuleBasedStateMachine):
    """The two ends, and what can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.count = 0

    @initialize(window=st.integers(1, 5), kind=KINDS, bound=st.booleans())
    def connect(self, window: int, kind: type[Bind], bound: bool, probation: bool = False) -> None:
        self.window = window
        self.esme, self.smsc = End(Role.ESME, window, self.now, probation), End(Role.SMSC, window, self.now)
        self.ends = (self.esme, self.smsc)
        self.esme.session.bind(kind(system_id="recado"), self.now)
        if bound:
            self.bytes_arrive(smsc=True, octets=1000)
            self.bytes_arrive(smsc=False, octets=1000)

    def other(self, end: End) -> End:
        return self.smsc if end is self.esme else self.esme

    def end(self, smsc: bool) -> End:
        return self.smsc if smsc else self.esme

    @rule(smsc=st.booleans(), wanted=st.integers(1, 5))
    def submit(self, smsc: bool, wanted: int) -> None:
        end = self.end(smsc)
        contexts = [str(self.count + n) for n in range(min(wanted, end.session.room))]
        self.count += len(contexts)
        end.submit(contexts, self.now)

    @rule(smsc=st.booleans(), octets=st.one_of(st.integers(1, 60), st.just(100_000)))
    def bytes_arrive(self, smsc: bool, octets: int) -> None:
        """Some of what the other end has said comes through, cut anywhere."""
        end = self.end(smsc)
        speaker = self.other(end)
        speaker.send()
        data, speaker.wire = speaker.wire[:octets], speaker.wire[octets:]
        if data:
            end.take(end.session.receive(data, self.now), self.now)

    @rule(smsc=st.booleans(), which=st.integers(0, 20), status=STATUSES)
    def answer(self, smsc: bool, which: int, status: int) -> None:
        end = self.end(smsc)
        if end.to_answer:
            end.answer(which, status)

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 40)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for end in self.ends:
            end.tick(self.now)
            deadline = end.session.next_deadline
            assert deadline is None or deadline > self.now, "a deadline that has passed would be awaited for ever"

    @rule(turns=st.integers(1, 15), wanted=st.integers(0, 5))
    def silence(self, turns: int, wanted: int) -> None:
        """The SMSC lives, and answers nothing that it is asked."""
        for _ in range(turns):
            self.submit(smsc=False, wanted=wanted)
            self.now += 5.0
            self.lie(smsc=False, command_id=CommandId.ENQUIRE_LINK_RESP, status=0, sequence_number=1, body=b"")
            self.esme.tick(self.now)

    @rule(smsc=st.booleans())
    def unbind(self, smsc: bool) -> None:
        self.end(smsc).session.unbind(self.now)

    @rule(smsc=st.booleans(), data=st.binary(min_size=1, max_size=40))
    def noise(self, smsc: bool, data: bytes) -> None:
        """Bytes that mean nothing."""
        end = self.end(smsc)
        end.believable = False
        end.take(end.session.receive(data, self.now), self.now)

    @rule(
        smsc=st.booleans(),
        command_id=st.one_of(st.sampled_from(CommandId), st.integers(0, 0xFFFFFFFF)),
        status=STATUSES,
        sequence_number=st.sampled_from([0, 1, 2, 3, 4, MAX_SEQUENCE_NUMBER - 1, MAX_SEQUENCE_NUMBER, 0xFFFFFFFF]),
        body=st.binary(max_size=30),
    )
    def lie(self, smsc: bool, command_id: int, status: int, sequence_number: int, body: bytes) -> None:
        """A PDU that the other end never said, at a place where a PDU can begin."""
        end = self.end(smsc)
        if not end.session._buffer:
            end.believable = False
            lie = encode_response(command_id, status, sequence_number, body)
            end.take(end.session.receive(lie, self.now), self.now)

    @rule(smsc=st.booleans(), left=st.integers(0, 3))
    def numbers_run_out(self, smsc: bool, left: int) -> None:
        """As if two thousand million requests had been answered meanwhile: the next numbers may be in flight still."""
        self.end(smsc).session._sequence = MAX_SEQUENCE_NUMBER - left

    @rule(smsc=st.booleans())
    def connection_is_lost(self, smsc: bool) -> None:
        end = self.end(smsc)
        end.take(end.session.receive_eof(), self.now)
        end.take(end.session.receive_eof(), self.now)

    @precondition(lambda self: State.CLOSED in [end.session.state for end in self.ends])
    @rule(window=st.integers(1, 5), kind=KINDS, bound=st.booleans())
    def connect_again(self, window: int, kind: type[Bind], bound: bool) -> None:
        for end in self.ends:
            end.take(end.session.receive_eof(), self.now)
            assert end.open == {}
        self.connect(window, kind, bound, self.esme.session.probation)

    @invariant()
    def accounts_close(self) -> None:
        for end in getattr(self, "ends", ()):
            session = end.session
            assert session.in_flight == len(end.open) <= self.window
            assert session.room <= max(0, (1 if session.probation else self.window) - session.in_flight)
            if session.role is Role.ESME:
                assert end.unheard <= self.window + 1
            if session.state is State.CLOSED:
                assert (end.open, session.room, session.next_deadline) == ({}, 0, None)

    def teardown(self) -> None:
        for end in getattr(self, "ends", ()):
            end.take(end.session.receive_eof(), self.now)
            assert end.open == {}


def test_the_machine_can_succeed() -> None:
    """With nothing in the way the two ends bind, submit and answer: the machine is not all failure."""
    machine = Conversation()
    machine.connect(5, BindTransceiver, bound=True)
    esme, smsc = machine.ends
    assert (esme.session.state, smsc.session.state) == (State.BOUND_TRX, State.BOUND_TRX)
    machine.submit(smsc=False, wanted=3)
    machine.bytes_arrive(smsc=True, octets=1000)
    for _ in range(3):
        machine.answer(smsc=True, which=1, status=0)
    smsc.send()
    answered: list[Any] = esme.session.receive(smsc.wire, 0.0)
    assert [(event.context, event.message_id) for event in answered] == [("1", "1"), ("2", "2"), ("0", "0")]


def test_the_machine_can_be_silent() -> None:
    """A window and one more, then another session; there one and one more; and then an answer."""
    machine = Conversation()
    machine.connect(5, BindTransceiver, bound=True)
    for expected in (6, 2):
        machine.silence(turns=12, wanted=5)
        machine.accounts_close()
        assert (machine.esme.session.state, machine.esme.unheard) == (State.CLOSED, expected)
        machine.connect_again(5, BindTransceiver, bound=True)
    machine.submit(smsc=False, wanted=5)
    assert (machine.esme.unheard, machine.esme.session.room) == (1, 0)
    machine.bytes_arrive(smsc=True, octets=1000)
    machine.answer(smsc=True, which=0, status=0)
    machine.bytes_arrive(smsc=False, octets=1000)
    assert (machine.esme.unheard, machine.esme.session.room) == (0, 5)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
