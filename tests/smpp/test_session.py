"""The session: window, deadlines, unbind and nacks, told with plain bytes and plain numbers."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from smpp.constants import CommandId, CommandStatus
from smpp.errors import LocalProtocolError
from smpp.events import Closed, Expired, LateResponse, Malformed, Response, Unexpected
from smpp.pdu import (
    HEADER,
    Bind,
    BindReceiver,
    BindResp,
    BindTransceiver,
    BindTransmitter,
    DataSM,
    DeliverSM,
    SubmitSM,
    encode_response,
)
from smpp.session import MAX_PDU, MAX_SEQUENCE_NUMBER, Role, Session, State

C = CommandId
S = CommandStatus
BODY = SubmitSM(destination_addr="573001234567", short_message=b"hola").encode_body()
TIMES = {"response_timeout": 60.0, "enquire_link": 30.0, "enquire_timeout": 10.0, "drain": 5.0}


class Sent(NamedTuple):
    """A PDU as it is on the wire."""

    command_id: int
    command_status: int
    sequence_number: int
    body: bytes


def sent(session: Session) -> list[Sent]:
    data = session.data_to_send()
    pdus = []
    while data:
        length, command_id, status, sequence_number = HEADER.unpack_from(data)
        pdus.append(Sent(command_id, status, sequence_number, data[16:length]))
        data = data[length:]
    return pdus


def header(command_id: int, sequence_number: int, status: int = 0) -> bytes:
    return HEADER.pack(16, command_id, status, sequence_number)


def submit_resp(sequence_number: int, message_id: str = "id", status: int = 0) -> bytes:
    return encode_response(C.SUBMIT_SM_RESP, status, sequence_number, message_id.encode() + b"\0")


def esme(window: int = 10, request: Bind | None = None) -> Session:
    """An ESME bound at time 0, as a transceiver unless told otherwise; the bind has taken sequence number 1."""
    session = Session(Role.ESME, window=window, **TIMES)
    request = request or BindTransceiver(system_id="recado")
    session.bind(request, 0.0)
    session.data_to_send()
    session.receive(encode_response(request.command_id | 0x80000000, 0, 1, b"SMSC\0"), 0.0)
    return session


def smsc(window: int = 10, request: Bind | None = None) -> Session:
    """An SMSC that has been bound to at time 0, by a transceiver unless told otherwise."""
    session = Session(Role.SMSC, window=window, **TIMES)
    (bind,) = session.receive((request or BindTransceiver(system_id="recado")).encode(1), 0.0)
    session.answer_bind(bind, 0, "SMSC")
    session.data_to_send()
    return session


# Bind.


@pytest.mark.parametrize(
    ("request_", "state", "room"),
    [
        (BindTransmitter(), State.BOUND_TX, 10),
        (BindReceiver(), State.BOUND_RX, 0),
        (BindTransceiver(), State.BOUND_TRX, 10),
    ],
)
def test_bound(request_: Bind, state: State, room: int) -> None:
    """A bind that is answered binds in its direction: a receiver has no room to submit."""
    session = esme(request=request_)
    assert (session.state, session.room, session.can_send) == (state, room, room > 0)


def test_bind_is_sent() -> None:
    """A bind goes out as it was asked for, and its answer is an event."""
    session = Session(Role.ESME)
    session.bind(BindTransmitter(system_id="recado", password="secret"), 0.0)
    assert session.state is State.BINDING
    assert [pdu.command_id for pdu in sent(session)] == [C.BIND_TRANSMITTER]
    assert session.receive(encode_response(C.BIND_TRANSMITTER_RESP, 0, 1, b"SMSC\0"), 0.0) == [BindResp(0, "SMSC")]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (header(C.BIND_TRANSCEIVER_RESP, 1, S.ESME_RINVPASWD), S.ESME_RINVPASWD),
        (encode_response(C.BIND_TRANSCEIVER_RESP, S.ESME_RBINDFAIL, 1, b"SMSC\0"), S.ESME_RBINDFAIL),
        (header(C.GENERIC_NACK, 1, S.ESME_RINVCMDID), S.ESME_RINVCMDID),
        (header(C.GENERIC_NACK, 1), S.ESME_RUNKNOWNERR),
    ],
)
def test_bind_rejected(answer: bytes, status: int) -> None:
    """A bind that is refused, with or without a body or by a nack, says so and leaves the session unbound."""
    session = Session(Role.ESME)
    session.bind(BindTransceiver(), 0.0)
    (event,) = session.receive(answer, 0.0)
    assert isinstance(event, BindResp)
    assert event.command_status == status
    assert session.state is State.OPEN


def test_bind_out_of_place() -> None:
    """Only an ESME binds, and only once."""
    with pytest.raises(LocalProtocolError):
        Session(Role.SMSC).bind(BindTransceiver(), 0.0)
    with pytest.raises(LocalProtocolError):
        esme().bind(BindTransceiver(), 0.0)


def test_answer_to_another_bind() -> None:
    """A bind_resp with a sequence number that is not the bind's changes nothing."""
    session = Session(Role.ESME)
    session.bind(BindTransceiver(), 0.0)
    assert session.receive(header(C.BIND_TRANSCEIVER_RESP, 2), 0.0) == [Unexpected(C.BIND_TRANSCEIVER_RESP)]
    assert session.state is State.BINDING


