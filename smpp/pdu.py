"""PDUs as values, and their bytes (SMPP 3.4, §4).

A body is decoded by `decode(command_id, body, sequence_number)`; a PDU gives its bytes by `encode()`. Field names are the
specification's. Text of the protocol (addresses, ids) is `str`, read as Latin-1 so that no octet of a peer can fail;
`short_message` stays `bytes`. Optional parameters are a mapping of tag to value, unknown ones included.

Of the two bodies on the hot path, submit_sm has an encoder of its own in `encoder.py`, and `DeliveryReader` remembers what does
not change from one `deliver_sm` of a session to the next.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Self, TypeAlias

import msgspec

from smpp.constants import CommandId
from smpp.errors import MalformedPDU

__all__ = [
    "HEADER",
    "NO_TLVS",
    "PDU",
    "Bind",
    "BindReceiver",
    "BindResp",
    "BindTransceiver",
    "BindTransmitter",
    "DataSM",
    "DeliverSM",
    "DeliveryReader",
    "SubmitSM",
    "decode",
    "encode_response",
    "encode_tlv",
]

HEADER = struct.Struct(">IIII")
"""command_length, command_id, command_status, sequence_number (§3.2)."""

TLVs: TypeAlias = Mapping[int, bytes]
NO_TLVS: TLVs = MappingProxyType({})

_TLV = struct.Struct(">HH")


def encode_tlv(tag: int, value: bytes) -> bytes:
    """One optional parameter (§5.3.1)."""
    return _TLV.pack(tag, len(value)) + value


def _encode_tlvs(tlvs: TLVs) -> bytes:
    return b"".join([encode_tlv(tag, value) for tag, value in tlvs.items()])


def _decode_tlvs(body: bytes, at: int) -> TLVs:
    tlvs = {}
    end = len(body)
    # What is too short for a parameter is none: some SMSCs put a NUL behind the text, and a receipt is not to be lost for it.
    while end - at >= 4:
        tag, length = _TLV.unpack_from(body, at)
        start = at + 4
        at = start + length
        tlvs[tag] = body[start:at]
    if at > end:
        raise MalformedPDU(f"optional parameter 0x{tag:04X} longer than its PDU")
    return tlvs


def c_octet(value: str, size: int, field: str) -> bytes:
    """`value` with its NUL; refused, never cut, when it does not fit in `size` octets (§3.1)."""
    octets = value.encode("latin-1")
    if len(octets) >= size or b"\0" in octets:
        raise ValueError(f"{field} does not fit: at most {size - 1} octets, none of them NUL")
    return octets + b"\0"


class _Reader:
    """Walks the mandatory parameters of one body."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def c_octet(self) -> str:
        end = self.body.find(b"\0", self.at)
        if end < 0:
            raise MalformedPDU("string without its NUL")
        value = self.body[self.at : end].decode("latin-1")
        self.at = end + 1
        return value

    def octet(self) -> int:
        if self.at >= len(self.body):
            raise MalformedPDU("body ends before its mandatory parameters")
        self.at += 1
        return self.body[self.at - 1]

    def tlvs(self) -> TLVs:
        return _decode_tlvs(self.body, self.at) if self.at < len(self.body) else NO_TLVS


class PDU(msgspec.Struct, gc=False):
    """A request or response with a body. Subclasses say which."""

    command_id: ClassVar[CommandId]

    def encode_body(self) -> bytes:
        raise NotImplementedError

    def encode(self, sequence_number: int) -> bytes:
        """The whole request: header and body."""
        body = self.encode_body()
        return HEADER.pack(16 + len(body), self.command_id, 0, sequence_number) + body


class Bind(PDU, gc=False):
    """bind_receiver, bind_transmitter or bind_transceiver (§4.1)."""

    sequence_number: int = 0
    system_id: str = ""
    password: str = ""
    system_type: str = ""
    interface_version: int = 0x34
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(system_id={self.system_id!r})"

    def encode_body(self) -> bytes:
        return b"".join(
            (
                c_octet(self.system_id, 16, "system_id"),
                c_octet(self.password, 9, "password"),
                c_octet(self.system_type, 13, "system_type"),
                bytes((self.interface_version, self.addr_ton, self.addr_npi)),
                c_octet(self.address_range, 41, "address_range"),
            )
        )

    @classmethod
    def decode_body(cls, body: bytes, sequence_number: int) -> Bind:
        read = _Reader(body)
        return cls(
            sequence_number=sequence_number,
            system_id=read.c_octet(),
            password=read.c_octet(),
            system_type=read.c_octet(),
            interface_version=read.octet(),
            addr_ton=read.octet(),
            addr_npi=read.octet(),
            address_range=read.c_octet(),
        )


