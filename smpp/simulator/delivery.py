"""What the simulated SMSC sends to an ESME: receipts in the forms that operators give them, and MO in parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from smpp.constants import CommandId, Tag
from smpp.pdu import SubmitSM, encode_tlv
from smpp.receipt import MessageState, format_receipt
from smpp.segment import Alphabet, LongMode, TextEncoder
from smpp.simulator.behaviour import Behaviour

__all__ = ["Delivery", "make_mo", "make_receipt"]

_DELIVER_SM = int(CommandId.DELIVER_SM)
_DATA_SM = int(CommandId.DATA_SM)

# Mandatory parameters in one formatting operation (§4.6.1, §4.7.1): one receipt a message makes it the hottest code here.
# Source, destination, esm_class, for deliver_sm then data_coding, the length and the text; then optional parameters.
_DELIVER_BODY = b"\0%c%c%b\0%c%c%b\0%c\0\0\0\0\0\0%c\0%c%b%b"
_DATA_BODY = b"\0%c%c%b\0%c%c%b\0%c\0\0%b"

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
    addresses = (
        request.dest_addr_ton,
        request.dest_addr_npi,
        request.destination_addr.encode("latin-1"),
        request.source_addr_ton,
        request.source_addr_npi,
        request.source_addr.encode("latin-1"),
    )
    if behaviour.receipt_via == "deliver_sm":
        return Delivery(_DELIVER_SM, _DELIVER_BODY % (*addresses, esm_class, 0, len(text), text, tlvs), home)
    if text:
        tlvs += encode_tlv(Tag.MESSAGE_PAYLOAD, text)
    return Delivery(_DATA_SM, _DATA_BODY % (*addresses, esm_class, tlvs), home)


def make_mo(
    source_addr: str, destination_addr: str, text: str, reference: int, alphabets: Sequence[Alphabet], long: LongMode
) -> list[Delivery]:
    """The parts of an MO, in their order. Raises what `TextEncoder` does."""
    encoded = TextEncoder(alphabets=alphabets, long=long).encode(text, reference)
    addresses = (1, 1, source_addr.encode("latin-1"), 0, 0, destination_addr.encode("latin-1"))
    return [
        Delivery(
            _DELIVER_SM,
            _DELIVER_BODY
            % (*addresses, part.esm_class, encoded.data_coding, len(part.short_message), part.short_message, part.tlvs),
        )
        for part in encoded.parts
    ]


@lru_cache(maxsize=8)
def _date(minutes: int) -> str:
    return time.strftime("%y%m%d%H%M", time.gmtime(minutes * 60))
