"""What an SMSC sends, octet by octet: PDUs, receipts, user data headers, texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smpp import gsm7
from smpp.errors import MalformedPDU
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSM,
    DeliverSM,
    DeliveryReader,
    SubmitSM,
    decode,
    encode_tlv,
)
from smpp.receipt import IdFormat, MessageState, canonical_receipt, canonical_resp, format_receipt, parse
from smpp.segment import (
    Alphabet,
    LongMode,
    TextEncoder,
    TextTooLong,
    UnencodableText,
    concat,
    decode_text,
    split_udh,
)

VECTORS = Path(__file__).parents[1] / "vectors"

_COMMANDS: tuple[Any, ...] = (BindTransmitter, BindReceiver, BindTransceiver, SubmitSM, DeliverSM, DataSM)
_ID_FORMATS: tuple[IdFormat, ...] = ("same", "resp_hex_dlr_dec", "resp_dec_dlr_hex", "both_hex")
_ALPHABETS: tuple[Alphabet, ...] = ("gsm7", "gsm7-spanish", "gsm7-portuguese", "latin1", "ucs2")
_LONG: tuple[LongMode, ...] = ("udh8", "udh16", "sar", "payload")
_LANES = tuple(TextEncoder(alphabets=(alphabet,), long=long) for alphabet in _ALPHABETS for long in _LONG)


def vector(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def _tag_length_values(tlvs: dict[str, str]) -> bytes:
    return b"".join(encode_tlv(int(tag, 16), bytes.fromhex(value)) for tag, value in tlvs.items())


# PDUs: the first octet chooses the command, the rest is its body.


def pdu(data: bytes) -> bool:
    """A body is a request or malformed; what fits is the same after a round; the reader that remembers says the same."""
    if not data:
        return False
    command, body = _COMMANDS[data[0] % len(_COMMANDS)], data[1:]
    try:
        request = decode(command.command_id, body, 1)
    except MalformedPDU:
        request = None
    assert request is None or type(request) is command
    if command is DeliverSM:
        _check_reader(body, request)
    if request is None:
        return False
    repr(request)
    try:
        again = request.encode_body()
    except ValueError:  # longer than we write
        return True
    assert decode(command.command_id, again, 1) == request
    return True


def _check_reader(body: bytes, expected: object) -> None:
    reader = DeliveryReader()
    for delivery in (body, b"CMT" + body, body):
        try:
            found: object = reader.decode(delivery, 1)
        except MalformedPDU:
            found = None
        assert delivery is not body or found == expected


def pdus() -> Iterator[bytes]:
    for each in vector("pdus"):
        octets = bytes.fromhex(each["hex"])
        for index, command in enumerate(_COMMANDS):
            if int.from_bytes(octets[4:8], "big") == command.command_id:
                yield bytes((index,)) + octets[16:]


# Receipts: esm_class, how the ids are written, how long the optional parameters are, these, the text.


def receipt(data: bytes) -> bool:
    """Anything is a receipt or a message; ids of receipts have a key; what we format is read as it was meant."""
    if len(data) < 3:
        return False
    esm_class, id_format, size = data[0], _ID_FORMATS[data[1] % len(_ID_FORMATS)], data[2]
    tlvs, text = _parameters(data[3 : 3 + size]), data[3 + size :]
    found = parse(esm_class, text, tlvs)
    if found is None:
        return False
    assert found.state in MessageState
    assert not (found.final and found.state in (MessageState.ENROUTE, MessageState.UNKNOWN, MessageState.ACCEPTED))
    assert len(found.submit_at) <= 14 >= len(found.done_at)
    key = canonical_receipt(found.message_id, id_format)
    assert canonical_receipt(found.message_id, "same") == canonical_resp(found.message_id, "same")
    assert bool(key) == bool(found.message_id.strip())
    key.encode()
    if (
        found.message_id
        and not set(found.message_id) & set(" ,;:\0\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0")
        and len(found.message_id) <= 64
    ):
        again = parse(4, _formatted(found.message_id, found.state), {})
        assert again is not None
        assert (again.message_id, again.state) == (found.message_id, found.state)
    return True


def _formatted(message_id: str, state: MessageState) -> bytes:
    return format_receipt(message_id=message_id, state=state, submit_at="2601010000", done_at="2601010001")


def _parameters(octets: bytes) -> dict[int, bytes]:
    """Optional parameters as far as they can be read."""
    tlvs = {}
    while len(octets) >= 4:
        tag, size = int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:4], "big")
        tlvs[tag] = octets[4 : 4 + size]
        octets = octets[4 + size :]
    return tlvs


def receipts() -> Iterator[bytes]:
    for index, each in enumerate(vector("receipts")):
        tlvs = _tag_length_values(each.get("tlvs", {}))
        yield bytes((each["esm_class"], index % 4, len(tlvs))) + tlvs + each["short_message"].encode("latin-1")


# User data headers: the data coding, how long the optional parameters are, these, and header and text.


def udh(data: bytes) -> bool:
    """Any octets are a header with a text or none; a part has a place that exists; any text can be read."""
    if len(data) < 2:
        return False
    data_coding, size = data[0], data[1]
    tlvs, payload = _parameters(data[2 : 2 + size]), data[2 + size :]
    elements: dict[int, bytes] = {}
    if (split := split_udh(payload)) is not None:
        elements, rest = split
        assert payload.endswith(rest)
        assert sum(2 + len(value) for value in elements.values()) <= payload[0]
        payload = rest
    place = concat(elements, tlvs)
    assert place is None or 1 <= place.part_number <= place.part_count
    decode_text(data_coding, payload, elements).encode("utf-8")
    return split is not None


def udhs() -> Iterator[bytes]:
    for header in ("0500037f0201", "0608041f3d0302", "0700032a0301240102", "00", "06250103240103"):
        for data_coding in (0, 8, 0xF4):
            yield bytes((data_coding, 0)) + bytes.fromhex(header) + "Año €".encode("utf-16-be")
    sar = _tag_length_values({"020c": "1234", "020e": "03", "020f": "01"})
    yield bytes((0, len(sar))) + sar + b"Hola"


# Texts: how a lane writes, then the text in UTF-8; and the same octets read as if they had come in.


def text(data: bytes) -> bool:
    """A text that a lane carries is the same when its parts are joined, and no part is too long or begins in mid-character."""
    if not data:
        return False
    index, octets = data[0] % len(_LANES), data[1:]
    for data_coding in (0, 3, 4, 8, 0x11, 0xF1):
        decode_text(data_coding, octets, {})
    said = octets.decode("utf-8", "surrogatepass" if data[0] & 0x80 else "replace") if _whole(octets) else ""
    table = gsm7.DEFAULT
    closest = table.transliterate(said)
    assert table.transliterate(closest) == closest
    lane, long = _LANES[index], _LONG[index % len(_LONG)]
    try:
        encoded = lane.encode(said, 7)
    except (UnencodableText, TextTooLong):
        return False
    assert lane.count(said) == len(encoded.parts)
    pieces = []
    elements: dict[int, bytes] = {}
    for number, part in enumerate(encoded.parts, 1):
        payload, tlvs = part.short_message, _parameters(part.tlvs)
        payload = payload or tlvs.get(0x0424, b"")
        assert long == "payload" or len(payload) <= 140 or (encoded.data_coding == 0 and len(payload) <= 160)
        if part.esm_class & 0x40:
            split = split_udh(payload)
            assert split is not None
            elements, payload = split
        if len(encoded.parts) > 1:
            place = concat(elements, tlvs)
            assert place is not None
            assert (place.part_number, place.part_count) == (number, len(encoded.parts))
        pieces.append(payload)
    assert decode_text(encoded.data_coding, b"".join(pieces), elements) == said
    # Each part alone reads as its piece of the text: nothing is torn.
    assert "".join(decode_text(encoded.data_coding, piece, elements) for piece in pieces) == said
    return True


def _whole(octets: bytes) -> bool:
    try:
        octets.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def texts() -> Iterator[bytes]:
    words = ("Su pago vence hoy", "Año nuevo: 3€ [sí] {no}", "Não é ção à ª º", "¡Qué café! Łódź", "👍🏽 vence hoy", "")
    for index in range(len(_LANES)):
        for word in words:
            yield bytes((index,)) + word.encode()
            yield bytes((index,)) + ((word + " ") * 20).encode()