class BindReceiver(Bind, gc=False):
    command_id = CommandId.BIND_RECEIVER


class BindTransmitter(Bind, gc=False):
    command_id = CommandId.BIND_TRANSMITTER


class BindTransceiver(Bind, gc=False):
    command_id = CommandId.BIND_TRANSCEIVER


class BindResp(msgspec.Struct, gc=False, frozen=True):
    """The answer to a bind: its status, and who the SMSC says it is."""

    command_status: int
    system_id: str = ""


# The mandatory parameters of submit_sm and deliver_sm up to sm_length, in the order of §4.4.1: service_type, source TON and
# NPI, source_addr, destination TON and NPI, destination_addr, esm_class to priority_flag, the two times, registered_delivery
# to sm_length. One match reads them in half the time that eleven calls take.
_SHORT_MESSAGE = re.compile(rb"([^\0]*)\0(..)([^\0]*)\0(..)([^\0]*)\0(...)([^\0]*)\0([^\0]*)\0(.....)", re.DOTALL).match


class _ShortMessage(PDU, gc=False):
    """The body that submit_sm (§4.4.1) and deliver_sm (§4.6.1) share."""

    sequence_number: int = 0
    service_type: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: TLVs = NO_TLVS

    def encode_body(self) -> bytes:
        if len(self.short_message) > 254:
            raise ValueError("short_message holds at most 254 octets: segment it or use message_payload")
        return b"".join(
            (
                c_octet(self.service_type, 6, "service_type"),
                bytes((self.source_addr_ton, self.source_addr_npi)),
                c_octet(self.source_addr, 21, "source_addr"),
                bytes((self.dest_addr_ton, self.dest_addr_npi)),
                c_octet(self.destination_addr, 21, "destination_addr"),
                bytes((self.esm_class, self.protocol_id, self.priority_flag)),
                c_octet(self.schedule_delivery_time, 17, "schedule_delivery_time"),
                c_octet(self.validity_period, 17, "validity_period"),
                bytes((self.registered_delivery, self.replace_if_present_flag, self.data_coding)),
                bytes((self.sm_default_msg_id, len(self.short_message))),
                self.short_message,
                _encode_tlvs(self.tlvs),
            )
        )

    @classmethod
    def decode_body(cls, body: bytes, sequence_number: int) -> Self:
        found = _SHORT_MESSAGE(body)
        if found is None:
            raise MalformedPDU("body ends before its mandatory parameters")
        service_type, source, source_addr, dest, destination_addr, flags, schedule, validity, last = found.groups()
        start = found.end()
        end = start + last[4]
        if end > len(body):
            raise MalformedPDU(f"sm_length says {last[4]} octets, the body has {len(body) - start}")
        return cls(
            sequence_number,
            service_type.decode("latin-1"),
            source[0],
            source[1],
            source_addr.decode("latin-1"),
            dest[0],
            dest[1],
            destination_addr.decode("latin-1"),
            flags[0],
            flags[1],
            flags[2],
            schedule.decode("latin-1"),
            validity.decode("latin-1"),
            last[0],
            last[1],
            last[2],
            last[3],
            body[start:end],
            _decode_tlvs(body, end) if end < len(body) else NO_TLVS,
        )


class SubmitSM(_ShortMessage, gc=False):
    command_id = CommandId.SUBMIT_SM


class DeliverSM(_ShortMessage, gc=False):
    command_id = CommandId.DELIVER_SM