def test_smsc_takes_one_bind() -> None:
    """The SMSC is asked once: a second bind, before or after the answer, is refused."""
    session = Session(Role.SMSC)
    first, second = session.receive(BindTransceiver().encode(1) + BindTransceiver().encode(2), 0.0)
    assert isinstance(first, BindTransceiver)
    assert second == Unexpected(C.BIND_TRANSCEIVER)
    session.answer_bind(first, 0, "SMSC")
    assert session.receive(BindReceiver().encode(3), 0.0) == [Unexpected(C.BIND_RECEIVER)]
    assert [(pdu.command_status, pdu.sequence_number) for pdu in sent(session)] == [
        (S.ESME_RALYBND, 2),
        (0, 1),
        (S.ESME_RALYBND, 3),
    ]


def test_smsc_rejects_a_bind() -> None:
    """A bind that the SMSC refuses leaves the session open for another."""
    session = Session(Role.SMSC)
    (bind,) = session.receive(BindTransceiver().encode(1), 0.0)
    session.answer_bind(bind, S.ESME_RINVPASWD)
    assert sent(session) == [Sent(C.BIND_TRANSCEIVER_RESP, S.ESME_RINVPASWD, 1, b"")]
    assert session.receive(BindTransceiver(system_id="again").encode(2), 0.0) == [
        BindTransceiver(sequence_number=2, system_id="again")
    ]


# The window.


def test_submit() -> None:
    """Submitted requests are on their way in order, each under a number of its own, and take room."""
    session = esme(window=3)
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    assert sent(session) == [Sent(C.SUBMIT_SM, 0, 2, BODY), Sent(C.SUBMIT_SM, 0, 3, BODY)]
    assert (session.in_flight, session.room) == (2, 1)


def test_sent_once() -> None:
    """What was handed out is not handed out again."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    assert session.data_to_send() == b""


def test_submit_beyond_the_window() -> None:
    """More requests than there is room for are refused as a whole."""
    session = esme(window=2)
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    with pytest.raises(LocalProtocolError):
        session.submit([(BODY, "b"), (BODY, "c")], 0.0)
    assert (session.in_flight, session.data_to_send()) == (1, b"")


def test_submit_unbound() -> None:
    """Nothing can be submitted before a bind, nor by a receiver."""
    for session in (Session(Role.ESME), esme(request=BindReceiver())):
        with pytest.raises(LocalProtocolError):
            session.submit([(BODY, "a")], 0.0)


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (b"1a2b3c\0", "1a2b3c"),
        (b"1a2b3c", "1a2b3c"),
        (b"\0", ""),
        (b"", ""),
        (b"1a2b3c\0\0\0", "1a2b3c"),
        (b"1a2b3c\0\x04\x24\x00\x01x", "1a2b3c"),
        (b"\xf1\0", "ñ"),
    ],
)
def test_message_id(body: bytes, message_id: str) -> None:
    """The message_id ends at its NUL or at the end of the PDU; whatever follows is ignored."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    assert session.receive(encode_response(C.SUBMIT_SM_RESP, 0, 2, body), 0.0) == [Response("a", 0, message_id)]


@pytest.mark.parametrize("command_id", [C.SUBMIT_SM_RESP, C.DATA_SM_RESP])
@pytest.mark.parametrize("longest", ["i" * 255, "\x85" * 255])
def test_a_message_id_that_is_too_long_is_none(command_id: int, longest: str) -> None:
    """What it answers was accepted all the same, in time or late. Of 255 characters it is one: SMPP allows 64 (§5.2.23)."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b"), (BODY, "c")], 0.0)
    body = longest.encode("latin-1")
    answers = encode_response(command_id, 0, 2, body + b"\0\x04\x24\x00\x01x")
    answers += encode_response(command_id, 0, 3, body + b"i\0")
    malformed = Malformed(command_id, "message_id of 256 octets")
    assert session.receive(answers, 0.0) == [Response("a", 0, longest), malformed, Response("b", 0, "")]
    session.tick(1e6)
    assert session.receive(encode_response(command_id, 0, 4, body * 200), 1e6) == [
        Malformed(command_id, "message_id of 51000 octets"),
        LateResponse("c", 0, ""),
    ]


def test_a_last_answer_with_a_message_id_that_is_too_long_ends_the_drain() -> None:
    """As any answer does."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.receive(header(C.UNBIND, 5), 1.0)
    assert session.receive(submit_resp(2, "i" * 256), 2.0)[1:] == [
        Response("a", 0, ""),
        Closed("unbound by the peer", [], clean=True),
    ]


def test_responses_in_any_order() -> None:
    """Answers find their requests by number, whatever their order, and make room."""
    session = esme(window=3)
    session.submit([(BODY, "a"), (BODY, "b"), (BODY, "c")], 0.0)
    answers = submit_resp(4, "3") + submit_resp(2, "1", S.ESME_RTHROTTLED) + submit_resp(3, "2")
    assert session.receive(answers, 0.0) == [
        Response("c", 0, "3"),
        Response("a", S.ESME_RTHROTTLED, "1"),
        Response("b", 0, "2"),
    ]
    assert (session.in_flight, session.room) == (0, 3)


