"""PDUs to bytes and back, against vectors and against what does not fit."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from smpp import pdu as pdus
from smpp.constants import CommandId, CommandStatus
from smpp.encoder import SubmitEncoder
from smpp.errors import MalformedPDU
from smpp.pdu import (
    HEADER,
    PDU,
    BindReceiver,
    BindTransceiver,
    DataSM,
    DeliverSM,
    DeliveryReader,
    SubmitSM,
    decode,
    encode_response,
    encode_tlv,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pdus.json").read_text(encoding="utf-8"))
LANE: dict[str, Any] = {
    "source_addr": "89000",
    "source_addr_ton": 3,
    "source_addr_npi": 0,
    "dest_addr_ton": 1,
    "dest_addr_npi": 1,
}


def expected(vector: dict[str, Any]) -> PDU:
    """The PDU that a vector describes: what it does not mention has its default."""
    fields = dict(vector["fields"])
    if "short_message" in fields:
        fields["short_message"] = bytes.fromhex(fields["short_message"])
    if "tlvs" in fields:
        fields["tlvs"] = {int(tag, 16): bytes.fromhex(value) for tag, value in fields["tlvs"].items()}
    return getattr(pdus, vector["type"])(**fields)


def body_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"])[16:]


vectors = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


@vectors
def test_decode_vector(vector: dict[str, Any]) -> None:
    """Each vector is read as it is meant, every field of it."""
    _, command_id, _, sequence_number = HEADER.unpack_from(bytes.fromhex(vector["hex"]))
    assert decode(command_id, body_of(vector), sequence_number) == expected(vector)


@vectors
def test_encode_vector(vector: dict[str, Any]) -> None:
    """Each vector's fields give its octets."""
    pdu = expected(vector)
    assert pdu.encode(vector["fields"]["sequence_number"]).hex() == vector["hex"].replace(" ", "")


@vectors
def test_cut_short(vector: dict[str, Any]) -> None:
    """A body that ends before its mandatory parameters, wherever, is malformed."""
    pdu = expected(vector)
    body = body_of(vector)
    tlvs = b"".join(encode_tlv(tag, value) for tag, value in getattr(pdu, "tlvs", {}).items())
    for end in range(len(body) - len(tlvs)):
        with pytest.raises(MalformedPDU):
            decode(pdu.command_id, body[:end], 1)


@pytest.mark.parametrize("cls", [SubmitSM, DeliverSM, DataSM])
@pytest.mark.parametrize("tail", [b"\x04\x24\x00\x02x", b"\x04\x24\x00\x01", b"\x14\x00\x00\x00\x04\x24\x00\x01"])
def test_broken_parameters(cls: type[SubmitSM | DeliverSM | DataSM], tail: bytes) -> None:
    """Optional parameters that end before they should make the PDU malformed."""
    with pytest.raises(MalformedPDU):
        decode(cls.command_id, cls().encode_body() + tail, 1)


@pytest.mark.parametrize("cls", [SubmitSM, DeliverSM, DataSM])
@pytest.mark.parametrize("tlvs", [{}, {0x001E: b"1\0"}])
@pytest.mark.parametrize("tail", [b"\0", b"\0\0", b"\x04\x24\x00"])
def test_octets_that_are_no_parameter(
    cls: type[SubmitSM | DeliverSM | DataSM], tlvs: dict[int, bytes], tail: bytes
) -> None:
    """What is left at the end and too short for a parameter is not read, and costs nobody a receipt."""
    pdu = cls(source_addr="573001234567", tlvs=tlvs)
    body = pdu.encode_body() + tail
    assert decode(cls.command_id, body, 0) == pdu
    if cls is DeliverSM:
        assert DeliveryReader().decode(body, 0) == pdu


def test_commands_without_a_body() -> None:
    """A command that has no body, or that nobody knows, is nothing to decode."""
    assert decode(CommandId.ENQUIRE_LINK, b"", 1) is None
    assert decode(CommandId.SUBMIT_SM_RESP, b"id\0", 1) is None
    assert decode(0x1234, b"whatever", 1) is None


def test_octets_beyond_ascii() -> None:
    """Any octet of an address is kept: operators send Latin-1 names."""
    assert DeliverSM.decode_body(DeliverSM(source_addr="Señal\xff").encode_body(), 1).source_addr == "Señal\xff"


def test_data_sm_has_no_short_message() -> None:
    """Both deliveries can be asked for their text; a data_sm has it in a parameter."""
    assert DataSM(tlvs={0x0424: b"hola"}).short_message == b""


@pytest.mark.parametrize(
    ("cls", "field", "longest"),
    [
        (BindTransceiver, "system_id", 15),
        (BindTransceiver, "password", 8),
        (BindTransceiver, "system_type", 12),
        (BindTransceiver, "address_range", 40),
        (SubmitSM, "service_type", 5),
        (SubmitSM, "source_addr", 20),
        (SubmitSM, "destination_addr", 20),
        (SubmitSM, "schedule_delivery_time", 16),
        (SubmitSM, "validity_period", 16),
        (DataSM, "source_addr", 64),
        (DataSM, "destination_addr", 64),
    ],
)
def test_nothing_is_cut(cls: type[PDU], field: str, longest: int) -> None:
    """A string is taken up to the length that the specification gives it and refused beyond, never cut."""
    body = cls(**{field: "1" * longest}).encode_body()
    assert getattr(decode(cls.command_id, body, 0), field) == "1" * longest
    for value in ("1" * (longest + 1), "1\0", "€"):
        with pytest.raises(ValueError, match=r"fit|encode"):
            cls(**{field: value}).encode_body()