class DeliveryReader:
    """Decodes the deliver_sm of one session.

    What stands between the source address and the text is hardly ever different from the deliver_sm before, so the octets
    of the last one are kept beside what they mean. The layout delimits itself: the same octets always mean the same.
    """

    __slots__ = ("_meaning", "_octets")

    def __init__(self) -> None:
        self._learn(DeliverSM().encode_body(), 0)

    def decode(self, body: bytes, sequence_number: int) -> DeliverSM:
        """The same as `DeliverSM.decode_body`, which raises `MalformedPDU`, in less time."""
        try:
            service_end = body.index(b"\0")
            source_end = body.index(b"\0", service_end + 3)
        except ValueError:
            return self._learn(body, sequence_number)
        octets = self._octets
        start = source_end + len(octets) + 2
        size = len(body)
        if start > size or not body.startswith(octets, source_end + 1):
            return self._learn(body, sequence_number)
        end = start + body[start - 1]
        if end > size:
            return self._learn(body, sequence_number)
        return DeliverSM(
            sequence_number,
            body[:service_end].decode("latin-1") if service_end else "",
            body[service_end + 1],
            body[service_end + 2],
            body[service_end + 3 : source_end].decode("latin-1"),
            *self._meaning,
            body[start:end],
            _decode_tlvs(body, end) if end < size else NO_TLVS,
        )

    def _learn(self, body: bytes, sequence_number: int) -> DeliverSM:
        pdu = DeliverSM.decode_body(body, sequence_number)
        found = _SHORT_MESSAGE(body)
        assert found is not None
        self._octets = body[found.start(4) : found.end() - 1]
        self._meaning: tuple[int, int, str, int, int, int, str, str, int, int, int, int] = (
            pdu.dest_addr_ton,
            pdu.dest_addr_npi,
            pdu.destination_addr,
            pdu.esm_class,
            pdu.protocol_id,
            pdu.priority_flag,
            pdu.schedule_delivery_time,
            pdu.validity_period,
            pdu.registered_delivery,
            pdu.replace_if_present_flag,
            pdu.data_coding,
            pdu.sm_default_msg_id,
        )
        return pdu


class DataSM(PDU, gc=False):
    """data_sm (§4.7.1): the text, if any, is in the message_payload parameter."""

    command_id = CommandId.DATA_SM

    sequence_number: int = 0
    service_type: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    esm_class: int = 0
    registered_delivery: int = 0
    data_coding: int = 0
    tlvs: TLVs = NO_TLVS

    @property
    def short_message(self) -> bytes:
        """data_sm has no such field: empty, so that both deliveries read alike."""
        return b""

    def encode_body(self) -> bytes:
        return b"".join(
            (
                c_octet(self.service_type, 6, "service_type"),
                bytes((self.source_addr_ton, self.source_addr_npi)),
                c_octet(self.source_addr, 65, "source_addr"),
                bytes((self.dest_addr_ton, self.dest_addr_npi)),
                c_octet(self.destination_addr, 65, "destination_addr"),
                bytes((self.esm_class, self.registered_delivery, self.data_coding)),
                _encode_tlvs(self.tlvs),
            )
        )

    @classmethod
    def decode_body(cls, body: bytes, sequence_number: int) -> DataSM:
        read = _Reader(body)
        return cls(
            sequence_number=sequence_number,
            service_type=read.c_octet(),
            source_addr_ton=read.octet(),
            source_addr_npi=read.octet(),
            source_addr=read.c_octet(),
            dest_addr_ton=read.octet(),
            dest_addr_npi=read.octet(),
            destination_addr=read.c_octet(),
            esm_class=read.octet(),
            registered_delivery=read.octet(),
            data_coding=read.octet(),
            tlvs=read.tlvs(),
        )


Request: TypeAlias = Bind | SubmitSM | DeliverSM | DataSM

_REQUESTS: dict[int, type[Bind] | type[_ShortMessage] | type[DataSM]] = {
    cls.command_id: cls for cls in (BindReceiver, BindTransmitter, BindTransceiver, SubmitSM, DeliverSM, DataSM)
}


def decode(command_id: int, body: bytes, sequence_number: int) -> Request | None:
    """Read the body of a request, or answer None for a command that carries none we know.

    Raises `MalformedPDU` when the body does not hold what the command says, and nothing else.
    """
    cls = _REQUESTS.get(command_id)
    return None if cls is None else cls.decode_body(body, sequence_number)  # type: ignore[return-value]


def encode_response(command_id: int, command_status: int, sequence_number: int, body: bytes = b"") -> bytes:
    """A response PDU. For submit_sm_resp and deliver_sm_resp the body is the message_id with its NUL."""
    return HEADER.pack(16 + len(body), command_id, command_status, sequence_number) + body
