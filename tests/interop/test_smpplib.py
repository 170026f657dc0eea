"""smpplib, which shares no line with us, as the oracle of the codec and as a client of an SMSC that runs on our session.

Its own limits are kept out of the way: it encodes only strings without NUL, cuts what is too long, and knows a subset of the
optional parameters (the others it is told to skip).
"""

from __future__ import annotations

import socket
import string
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import consts
from smpplib import smpp as smpplib
from smpplib.client import Client
from smpplib.exceptions import PDUError

from smpp.constants import CommandId, CommandStatus, Tag
from smpp.encoder import SubmitEncoder
from smpp.events import Response, Unexpected
from smpp.pdu import (
    HEADER,
    Bind,
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSM,
    DeliverSM,
    SubmitSM,
    decode,
    encode_response,
    encode_tlv,
)
from smpp.session import Role, Session, State

OCTET = st.integers(0, 255)
ALPHABET = string.ascii_letters + string.digits + "+ñé"


def text(longest: int) -> st.SearchStrategy[str]:
    return st.text(ALPHABET, max_size=longest)


NUMBERS = {
    "source_addr_ton": OCTET,
    "source_addr_npi": OCTET,
    "dest_addr_ton": OCTET,
    "dest_addr_npi": OCTET,
    "esm_class": OCTET,
    "registered_delivery": OCTET,
    "data_coding": OCTET,
}
ADDRESSES = NUMBERS | {"service_type": text(5), "source_addr": text(20), "destination_addr": text(20)}
SHORT_MESSAGE = ADDRESSES | {
    "protocol_id": OCTET,
    "priority_flag": OCTET,
    "schedule_delivery_time": text(16),
    "validity_period": text(16),
    "replace_if_present_flag": OCTET,
    "sm_default_msg_id": OCTET,
    "short_message": st.binary(max_size=254),
}
BIND = {
    "system_id": text(15),
    "password": text(8),
    "system_type": text(12),
    "addr_ton": OCTET,
    "addr_npi": OCTET,
    "address_range": text(40),
}
# As smpplib writes them and as they are on the wire (§5.3.2).
PARAMETERS: dict[str, tuple[int, st.SearchStrategy[Any], Any]] = {
    "sar_msg_ref_num": (Tag.SAR_MSG_REF_NUM, st.integers(0, 0xFFFF), lambda n: n.to_bytes(2, "big")),
    "sar_total_segments": (Tag.SAR_TOTAL_SEGMENTS, OCTET, lambda n: bytes((n,))),
    "sar_segment_seqnum": (Tag.SAR_SEGMENT_SEQNUM, OCTET, lambda n: bytes((n,))),
    "user_message_reference": (0x0204, st.integers(0, 0xFFFF), lambda n: n.to_bytes(2, "big")),
}
RECEIPT_PARAMETERS = {
    "message_state": (Tag.MESSAGE_STATE, OCTET, lambda n: bytes((n,))),
    "receipted_message_id": (
        Tag.RECEIPTED_MESSAGE_ID,
        st.text(string.hexdigits, min_size=1, max_size=64),
        lambda s: s.encode() + b"\0",
    ),
}
COMMANDS: dict[str, tuple[type[Any], dict[str, Any], dict[str, Any]]] = {
    "bind_transmitter": (BindTransmitter, BIND, {}),
    "bind_receiver": (BindReceiver, BIND, {}),
    "bind_transceiver": (BindTransceiver, BIND, {}),
    "submit_sm": (SubmitSM, SHORT_MESSAGE, PARAMETERS),
    "deliver_sm": (DeliverSM, SHORT_MESSAGE, PARAMETERS | RECEIPT_PARAMETERS),
    "data_sm": (DataSM, ADDRESSES, PARAMETERS | RECEIPT_PARAMETERS),
}


class Peer:
    """The connection of which smpplib asks the next sequence_number."""

    sequence = 0

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A command with its fields and parameters, all as smpplib takes them."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    _, fields, parameters = COMMANDS[command]
    values = draw(st.fixed_dictionaries(fields))
    given_parameters = draw(st.fixed_dictionaries({}, optional={name: parameters[name][1] for name in parameters}))
    return command, values, given_parameters


def ours(command: str, fields: dict[str, Any], parameters: dict[str, Any]) -> Any:
    cls, _, known = COMMANDS[command]
    if parameters:
        tlvs = {int(known[name][0]): known[name][2](value) for name, value in parameters.items()}
        return cls(**fields, tlvs=tlvs)
    return cls(**fields)


def octets(value: Any) -> Any:
    """A field as smpplib gives it: what was parsed is bytes, what is empty may be None."""
    return value.encode("latin-1") if isinstance(value, str) else value