def test_answered_twice() -> None:
    """The second answer to a request belongs to nothing."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    events = session.receive(submit_resp(2, "1") + submit_resp(2, "2"), 0.0)
    assert events == [Response("a", 0, "1"), Unexpected(C.SUBMIT_SM_RESP)]


@pytest.mark.parametrize(("status", "meaning"), [(S.ESME_RINVCMDLEN, S.ESME_RINVCMDLEN), (0, S.ESME_RUNKNOWNERR)])
def test_nacked(status: int, meaning: int) -> None:
    """A generic_nack answers the request with its number, and never as a success."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    assert session.receive(header(C.GENERIC_NACK, 2, status), 0.0) == [Response("a", meaning, "")]


def test_nack_of_nothing() -> None:
    """A generic_nack that names no request of ours leaves those under way alone."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    assert session.receive(header(C.GENERIC_NACK, 0, S.ESME_RINVCMDLEN), 0.0) == [Unexpected(C.GENERIC_NACK)]
    assert session.in_flight == 1


def test_answer_of_the_wrong_kind() -> None:
    """A deliver_sm_resp does not answer a submit_sm, nor a submit_sm_resp a deliver_sm, though the numbers are the same."""
    sender, deliverer = esme(), smsc()
    sender.submit([(BODY, "a")], 0.0)
    deliverer.deliver([(BODY, "b")], 0.0)
    assert sender.receive(encode_response(C.DELIVER_SM_RESP, 0, 2, b"\0"), 0.0) == [Unexpected(C.DELIVER_SM_RESP)]
    assert deliverer.receive(submit_resp(1), 0.0) == [Unexpected(C.SUBMIT_SM_RESP)]
    assert (sender.in_flight, deliverer.in_flight) == (1, 1)


def test_sequence_numbers_of_both_sides() -> None:
    """A request of the peer under the number of one of ours is answered, and ours stays under way."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    (delivery,) = session.receive(DeliverSM(source_addr="573001234567").encode(2), 0.0)
    session.answer_deliveries([delivery])
    assert sent(session) == [Sent(C.DELIVER_SM_RESP, 0, 2, b"\0")]
    assert session.receive(submit_resp(2), 0.0) == [Response("a", 0, "id")]


def test_sequence_numbers_wrap() -> None:
    """After 0x7FFFFFFF comes 1, and a number that is still in flight is passed over."""
    session = esme()
    session._sequence = MAX_SEQUENCE_NUMBER
    session.submit([(BODY, "a")], 0.0)
    session._sequence = MAX_SEQUENCE_NUMBER - 1
    session.data_to_send()
    session.submit([(BODY, "b"), (BODY, "c")], 0.0)
    session._sequence = MAX_SEQUENCE_NUMBER
    session.unbind(0.0)
    assert [pdu.sequence_number for pdu in sent(session)] == [MAX_SEQUENCE_NUMBER, 2, 3]
    assert session.receive(submit_resp(1), 0.0) == [Response("a", 0, "id")]


# Deadlines.


def test_expired() -> None:
    """A request without an answer ends at its deadline and not before; the others stay."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.submit([(BODY, "b")], 1.0)
    session.receive(header(C.ENQUIRE_LINK, 1), 59.0)
    assert session.tick(59.9) == []
    assert session.tick(60.0) == [Expired("a")]
    assert session.in_flight == 1


def test_late_response() -> None:
    """An answer after the deadline still says what became of the request, once, and a late nack too."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.receive(header(C.ENQUIRE_LINK, 1), 59.0)
    assert session.tick(60.0) == [Expired("a"), Expired("b")]
    nack = header(C.GENERIC_NACK, 3, S.ESME_RSYSERR)
    assert session.receive(submit_resp(2, "7") + submit_resp(2, "7") + nack, 61.0) == [
        LateResponse("a", 0, "7"),
        Unexpected(C.SUBMIT_SM_RESP),
        LateResponse("b", S.ESME_RSYSERR, ""),
    ]


