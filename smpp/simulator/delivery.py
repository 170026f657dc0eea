"""What the simulated SMSC sends to an ESME: receipts in the forms that operators give them, and MO in parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from smpp.constants import CommandId, Tag
from smpp.pdu import DeliverSM, SubmitSM, encode_tlv
from smpp.receipt import MessageState, format_receipt
from smpp.segment import Alphabet, LongMode, TextEncoder
from smpp.simulator.behaviour import Behaviour

__all__ = ["Delivery", "make_mo", "make_receipt"]

_DELIVER_SM = int(CommandId.DELIVER_SM)
_DATA_SM = int(CommandId.DATA_SM)

_RECEIPT = 0x04  # esm_class, §5.2.12
_INTERMEDIATE = 0x20

_ERRORS = {
    MessageState.EXPIRED: "027",
    MessageState.DELETED: "033",
    MessageState.UNDELIVERABLE: "001",
    MessageState.REJECTED: "069",
}


class Delivery(msgspec.Struct, gc=False):
    """A deliver_sm or data_sm that the ESME is to get: `home` is the connection of its submit_sm, 0 if any will do."""

    command_id: int
    body: bytes
    home: int = 0


def make_receipt(
    request: SubmitSM, message_id: str, state: MessageState, behaviour: Behaviour, done_at: float, home: int = 0
) -> Delivery:
    """The receipt of one message; `done_at` is in seconds since 1970. ENROUTE makes it an intermediate notification."""
    esm_class = _INTERMEDIATE if state is MessageState.ENROUTE else _RECEIPT
    text = tlvs = b""
    if behaviour.receipt_form != "tlvs":
        date = _date(int(done_at) // 60)
        text = format_receipt(
            message_id=message_id, state=state, submit_at=date, done_at=date, error=_ERRORS.get(state, "000")
        )
    if behaviour.receipt_form != "text":
        tlvs = encode_tlv(Tag.RECEIPTED_MESSAGE_ID, message_id.encode() + b"\0")
        tlvs += encode_tlv(Tag.MESSAGE_STATE, bytes((state,)))
    # Octets as characters: an f-string makes a body in half the time of anything with bytes, and there is one a message.
    head = (
        f"\0{chr(request.dest_addr_ton)}{chr(request.dest_addr_npi)}{request.destination_addr}"
        f"\0{chr(request.source_addr_ton)}{chr(request.source_addr_npi)}{request.source_addr}\0{chr(esm_class)}"
    )
    if behaviour.receipt_via == "deliver_sm":
        body = f"{head}\0\0\0\0\0\0\0\0{chr(len(text))}".encode("latin-1") + text + tlvs
        return Delivery(_DELIVER_SM, body, home)
    if text:
        tlvs += encode_tlv(Tag.MESSAGE_PAYLOAD, text)
    return Delivery(_DATA_SM, f"{head}\0\0".encode("latin-1") + tlvs, home)


def make_mo(
    source_addr: str, destination_addr: str, text: str, reference: int, alphabets: Sequence[Alphabet], long: LongMode
) -> list[Delivery]:
    """The parts of an MO, in their order. Raises what `TextEncoder` does."""
    encoded = TextEncoder(alphabets=alphabets, long=long).encode(text, reference)
    deliveries = []
    for part in encoded.parts:
        request = DeliverSM(
            source_addr_ton=1,
            source_addr_npi=1,
            source_addr=source_addr,
            destination_addr=destination_addr,
            esm_class=part.esm_class,
            data_coding=encoded.data_coding,
            short_message=part.short_message,
        )
        deliveries.append(Delivery(_DELIVER_SM, request.encode_body() + part.tlvs))
    return deliveries


@lru_cache(maxsize=8)
def _date(minutes: int) -> str:
    return time.strftime("%y%m%d%H%M", time.gmtime(minutes * 60))