@given(messages())
def test_smpplib_reads_what_we_write(message: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Every field of our PDUs is found by smpplib in its place."""
    command, fields, parameters = message
    parsed = smpplib.parse_pdu(ours(command, fields, parameters).encode(77), client=Peer())
    assert (parsed.command, parsed.status, parsed.sequence) == (command, 0, 77)
    for name, value in {**fields, **parameters}.items():
        assert (getattr(parsed, name) or octets(type(value)())) == octets(value), name


@given(messages())
def test_we_read_what_smpplib_writes(message: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Every field of smpplib's PDUs is found by us in its place, and both write the same octets."""
    command, fields, parameters = message
    written = smpplib.make_pdu(command, client=Peer(), **fields, **parameters).generate()
    length, command_id, status, sequence_number = HEADER.unpack_from(written)
    pdu = ours(command, fields, parameters)
    pdu.sequence_number = sequence_number
    assert (length, command_id, status) == (len(written), pdu.command_id, 0)
    assert decode(command_id, written[16:], sequence_number) == pdu
    if not parameters:  # of which each has an order of its own
        assert pdu.encode(sequence_number) == written


@given(st.text(ALPHABET, max_size=20), st.binary(max_size=254), OCTET, OCTET, OCTET, text(16))
def test_smpplib_reads_what_a_lane_writes(
    to: str, short_message: bytes, esm_class: int, data_coding: int, priority_flag: int, validity: str
) -> None:
    """The body that a lane's encoder makes on the hot path is read by smpplib as it was meant."""
    encoder = SubmitEncoder(
        source_addr="89000", source_addr_ton=3, source_addr_npi=0, dest_addr_ton=1, dest_addr_npi=1, service_type="VMA"
    )
    tlvs = encode_tlv(Tag.SAR_TOTAL_SEGMENTS, b"\3")
    body = encoder.encode(to, short_message, esm_class, data_coding, priority_flag, octets(validity), tlvs)
    parsed = smpplib.parse_pdu(HEADER.pack(16 + len(body), CommandId.SUBMIT_SM, 0, 7) + body, client=Peer())
    assert (parsed.service_type, parsed.source_addr_ton, parsed.source_addr) == (b"VMA", 3, b"89000")
    assert (parsed.dest_addr_ton, parsed.dest_addr_npi, parsed.destination_addr) == (1, 1, octets(to))
    assert (parsed.esm_class, parsed.data_coding, parsed.priority_flag) == (esm_class, data_coding, priority_flag)
    assert (parsed.validity_period, parsed.registered_delivery) == (octets(validity), 1)
    assert (parsed.short_message or b"", parsed.sar_total_segments) == (short_message, 3)


def test_vendor_parameters() -> None:
    """A parameter of which smpplib has never heard is skipped by it and kept by us."""
    pdu = DeliverSM(short_message=b"hola", tlvs={0x1400: b"operator", Tag.MESSAGE_STATE: b"\2"})
    parsed = smpplib.parse_pdu(pdu.encode(1), client=Peer(), allow_unknown_opt_params=True)
    assert (parsed.short_message, parsed.message_state) == (b"hola", 2)
    assert DeliverSM.decode_body(pdu.encode_body(), 0) == pdu


@given(st.text(string.hexdigits, max_size=64), st.sampled_from(sorted({0, *map(int, CommandStatus)})))
def test_responses(message_id: str, status: int) -> None:
    """A submit_sm_resp of ours is read by smpplib, and one of smpplib's by our session."""
    parsed = smpplib.parse_pdu(
        encode_response(CommandId.SUBMIT_SM_RESP, status, 9, message_id.encode() + b"\0"), client=Peer()
    )
    assert (parsed.command, parsed.status, parsed.sequence) == ("submit_sm_resp", status, 9)
    assert parsed.message_id == message_id.encode()

    session = Session(Role.ESME)
    session.bind(BindTransceiver(), 0.0)
    for command, sequence_number in (("bind_transceiver_resp", 1), ("submit_sm_resp", 2)):
        response = smpplib.make_pdu(command, client=Peer(), status=0 if sequence_number == 1 else status)
        response.sequence = sequence_number
        response.message_id = message_id
        events = session.receive(response.generate(), 0.0)
        if sequence_number == 1:
            session.submit([(b"", "context")], 0.0)
    assert events == [Response("context", status, message_id)]


class Smsc(threading.Thread):
    """An SMSC for one connection, on our session: answers with ids 1, 2, 3 … and their receipts, or with a status."""

    def __init__(self, *, bind_status: int = 0, submit_status: int = 0) -> None:
        super().__init__(daemon=True)
        self.session = Session(Role.SMSC)
        self.submitted: list[SubmitSM] = []
        self.events: list[Any] = []
        self.failure: BaseException | None = None
        self._bind_status = bind_status
        self._submit_status = submit_status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self.port = self._listener.getsockname()[1]

    def run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # for the test to raise
            self.failure = error

    def _serve(self) -> None:
        with closing(self._listener), self._listener.accept()[0] as connection:
            connection.settimeout(5)
            while self.session.state is not State.CLOSED and (data := connection.recv(65536)):
                for event in self.session.receive(data, time.monotonic()):
                    self._take(event)
                connection.sendall(self.session.data_to_send())

    def _take(self, event: Any) -> None:
        if isinstance(event, Bind):
            self.session.answer_bind(event, self._bind_status, "SMSC")
        elif isinstance(event, SubmitSM):
            self.submitted.append(event)
            message_id = str(len(self.submitted))
            self.session.answer_submit(event, self._submit_status, message_id)
            if self._submit_status:
                return
            receipt = DeliverSM(
                source_addr=event.destination_addr,
                destination_addr=event.source_addr,
                esm_class=4,
                short_message=f"id:{message_id} stat:DELIVRD".encode(),
                tlvs={Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0", 0x1400: b"operator"},
            )
            self.session.deliver([(receipt.encode_body(), message_id)], time.monotonic())
        else:
            self.events.append(event)


@pytest.fixture
def smsc(request: pytest.FixtureRequest) -> Iterator[Smsc]:
    server = Smsc(**getattr(request, "param", {}))
    server.start()
    yield server
    server.join(5)
    assert not server.is_alive()
    if server.failure is not None:
        raise server.failure


@pytest.fixture
def client(smsc: Smsc) -> Iterator[Client]:
    client = Client("127.0.0.1", smsc.port, timeout=5, allow_unknown_opt_params=True)
    client.connect()
    yield client
    client.disconnect()


def send(client: Client, **fields: Any) -> None:
    client.send_message(
        source_addr_ton=consts.SMPP_TON_ABBREV,
        source_addr="89000",
        dest_addr_ton=consts.SMPP_TON_INTL,
        dest_addr_npi=consts.SMPP_NPI_ISDN,
        destination_addr="573001234567",
        registered_delivery=True,
        **fields,
    )


def test_a_client_sends_and_gets_its_receipts(smsc: Smsc, client: Client) -> None:
    """A bind, three messages, their ids, their receipts, an enquire_link and an unbind, with a client that is not ours."""
    ids, receipts = [], []
    client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id))
    client.set_message_received_handler(lambda pdu: receipts.append((pdu.receipted_message_id, pdu.short_message)))

    assert client.bind_transceiver(system_id="recado", password="secret").system_id == b"SMSC"
    for n in range(3):
        send(client, short_message=b"hola %d" % n)
        client.read_once()
        client.read_once()
    client.send_pdu(smpplib.make_pdu("enquire_link", client=client))
    assert client.read_pdu().command == "enquire_link_resp"
    assert client.unbind().command == "unbind_resp"

    assert ids == [b"1", b"2", b"3"]
    assert receipts == [(id_, b"id:" + id_ + b" stat:DELIVRD") for id_ in ids]
    smsc.join(5)
    assert [(pdu.short_message, pdu.destination_addr, pdu.dest_addr_npi) for pdu in smsc.submitted] == [
        (b"hola %d" % n, "573001234567", 1) for n in range(3)
    ]
    assert [event for event in smsc.events if isinstance(event, Response)] == [
        Response(str(n), 0, "") for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("smsc", [{"bind_status": CommandStatus.ESME_RINVPASWD}], indirect=True)
def test_a_client_is_refused(smsc: Smsc, client: Client) -> None:
    """A client that is not ours understands that its bind was rejected, and why."""
    with pytest.raises(PDUError) as refused:
        client.bind_transmitter(system_id="recado", password="wrong")
    assert refused.value.args[1] == CommandStatus.ESME_RINVPASWD


@pytest.mark.parametrize("smsc", [{"submit_status": CommandStatus.ESME_RTHROTTLED}], indirect=True)
def test_a_client_is_throttled(smsc: Smsc, client: Client) -> None:
    """A client that is not ours understands an error of submit_sm, which has no body."""
    client.bind_transmitter(system_id="recado", password="secret")
    send(client, short_message=b"hola")
    with pytest.raises(PDUError) as throttled:
        client.read_once()
    assert throttled.value.args[1] == CommandStatus.ESME_RTHROTTLED


def test_a_client_asks_what_we_have_not(smsc: Smsc, client: Client) -> None:
    """A command that our SMSC does not have is answered with a generic_nack that the client understands."""
    client.bind_transceiver(system_id="recado", password="secret")
    client.query_message(message_id="1", source_addr_ton=1, source_addr_npi=1, source_addr="89000")
    nack = client.read_pdu()
    assert (nack.command, nack.status) == ("generic_nack", CommandStatus.ESME_RINVCMDID)
    assert client.unbind().command == "unbind_resp"
    smsc.join(5)
    assert Unexpected(CommandId.QUERY_SM) in smsc.events