def test_late_answer_of_the_wrong_kind() -> None:
    """An answer to another kind of request says nothing about one that expired."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.receive(header(C.ENQUIRE_LINK, 1), 59.0)
    session.tick(60.0)
    assert session.receive(encode_response(C.DELIVER_SM_RESP, 0, 2, b"\0"), 61.0) == [Unexpected(C.DELIVER_SM_RESP)]


def test_late_responses_are_bounded() -> None:
    """Only so many expired requests are remembered, the youngest."""
    session = esme(window=1)
    for turn in range(6):
        session.submit([(BODY, turn)], 0.0)
        session._heard = 60.0
        session.tick(60.0)
    answers = b"".join(submit_resp(2 + turn) for turn in range(6))
    late = [event.context for event in session.receive(answers, 61.0) if isinstance(event, LateResponse)]
    assert late == [2, 3, 4, 5]


def test_next_deadline() -> None:
    """The next deadline is the first of what is awaited: a sign of life, an answer, and nothing once closed."""
    session = esme()
    assert session.next_deadline == 30.0
    session.receive(header(C.ENQUIRE_LINK, 1), 40.0)
    session.submit([(BODY, "a")], 5.0)
    assert session.next_deadline == 65.0
    session.tick(70.0)
    assert session.next_deadline == 80.0
    session.close("enough")
    assert session.next_deadline is None
    assert Session(Role.ESME).next_deadline is None


# Silence.


def unheard(session: Session, now: float) -> None:
    """The peer shows life and answers nothing."""
    session.receive(header(C.ENQUIRE_LINK, 1), now)
    session.data_to_send()


def deaf() -> Session:
    """One on probation, whose next request is not answered either, at 121 s."""
    session = esme(window=3)
    session.submit([(BODY, "a")], 0.0)
    unheard(session, 59.0)
    session.tick(60.0)
    session.submit([(BODY, "b")], 61.0)
    unheard(session, 120.0)
    session.tick(121.0)
    return session


def test_silence_stops_the_window() -> None:
    """When what expires has seen no answer to anything, one request at a time is enough to ask whether somebody listens."""
    session = esme(window=3)
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    unheard(session, 59.0)
    assert session.room == 1
    assert session.tick(60.0) == [Expired("a"), Expired("b")]
    assert (session.probation, session.room) == (True, 1)
    session.submit([(BODY, "c")], 60.0)
    assert session.room == 0


@pytest.mark.parametrize(
    "answer",
    [
        submit_resp(4),
        submit_resp(4, status=S.ESME_RTHROTTLED),
        header(C.GENERIC_NACK, 4, S.ESME_RSYSERR),
        encode_response(C.DATA_SM_RESP, 0, 4, b"id\0"),
        submit_resp(2),
        header(C.GENERIC_NACK, 3, S.ESME_RSYSERR),
    ],
)
def test_any_answer_ends_the_silence(answer: bytes) -> None:
    """To what was asked on probation, or a late one to what had expired; then the window is whole again."""
    session = esme(window=3)
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    unheard(session, 59.0)
    session.tick(60.0)
    session.submit([(BODY, "c")], 60.0)
    session.receive(answer, 119.0)
    assert not session.probation
    assert session.room == 3 - session.in_flight
    session.tick(120.0)
    assert session.room == 3


@pytest.mark.parametrize("sign", [header(C.ENQUIRE_LINK_RESP, 1), DeliverSM().encode(7), submit_resp(99)])
def test_silence_that_goes_on_ends_the_session(sign: bytes) -> None:
    """Whatever else the peer says: what is written after the first silence meets a second."""
    session = esme(window=3)
    session.submit([(BODY, "a")], 0.0)
    session.receive(sign, 59.0)
    session.tick(60.0)
    session.submit([(BODY, "b")], 61.0)
    session.receive(sign, 120.0)
    session.data_to_send()
    assert session.tick(120.9) == []
    assert session.tick(121.0) == [Expired("b")]
    assert (sent(session), session.room) == ([Sent(C.UNBIND, 0, 4, b"")], 0)
    assert session.receive(header(C.UNBIND_RESP, 4), 122.0) == [Closed("submit_sm not answered", [], clean=True)]
    assert session.probation


def test_who_is_silent_to_our_unbind_too_is_left_without() -> None:
    """It has the time of an enquire_link, whatever else it says."""
    session = deaf()
    unheard(session, 130.0)
    assert session.tick(130.9) == []
    assert session.tick(131.0) == [Closed("unbind not answered", [])]
    assert session.probation


def test_what_is_answered_while_a_silent_peer_is_left() -> None:
    """Then somebody listens, and whoever connects anew has the whole window."""
    session = deaf()
    assert session.receive(submit_resp(3), 122.0) == [LateResponse("b", 0, "id")]
    assert (session.probation, session.room) == (False, 0)
    assert session.receive(header(C.UNBIND_RESP, 4), 123.0) == [Closed("submit_sm not answered", [], clean=True)]
    assert not session.probation


def test_one_answer_that_is_lost_is_no_silence() -> None:
    """Somebody listens who has answered anything since."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.receive(submit_resp(3), 1.0)
    unheard(session, 59.0)
    assert session.tick(60.0) == [Expired("a")]
    assert (session.probation, session.room) == (False, 10)


def test_what_was_written_before_the_silence_was_seen_does_not_prolong_it() -> None:
    """It expires on probation, and has asked nothing that was not asked before."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.submit([(BODY, "b")], 30.0)
    unheard(session, 59.0)
    assert session.tick(60.0) == [Expired("a")]
    assert session.room == 0
    unheard(session, 89.0)
    assert session.tick(90.0) == [Expired("b")]
    assert session.room == 1


def test_silence_with_nothing_to_say_ends_nothing() -> None:
    """A bind on probation that has nothing to write stays, and takes what is delivered."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    for now in range(20, 1000, 20):
        unheard(session, float(now))
        session.tick(float(now))
    assert (session.state, session.probation) == (State.BOUND_TRX, True)


def test_a_session_that_begins_on_probation() -> None:
    """It has room for one, is as patient as another, and is trusted with its first answer."""
    silent, heard = (Session(Role.ESME, **TIMES, probation=True) for _ in range(2))
    for session in (silent, heard):
        session.bind(BindTransceiver(), 0.0)
        session.receive(header(C.BIND_TRANSCEIVER_RESP, 1), 0.0)
        assert session.room == 1
        session.submit([(BODY, "a")], 0.0)
    heard.receive(submit_resp(2), 1.0)
    assert heard.room == 10
    unheard(silent, 59.0)
    assert silent.tick(60.0) == [Expired("a")]
    assert silent.receive(submit_resp(2), 70.0) == [LateResponse("a", 0, "id")]
    assert silent.room == 10