def test_longest_short_message() -> None:
    """short_message holds 254 octets and no more."""
    assert SubmitSM.decode_body(SubmitSM(short_message=bytes(254)).encode_body(), 0).short_message == bytes(254)
    with pytest.raises(ValueError, match="254"):
        SubmitSM(short_message=bytes(255)).encode_body()


def test_password_is_not_shown() -> None:
    """A bind shows whose it is and not the password."""
    assert repr(BindReceiver(system_id="recado", password="secret")) == "BindReceiver(system_id='recado')"


def test_response() -> None:
    """A response has its header and, when it is given one, a body."""
    assert encode_response(CommandId.SUBMIT_SM_RESP, 0, 7, b"1a2b\0") == bytes.fromhex(
        "00000015 80000004 00000000 00000007 31613262 00"
    )
    assert encode_response(CommandId.GENERIC_NACK, CommandStatus.ESME_RINVCMDLEN, 7) == bytes.fromhex(
        "00000010 80000000 00000002 00000007"
    )


def test_submit_encoder() -> None:
    """The encoder of a lane makes the body that the PDU makes, with every field that it can set."""
    encoder = SubmitEncoder(**LANE, service_type="VMA", registered_delivery=3)
    body = encoder.encode("573001234567", b"hola", 0x40, 8, 2, b"000001000000000R", encode_tlv(0x1400, b"x"))
    assert (
        body
        == SubmitSM(
            **LANE,
            service_type="VMA",
            registered_delivery=3,
            destination_addr="573001234567",
            esm_class=0x40,
            data_coding=8,
            priority_flag=2,
            validity_period="000001000000000R",
            short_message=b"hola",
            tlvs={0x1400: b"x"},
        ).encode_body()
    )


def test_submit_encoder_keeps_messages_apart() -> None:
    """What one message asked for is not in the next, whichever flags they share."""
    encoder = SubmitEncoder(**LANE)
    for esm_class, data_coding, priority_flag in product((0, 0x40), (0, 8), (0, 2)):
        plain = SubmitSM(
            **LANE,
            registered_delivery=1,
            destination_addr="51987654321",
            esm_class=esm_class,
            data_coding=data_coding,
            priority_flag=priority_flag,
        )
        encoder.encode("573001234567", b"hola", 0x40, 4, 1, b"000001000000000R", encode_tlv(0x1400, b"x"))
        assert encoder.encode("51987654321", b"", esm_class, data_coding, priority_flag) == plain.encode_body()


@pytest.mark.parametrize(
    "wrong",
    [{"source_addr": "1" * 21}, {"service_type": "123456"}, {"source_addr_ton": 256}, {"registered_delivery": 256}],
)
def test_submit_encoder_refuses(wrong: dict[str, Any]) -> None:
    """What does not fit is refused when the lane is made, not when it sends."""
    with pytest.raises(ValueError, match=r"fit|range"):
        SubmitEncoder(**LANE | wrong)


def test_submit_encoder_never_cuts() -> None:
    """A text that is too long for a submit_sm cannot be encoded."""
    with pytest.raises(IndexError):
        SubmitEncoder(**LANE).encode("573001234567", bytes(255))


def test_delivery_reader() -> None:
    """The reader of a session says what the stateless decoder says, whatever came before."""
    reader = DeliveryReader()
    receipt = DeliverSM(source_addr="573001234567", destination_addr="89000", esm_class=4, short_message=b"id:1")
    bodies = [
        DeliverSM().encode_body(),
        receipt.encode_body(),
        DeliverSM(source_addr="51987654321", destination_addr="89000", esm_class=4, tlvs={0x1E: b"1\0"}).encode_body(),
        DeliverSM(source_addr="51987654321", destination_addr="89000", short_message=b"SI").encode_body(),
        DeliverSM(source_addr="1", service_type="CMT", destination_addr="890", data_coding=8).encode_body(),
    ]
    for body in [*bodies, *reversed(bodies)]:
        assert reader.decode(body, 7) == DeliverSM.decode_body(body, 7)


def test_delivery_reader_after_nonsense() -> None:
    """A body that cannot be read is malformed to the reader too, and leaves what it knows as it was."""
    reader = DeliveryReader()
    body = DeliverSM(destination_addr="89000", short_message=b"hola", tlvs={0x1E: b"1\0"}).encode_body()
    reader.decode(body, 1)
    for end in range(len(body)):
        if not 3 <= len(body) - end <= 6:  # without its parameter it is whole again
            with pytest.raises(MalformedPDU):
                reader.decode(body[:end], 2)
        assert reader.decode(body, 3) == DeliverSM.decode_body(body, 3)
