"""What is encoded is what is decoded, and bytes of a peer give a PDU or `MalformedPDU` and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smpp.encoder import SubmitEncoder
from smpp.errors import MalformedPDU
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSM,
    DeliverSM,
    DeliveryReader,
    Request,
    SubmitSM,
    decode,
    encode_tlv,
)

OCTET = st.integers(0, 255)
TLVS = st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=20), max_size=3)
COMMANDS = (BindTransmitter, BindReceiver, BindTransceiver, SubmitSM, DeliverSM, DataSM)


def text(octets: int) -> st.SearchStrategy[str]:
    """A C-Octet string that fits in `octets` with its NUL."""
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=octets - 1)


ADDRESSES = {
    "service_type": text(6),
    "source_addr_ton": OCTET,
    "source_addr_npi": OCTET,
    "source_addr": text(21),
    "dest_addr_ton": OCTET,
    "dest_addr_npi": OCTET,
    "destination_addr": text(21),
    "esm_class": OCTET,
    "registered_delivery": OCTET,
    "data_coding": OCTET,
    "tlvs": TLVS,
}
SHORT_MESSAGE = ADDRESSES | {
    "protocol_id": OCTET,
    "priority_flag": OCTET,
    "schedule_delivery_time": text(17),
    "validity_period": text(17),
    "replace_if_present_flag": OCTET,
    "sm_default_msg_id": OCTET,
    "short_message": st.binary(max_size=254),
}
BIND = {
    "system_id": text(16),
    "password": text(9),
    "system_type": text(13),
    "interface_version": OCTET,
    "addr_ton": OCTET,
    "addr_npi": OCTET,
    "address_range": text(41),
}
SEQUENCE = {"sequence_number": st.integers(1, 0x7FFFFFFF)}
DELIVERIES = st.builds(DeliverSM, **SHORT_MESSAGE)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    *(st.builds(cls, **SEQUENCE, **BIND) for cls in (BindTransmitter, BindReceiver, BindTransceiver)),
    *(st.builds(cls, **SEQUENCE, **SHORT_MESSAGE) for cls in (SubmitSM, DeliverSM)),
    st.builds(DataSM, **SEQUENCE, **ADDRESSES),
)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body with something put in the place of something else."""
    body = draw(bodies)
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 4)))
    return body[:start] + draw(st.binary(max_size=4)) + body[end:]


@given(REQUESTS)
def test_round_trip(request: Request) -> None:
    """A request that is encoded and decoded is the same request."""
    assert decode(request.command_id, request.encode_body(), request.sequence_number) == request


@given(st.sampled_from(COMMANDS), st.one_of(st.binary(max_size=300), damaged(REQUESTS.map(lambda r: r.encode_body()))))
def test_any_bytes(cls: type[Request], body: bytes) -> None:
    """Any bytes are a request of the command, or malformed."""
    try:
        request = decode(cls.command_id, body, 1)
    except MalformedPDU:
        return
    assert type(request) is cls


@given(damaged(DELIVERIES.map(DeliverSM.encode_body)))
def test_nothing_is_lost_in_decoding(body: bytes) -> None:
    """A deliver_sm that can be read and fits what we write is written again octet by octet, unknown parameters too."""
    try:
        pdu = DeliverSM.decode_body(body, 1)
        again = pdu.encode_body()
    except (MalformedPDU, ValueError):
        return
    parameters = b"".join(encode_tlv(tag, value) for tag, value in pdu.tlvs.items())
    start = len(again) - len(parameters)
    assert again[:start] == body[:start]
    # A parameter that comes twice is kept once, and what is too short for one not at all.
    assert again[start:] == body[start:] or len(again) < len(body)


@given(st.lists(st.one_of(DELIVERIES.map(DeliverSM.encode_body), damaged(DELIVERIES.map(DeliverSM.encode_body)))))
def test_delivery_reader_has_no_memory_that_shows(bodies: list[bytes]) -> None:
    """Whatever a session delivered before, the reader says of a body what the stateless decoder says."""
    reader = DeliveryReader()
    for body in bodies:
        try:
            expected = DeliverSM.decode_body(body, 1)
        except MalformedPDU:
            expected = None
        for _ in range(2):  # the second time it knows the body
            try:
                found = reader.decode(body, 1)
            except MalformedPDU:
                found = None
            assert found == expected


@given(st.builds(SubmitSM, **SHORT_MESSAGE))
def test_submit_encoder(pdu: SubmitSM) -> None:
    """The encoder of a lane and the PDU give the same octets for the fields that a lane sets."""
    pdu.protocol_id = pdu.replace_if_present_flag = pdu.sm_default_msg_id = 0
    pdu.schedule_delivery_time = ""
    encoder = SubmitEncoder(
        source_addr=pdu.source_addr,
        source_addr_ton=pdu.source_addr_ton,
        source_addr_npi=pdu.source_addr_npi,
        dest_addr_ton=pdu.dest_addr_ton,
        dest_addr_npi=pdu.dest_addr_npi,
        service_type=pdu.service_type,
        registered_delivery=pdu.registered_delivery,
    )
    body = encoder.encode(
        pdu.destination_addr,
        pdu.short_message,
        pdu.esm_class,
        pdu.data_coding,
        pdu.priority_flag,
        pdu.validity_period.encode("latin-1"),
        b"".join(encode_tlv(tag, value) for tag, value in pdu.tlvs.items()),
    )
    assert body == pdu.encode_body()