@pytest.mark.parametrize(("answered", "probation"), [(0, True), (1, False)])
def test_a_session_that_ends_with_its_window_unanswered(answered: int, probation: bool) -> None:
    """Whoever comes after one that had no answer at all begins on probation; one that had some was good for that long."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.receive(b"".join(submit_resp(2 + number) for number in range(answered)), 1.0)
    session.receive_eof()
    assert session.probation is probation


@pytest.mark.parametrize("answer", [submit_resp(2), header(C.GENERIC_NACK, 2, S.ESME_RSYSERR)], ids=["resp", "nack"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (header(C.UNBIND, 5), b""),
        (b"", header(C.UNBIND, 5)),
        (b"", HEADER.pack(1, 0, 0, 0)),
    ],
    ids=["unbound before", "unbound after", "framing"],
)
def test_a_last_answer_that_comes_with_the_end_ends_the_silence(answer: bytes, before: bytes, after: bytes) -> None:
    """However they are cut: who comes after that begins with the whole window."""
    for at_once in (True, False):
        session = Session(Role.ESME, **TIMES, probation=True)
        session.bind(BindTransceiver(), 0.0)
        session.receive(header(C.BIND_TRANSCEIVER_RESP, 1), 0.0)
        session.submit([(BODY, "a")], 0.0)
        for data in [before + answer + after] if at_once else [before, answer, after]:
            session.receive(data, 1.0)
        assert (session.state, session.probation) == (State.CLOSED, False)


def test_a_first_answer_that_comes_with_the_end_is_one() -> None:
    """What is unanswered besides it says nothing of those who come after."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.unbind(0.0)
    assert len(session.receive(submit_resp(2) + header(C.UNBIND_RESP, 4), 1.0)) == 2
    assert not session.probation


def test_an_unbind_ends_before_the_silence_does() -> None:
    """What expires while a bind is left in order does not cut it."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    unheard(session, 59.0)
    session.tick(60.0)
    session.submit([(BODY, "b")], 60.0)
    unheard(session, 118.0)
    session.unbind(118.0)
    assert session.tick(120.0) == [Expired("b")]
    assert session.receive(header(C.UNBIND_RESP, 4), 121.0) == [Closed("unbound", [], clean=True)]


def test_an_esme_that_answers_no_delivery_is_not_cut() -> None:
    """An SMSC keeps what was not answered and delivers it again: it needs no other bind for that."""
    session = smsc(window=2)
    for now in range(0, 600, 20):
        session.deliver([(BODY, "receipt")] * session.room, float(now))
        unheard(session, float(now))
        session.tick(float(now))
    assert (session.state, session.probation) == (State.BOUND_TRX, False)


# enquire_link.


def test_silent_peer_is_asked() -> None:
    """After the silence allowed the peer is asked once whether it lives."""
    session = esme()
    assert session.tick(29.9) == []
    assert session.data_to_send() == b""
    session.tick(30.0)
    session.tick(31.0)
    assert [pdu.command_id for pdu in sent(session)] == [C.ENQUIRE_LINK]


def test_silent_peer_is_left() -> None:
    """A peer that does not answer enquire_link is gone, and what it had not answered is handed back."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.tick(30.0)
    assert session.tick(39.9) == []
    assert session.tick(40.0) == [Closed("enquire_link not answered", ["a"])]
    assert session.state is State.CLOSED


@pytest.mark.parametrize(
    "sign", [header(C.ENQUIRE_LINK_RESP, 2), header(C.ENQUIRE_LINK, 9), header(C.GENERIC_NACK, 2), b"\0"]
)
def test_sign_of_life(sign: bytes) -> None:
    """Whatever the peer sends, be it half a PDU, shows that it lives."""
    session = esme()
    session.tick(30.0)
    session.receive(sign, 35.0)
    assert session.tick(64.9) == []
    assert session.state is State.BOUND_TRX
    assert session.next_deadline == 65.0


def test_enquire_link_is_answered() -> None:
    """enquire_link is answered under its own number, bound or not."""
    for session in (Session(Role.ESME), esme(), smsc()):
        assert session.receive(header(C.ENQUIRE_LINK, 77), 1.0) == []
        assert sent(session) == [Sent(C.ENQUIRE_LINK_RESP, 0, 77, b"")]


def test_nobody_is_asked_before_a_bind() -> None:
    """Until the bind the session waits for ever: that deadline is its caller's."""
    session = Session(Role.ESME)
    session.bind(BindTransceiver(), 0.0)
    session.data_to_send()
    assert session.tick(1000.0) == []
    assert (session.data_to_send(), session.next_deadline) == (b"", None)


# A bind that the SMSC has lost.


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (submit_resp(2, "", S.ESME_RINVBNDSTS), Response("a", S.ESME_RINVBNDSTS, "")),
        (header(C.GENERIC_NACK, 2, S.ESME_RINVBNDSTS), Response("a", S.ESME_RINVBNDSTS, "")),
        (header(C.GENERIC_NACK, 0, S.ESME_RINVBNDSTS), Unexpected(C.GENERIC_NACK)),
        (submit_resp(99, "", S.ESME_RINVBNDSTS), Unexpected(C.SUBMIT_SM_RESP)),
        (header(C.ENQUIRE_LINK_RESP, 9, S.ESME_RINVBNDSTS), None),
    ],
)
def test_a_bind_that_the_smsc_no_longer_knows(answer: bytes, event: Response | Unexpected | None) -> None:
    """It is left at once, in order: nothing more is written, and what is under way still has its answers."""
    session = esme(window=3)
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.data_to_send()
    assert session.receive(answer + submit_resp(3), 1.0) == [*([event] if event else []), Response("b", 0, "id")]
    assert (session.room, session.can_send) == (0, False)
    assert sent(session) == [Sent(C.UNBIND, 0, 4, b"")]
    (closed,) = session.receive(header(C.UNBIND_RESP, 4, S.ESME_RINVBNDSTS), 2.0)
    assert isinstance(closed, Closed)
    assert (closed.reason, closed.clean) == ("ESME_RINVBNDSTS", True)


def test_a_bind_is_left_once() -> None:
    """The rest of the window is refused as well; and an SMSC that does not answer the unbind is left without."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.data_to_send()
    for number in (2, 3):
        session.receive(submit_resp(number, "", S.ESME_RINVBNDSTS), 1.0)
    assert [pdu.command_id for pdu in sent(session)] == [C.UNBIND]
    assert session.tick(11.0) == [Closed("unbind not answered", [])]


def test_other_answers_of_a_bind_that_is_known() -> None:
    """enquire_link may be answered with any status; an ESME that refuses a delivery so is its own business."""
    session, other = esme(), smsc()
    session.receive(header(C.ENQUIRE_LINK_RESP, 9, S.ESME_RSYSERR), 1.0)
    other.deliver([(BODY, "receipt")], 0.0)
    other.receive(encode_response(C.DELIVER_SM_RESP, S.ESME_RINVBNDSTS, 1, b"\0"), 1.0)
    assert (session.state, other.state) == (State.BOUND_TRX, State.BOUND_TRX)


# Unbind, ours.


def test_unbind() -> None:
    """Our unbind stops submitting, answers still come, and the peer's answer ends the session cleanly."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    session.unbind(0.0)
    assert sent(session) == [Sent(C.UNBIND, 0, 3, b"")]
    assert session.room == 0
    assert session.receive(submit_resp(2) + header(C.UNBIND_RESP, 3), 1.0) == [
        Response("a", 0, "id"),
        Closed("unbound", [], clean=True),
    ]


def test_answer_to_no_unbind() -> None:
    """An unbind_resp that answers no unbind of ours changes nothing."""
    session = esme()
    assert session.receive(header(C.UNBIND_RESP, 2), 1.0) == [Unexpected(C.UNBIND_RESP)]
    session.unbind(1.0)
    assert session.receive(header(C.UNBIND_RESP, 9), 1.0) == [Unexpected(C.UNBIND_RESP)]
    assert session.state is State.UNBINDING


def test_unbind_answered_too_early() -> None:
    """What the peer had not answered when it answered our unbind is handed back."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.unbind(0.0)
    assert session.receive(header(C.UNBIND_RESP, 3), 1.0) == [Closed("unbound", ["a"], clean=True)]


def test_unbind_twice() -> None:
    """A second unbind says nothing new, nor does one of a session that is over."""
    session = esme()
    session.unbind(0.0)
    session.unbind(0.0)
    assert len(sent(session)) == 1
    session.close("enough")
    session.unbind(0.0)
    assert session.data_to_send() == b""


@pytest.mark.parametrize("asked_at", [None, 30.0])
def test_unbind_not_answered(asked_at: float | None) -> None:
    """An unbind has the time of an enquire_link to be answered, also when one was under way already."""
    session = esme()
    if asked_at is not None:
        session.tick(asked_at)
    session.unbind(39.0)
    session.receive(b"\0", 40.0)
    assert session.tick(48.9) == []
    assert session.tick(49.0) == [Closed("unbind not answered", [])]


def test_unbind_refused() -> None:
    """An unbind that is nacked ends the session all the same."""
    session = esme()
    session.unbind(0.0)
    assert session.receive(header(C.GENERIC_NACK, 2, S.ESME_RINVCMDID), 1.0) == [Closed("unbind refused", [])]


# Unbind, the peer's.


def test_peer_unbinds_when_idle() -> None:
    """With nothing under way the peer's unbind is answered at once and ends the session cleanly."""
    session = esme()
    assert session.receive(header(C.UNBIND, 5), 1.0) == [Closed("unbound by the peer", [], clean=True)]
    assert sent(session) == [Sent(C.UNBIND_RESP, 0, 5, b"")]


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (submit_resp(2), Response("a", 0, "id")),
        (header(C.GENERIC_NACK, 2, S.ESME_RSYSERR), Response("a", S.ESME_RSYSERR, "")),
        (encode_response(C.DATA_SM_RESP, 0, 2, b"id\0"), Response("a", 0, "id")),
    ],
)
def test_peer_unbinds_with_requests_under_way(answer: bytes, response: Response) -> None:
    """The peer's unbind stops submitting and is answered once the answers under way are in."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    assert session.receive(header(C.UNBIND, 5), 1.0) == []
    assert (session.room, session.data_to_send()) == (0, b"")
    assert session.receive(answer, 2.0) == [response, Closed("unbound by the peer", [], clean=True)]
    assert sent(session) == [Sent(C.UNBIND_RESP, 0, 5, b"")]


def test_peer_unbinds_and_answers_nothing_more() -> None:
    """The peer's unbind does not wait for ever: at the end of the drain what is unanswered is handed back."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.receive(header(C.UNBIND, 5), 1.0)
    session.receive(header(C.UNBIND, 6), 2.0)
    session.data_to_send()
    assert session.next_deadline == 6.0
    assert session.tick(5.9) == []
    assert session.tick(6.0) == [Closed("unbound by the peer", ["a"], clean=True)]
    assert sent(session) == [Sent(C.UNBIND_RESP, 0, 5, b"")]


def test_peer_unbinds_and_the_last_request_expires() -> None:
    """The peer's unbind is answered as soon as nothing can be awaited any more."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.receive(header(C.UNBIND, 5), 58.0)
    assert session.tick(60.0) == [Expired("a"), Closed("unbound by the peer", [], clean=True)]


def test_deliveries_during_the_drain() -> None:
    """What the peer delivers between its unbind and our answer is taken and can be answered."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    session.receive(header(C.UNBIND, 5), 1.0)
    (delivery,) = session.receive(DeliverSM().encode(6), 2.0)
    session.answer_deliveries([delivery])
    session.receive(submit_resp(2), 3.0)
    assert [pdu.command_id for pdu in sent(session)] == [C.DELIVER_SM_RESP, C.UNBIND_RESP]


def test_unbinds_that_cross() -> None:
    """Two unbinds that cross end the session once, and no deadline that passed is announced again."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.unbind(1.0)
    session.receive(header(C.UNBIND, 5), 9.0)
    assert session.tick(11.0) == []
    assert session.next_deadline == 14.0
    assert session.tick(14.0) == [Closed("unbound by the peer", ["a"], clean=True)]


# Requests of the peer.


def test_delivery() -> None:
    """A deliver_sm and a data_sm are events, answered under their numbers when the caller says so."""
    session = esme()
    delivery, data = DeliverSM(short_message=b"hola"), DataSM(destination_addr="89000")
    events = session.receive(delivery.encode(8) + data.encode(9), 0.0)
    assert [type(event) for event in events] == [DeliverSM, DataSM]
    assert session.data_to_send() == b""
    session.answer_deliveries(events)
    session.answer_deliveries(events, S.ESME_RX_T_APPN)
    assert sent(session) == [
        Sent(C.DELIVER_SM_RESP, 0, 8, b"\0"),
        Sent(C.DATA_SM_RESP, 0, 9, b"\0"),
        Sent(C.DELIVER_SM_RESP, S.ESME_RX_T_APPN, 8, b"\0"),
        Sent(C.DATA_SM_RESP, S.ESME_RX_T_APPN, 9, b"\0"),
    ]


@pytest.mark.parametrize(
    ("session", "request_"),
    [
        (Session(Role.ESME), DeliverSM()),
        (esme(request=BindTransmitter()), DeliverSM()),
        (esme(request=BindTransmitter()), DataSM()),
        (esme(), SubmitSM()),
        (Session(Role.SMSC), SubmitSM()),
        (smsc(request=BindReceiver()), SubmitSM()),
        (smsc(), DeliverSM()),
    ],
)
def test_request_out_of_place(session: Session, request_: DeliverSM | SubmitSM | DataSM) -> None:
    """A request that the state or the role does not take is refused and reported."""
    assert session.receive(request_.encode(4), 0.0) == [Unexpected(request_.command_id)]
    assert sent(session) == [Sent(request_.command_id | 0x80000000, S.ESME_RINVBNDSTS, 4, b"")]


def test_bind_of_an_esme() -> None:
    """An ESME cannot be bound to."""
    session = esme()
    assert session.receive(BindTransceiver().encode(4), 0.0) == [Unexpected(C.BIND_TRANSCEIVER)]
    assert sent(session) == [Sent(C.BIND_TRANSCEIVER_RESP, S.ESME_RINVBNDSTS, 4, b"")]


@pytest.mark.parametrize("command_id", [C.QUERY_SM, C.OUTBIND, C.SUBMIT_MULTI, 0, 0x00010200])
def test_unknown_request(command_id: int) -> None:
    """A command that we do not have is nacked, and the session goes on."""
    session = esme()
    data = HEADER.pack(20, command_id, 0, 4) + b"abcd" + DeliverSM().encode(5)
    assert session.receive(data, 0.0) == [Unexpected(command_id), DeliverSM(sequence_number=5)]
    assert sent(session) == [Sent(C.GENERIC_NACK, S.ESME_RINVCMDID, 4, b"")]


def test_alert_notification() -> None:
    """Somebody can be reached again: nobody here asked, and it is not answered (§4.12)."""
    session = esme()
    body = b"\x01\x01573001234567\0\x01\x0189000\0"
    assert session.receive(HEADER.pack(16 + len(body), C.ALERT_NOTIFICATION, 0, 4) + body, 0.0) == []
    assert session.data_to_send() == b""


def test_unknown_response() -> None:
    """A response that we could not have asked for is reported and not answered."""
    session = esme()
    assert session.receive(header(0x80000003, 4), 0.0) == [Unexpected(0x80000003)]
    assert session.data_to_send() == b""


@pytest.mark.parametrize("command_id", [C.DELIVER_SM, C.DATA_SM])
def test_malformed_request(command_id: int) -> None:
    """A request whose body cannot be read is nacked under its number, and the PDUs round it are read."""
    session = esme()
    session.submit([(BODY, "a")], 0.0)
    session.data_to_send()
    data = submit_resp(2) + HEADER.pack(19, command_id, 0, 4) + b"abc" + DeliverSM().encode(5)
    response, malformed, delivery = session.receive(data, 0.0)
    assert response == Response("a", 0, "id")
    assert isinstance(malformed, Malformed)
    assert malformed.command_id == command_id
    assert delivery == DeliverSM(sequence_number=5)
    assert sent(session) == [Sent(C.GENERIC_NACK, S.ESME_RINVCMDLEN, 4, b"")]


@pytest.mark.parametrize("length", [0, 15, MAX_PDU + 1, 0xFFFFFFFF])
def test_impossible_length(length: int) -> None:
    """A length that no PDU has ends the session: what came before is kept, what is unanswered is handed back."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    session.data_to_send()
    response, closed = session.receive(submit_resp(2) + HEADER.pack(length, 5, 0, 9) + submit_resp(3), 0.0)
    assert response == Response("a", 0, "id")
    assert isinstance(closed, Closed)
    assert (closed.unanswered, closed.clean) == (["b"], False)
    assert sent(session) == [Sent(C.GENERIC_NACK, S.ESME_RINVCMDLEN, 0, b"")]


def test_longest_pdu() -> None:
    """A message_payload of 64 KiB, in pieces, is taken, and so is a PDU of exactly the length allowed."""
    session = esme()
    data = DeliverSM(tlvs={0x0424: bytes(65535)}).encode(4)
    longest = DeliverSM(tlvs={0x0424: bytes(65535), 0x1400: bytes(MAX_PDU - len(data) - 4)}).encode(5)
    assert len(longest) == MAX_PDU
    stream = data + longest
    events = [event for at in range(0, len(stream), 1000) for event in session.receive(stream[at : at + 1000], 0.0)]
    assert [len(event.tlvs[0x0424]) for event in events] == [65535, 65535]


def test_any_cutting() -> None:
    """The stream means the same octet by octet as in one piece."""
    stream = (
        submit_resp(3, "x")
        + header(C.ENQUIRE_LINK, 1)
        + DeliverSM(short_message=b"\0hola").encode(2)
        + HEADER.pack(18, C.DELIVER_SM, 0, 3)
        + b"ab"
        + header(0x80000003, 4)
        + header(C.UNBIND, 5)
        + header(C.GENERIC_NACK, 2, S.ESME_RSYSERR)
        + DeliverSM(short_message=b"after the end").encode(6)
    )
    whole, cut = esme(), esme()
    for session in (whole, cut):
        session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    events = whole.receive(stream, 0.0)
    assert isinstance(events[-1], Closed)
    assert [event for octet in stream for event in cut.receive(bytes((octet,)), 0.0)] == events
    assert cut.data_to_send() == whole.data_to_send()


# The end.


def test_connection_lost() -> None:
    """When the connection goes, what was unanswered is handed back, once."""
    session = esme()
    session.submit([(BODY, "a"), (BODY, "b")], 0.0)
    assert session.receive_eof() == [Closed("connection closed by the peer", ["a", "b"])]
    assert session.receive_eof() == []
    assert session.close("again").unanswered == []


def test_nothing_after_the_end() -> None:
    """A session that is over takes nothing, says nothing and waits for nothing."""
    session, other = esme(), smsc()
    (submitted,) = other.receive(SubmitSM().encode(4), 0.0)
    session.close("enough")
    other.close("enough")
    session.answer_deliveries([DeliverSM(sequence_number=1)])
    other.answer_submit(submitted, 0, "id")
    other.answer_bind(BindTransceiver(sequence_number=1), 0)
    assert session.receive(submit_resp(2), 1.0) == session.tick(1000.0) == []
    assert session.data_to_send() == other.data_to_send() == b""
    assert session.room == 0
    assert other.state is State.CLOSED


# The SMSC's side.


def test_smsc_answers_submit_sm() -> None:
    """The SMSC takes submit_sm and answers with an id, or with an error and no body."""
    session = smsc()
    first, second = session.receive(SubmitSM(short_message=b"hola").encode(4) + SubmitSM().encode(5), 0.0)
    assert isinstance(first, SubmitSM)
    session.answer_submit(first, 0, "1a2b")
    session.answer_submit(second, S.ESME_RTHROTTLED, "1a2c")
    assert sent(session) == [
        Sent(C.SUBMIT_SM_RESP, 0, 4, b"1a2b\0"),
        Sent(C.SUBMIT_SM_RESP, S.ESME_RTHROTTLED, 5, b""),
    ]


def test_smsc_delivers() -> None:
    """The SMSC's deliver_sm has a window too, and its answers come back with their contexts."""
    session = smsc(window=1)
    session.deliver([(BODY, "receipt")], 0.0)
    assert sent(session) == [Sent(C.DELIVER_SM, 0, 1, BODY)]
    assert session.room == 0
    answer = encode_response(C.DELIVER_SM_RESP, S.ESME_RX_T_APPN, 1, b"\0")
    assert session.receive(answer, 1.0) == [Response("receipt", S.ESME_RX_T_APPN, "")]


def test_repr() -> None:
    """A session shows its side, its state and how full its window is."""
    session = esme(window=4)
    session.submit([(BODY, "a")], 0.0)
    assert repr(session) == "<Session esme bound_trx 1/4>"
