"""Text to the parts that go on the wire, and the parts that come in back to text (TS 23.040 9.2.3.24)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct as Layout
from typing import Final, Literal

import msgspec

from smpp import gsm7
from smpp.constants import Tag
from smpp.errors import SMPPError

__all__ = [
    "Alphabet",
    "Concat",
    "Encoded",
    "LongMode",
    "Part",
    "TextEncoder",
    "TextTooLong",
    "UnencodableText",
    "concat",
    "decode_text",
    "split_udh",
]

Alphabet = Literal["gsm7", "gsm7-spanish", "gsm7-portuguese", "latin1", "ucs2"]
LongMode = Literal["udh8", "udh16", "sar", "payload"]

# One short message carries 140 octets, its user data header among them (TS 23.040 9.2.3.24).
_MESSAGE_OCTETS: Final = 140
_MAX_PARTS: Final = 255
_MAX_PAYLOAD: Final = 0xFFFF

_UDHI: Final = 0x40
_IE_CONCAT_8: Final = 0x00
_IE_CONCAT_16: Final = 0x08

# Octets of the element that joins the parts. For SAR parameters the SMSC writes it: leave it the room of the 8-bit one.
_CONCAT_OCTETS: Final = {"udh8": 5, "udh16": 6, "sar": 5, "payload": 0}


# Optional parameters as SMPP 3.4 writes them: tag, length, value (5.3.1).
_TLV: Final = Layout(">HH")
_SAR: Final = Layout(">HHH HHB HHB")


class UnencodableText(SMPPError):
    """No alphabet of the lane carries every character of the text."""


class TextTooLong(SMPPError):
    """The text needs more parts, or more octets, than one message can have."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one submit_sm says of its part: bits to set in esm_class, short_message, encoded optional parameters."""

    esm_class: int
    short_message: bytes
    tlvs: bytes


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A text in the alphabet that was chosen for it, in as many parts as it needs."""

    data_coding: int
    parts: tuple[Part, ...]


class Concat(msgspec.Struct, frozen=True, gc=False):
    """The place of one part in a longer message: 1 <= part_number <= part_count."""

    reference: int
    part_number: int
    part_count: int


class _Form:
    """One alphabet as a lane uses it: how it encodes, how much of it a part holds and where it may be cut.

    `pair_leads` are the octets that begin a unit which is nothing without the next one.
    """

    __slots__ = (
        "data_coding",
        "elements",
        "encode",
        "esm_class",
        "header",
        "pair_leads",
        "part_limit",
        "single_limit",
        "unit_octets",
    )

    def __init__(
        self,
        encode: Callable[[str], bytes | None],
        *,
        data_coding: int,
        unit_bits: int,
        pair_leads: bytes,
        long: LongMode,
        elements: bytes = b"",
    ) -> None:
        self.encode: Final = encode
        self.data_coding: Final = data_coding
        self.pair_leads: Final = pair_leads
        self.unit_octets: Final = (unit_bits + 7) // 8
        self.elements: Final = elements
        self.header: Final = bytes((len(elements),)) + elements if elements else b""
        self.esm_class: Final = _UDHI if elements else 0
        room = _MESSAGE_OCTETS - len(self.header)
        self.single_limit: Final = room * 8 // unit_bits * self.unit_octets
        room = _MESSAGE_OCTETS - 1 - _CONCAT_OCTETS[long] - len(elements)
        self.part_limit: Final = room * 8 // unit_bits * self.unit_octets


_TABLES: Final = {"gsm7": gsm7.DEFAULT, "gsm7-spanish": gsm7.SPANISH, "gsm7-portuguese": gsm7.PORTUGUESE}


def _form(alphabet: Alphabet, long: LongMode, *, transliterate: bool) -> _Form:
    if alphabet == "latin1":
        return _Form(_latin1, data_coding=3, unit_bits=8, pair_leads=b"", long=long)
    if alphabet == "ucs2":
        return _Form(_ucs2, data_coding=8, unit_bits=16, pair_leads=b"\xd8\xd9\xda\xdb", long=long)
    table = _TABLES[alphabet]

    def closest(text: str) -> bytes | None:
        octets = table.encode(text)
        return table.encode(table.transliterate(text)) if octets is None else octets

    encode = closest if transliterate else table.encode
    leads = bytes((gsm7.ESCAPE,))
    return _Form(encode, data_coding=0, unit_bits=7, pair_leads=leads, long=long, elements=table.elements)


def _latin1(text: str) -> bytes | None:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None


def _ucs2(text: str) -> bytes | None:
    """Return UTF-16, which is what handsets take for UCS-2, or None for a surrogate without its other half."""
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError:
        return None


class TextEncoder:
    """Cuts texts into parts the way one lane takes them; built once for a lane, holds nothing of a message.

    The first of `alphabets` that carries the whole text is used. With `transliterate` each GSM-7 alphabet also carries
    a text that it can carry only after its foreign characters were replaced by close ones (á by a), so a lossy GSM-7
    text goes before an exact one in an alphabet that comes later.

    `long` says how a text that does not fit in one part travels: in parts with a user data header and an 8-bit or
    16-bit reference, in parts with SAR parameters, or whole in message_payload (then it counts as one part here, and
    the SMSC cuts it).
    """

    __slots__ = ("_forms", "_long")

    def __init__(
        self,
        *,
        alphabets: Sequence[Alphabet] = ("gsm7", "ucs2"),
        long: LongMode = "udh8",
        transliterate: bool = False,
    ) -> None:
        if not alphabets:
            raise ValueError("a lane needs at least one alphabet")
        self._forms: Final = tuple(_form(alphabet, long, transliterate=transliterate) for alphabet in alphabets)
        self._long: Final = long

    def count(self, text: str) -> int:
        """Return how many parts `text` takes, as many as `encode` returns; raises what `encode` raises."""
        form, octets = self._choose(text)
        return 1 if len(octets) <= form.single_limit else len(self._cut(form, octets))

    def encode(self, text: str, reference: int) -> Encoded:
        """Return the parts of `text`; `reference` is cut to the 8 or 16 bits that its parts carry.

        Raises UnencodableText or TextTooLong, neither of which quotes the text.
        """
        form, octets = self._choose(text)
        if len(octets) <= form.single_limit:
            return Encoded(form.data_coding, (Part(form.esm_class, form.header + octets, b""),))
        pieces = self._cut(form, octets)
        part = _PART[self._long]
        return Encoded(
            form.data_coding,
            tuple([part(form, reference, len(pieces), number, piece) for number, piece in enumerate(pieces, 1)]),
        )

    def _choose(self, text: str) -> tuple[_Form, bytes]:
        for form in self._forms:
            octets = form.encode(text)
            if octets is not None:
                return form, octets
        raise UnencodableText("no alphabet of the lane carries the text")

    def _cut(self, form: _Form, octets: bytes) -> list[bytes]:
        if self._long == "payload":
            if len(form.header) + len(octets) > _MAX_PAYLOAD:
                raise TextTooLong(f"the text does not fit in the {_MAX_PAYLOAD} octets of message_payload")
            return [octets]
        pieces: list[bytes] = []
        start = 0
        while start < len(octets):
            end = start + form.part_limit
            if end < len(octets) and octets[end - form.unit_octets] in form.pair_leads:
                end -= form.unit_octets
            pieces.append(octets[start:end])
            start = end
        if len(pieces) > _MAX_PARTS:
            raise TextTooLong(f"the text needs more than {_MAX_PARTS} parts")
        return pieces


def _part_udh8(form: _Form, reference: int, part_count: int, part_number: int, piece: bytes) -> Part:
    return _part_udh(form, bytes((_IE_CONCAT_8, 3, reference & 0xFF, part_count, part_number)), piece)


def _part_udh16(form: _Form, reference: int, part_count: int, part_number: int, piece: bytes) -> Part:
    high, low = divmod(reference & 0xFFFF, 0x100)
    return _part_udh(form, bytes((_IE_CONCAT_16, 4, high, low, part_count, part_number)), piece)


def _part_udh(form: _Form, element: bytes, piece: bytes) -> Part:
    elements = element + form.elements
    return Part(_UDHI, bytes((len(elements),)) + elements + piece, b"")


def _part_sar(form: _Form, reference: int, part_count: int, part_number: int, piece: bytes) -> Part:
    tlvs = _SAR.pack(
        *(Tag.SAR_MSG_REF_NUM, 2, reference & 0xFFFF),
        *(Tag.SAR_TOTAL_SEGMENTS, 1, part_count),
        *(Tag.SAR_SEGMENT_SEQNUM, 1, part_number),
    )
    return Part(form.esm_class, form.header + piece, tlvs)


def _part_payload(form: _Form, _reference: int, _part_count: int, _part_number: int, piece: bytes) -> Part:
    payload = form.header + piece
    return Part(form.esm_class, b"", _TLV.pack(Tag.MESSAGE_PAYLOAD, len(payload)) + payload)


_PART: Final = {"udh8": _part_udh8, "udh16": _part_udh16, "sar": _part_sar, "payload": _part_payload}


def split_udh(short_message: bytes) -> tuple[dict[int, bytes], bytes] | None:
    """Return the information elements of the user data header and what follows it, or None if it is malformed.

    Of an element given twice the last one counts (TS 23.040 9.2.3.24). A header with too few or too many octets for
    its elements is to be ignored as a whole.
    """
    if not short_message:
        return None
    end = 1 + short_message[0]
    if end > len(short_message):
        return None
    elements: dict[int, bytes] = {}
    at = 1
    while at + 2 <= end:
        value_at = at + 2
        value_end = value_at + short_message[at + 1]
        elements[short_message[at]] = short_message[value_at:value_end]
        at = value_end
    return (elements, short_message[end:]) if at == end else None


def concat(elements: Mapping[int, bytes], tlvs: Mapping[int, bytes]) -> Concat | None:
    """Return where a part belongs, from its user data header or else from its SAR parameters.

    None for a message that stands alone, and for numbers that place no part (0, beyond the count, or of another length
    than theirs: an SMSC may put up to 64 KiB where one octet belongs).
    """
    if (wide := elements.get(_IE_CONCAT_16)) is not None and len(wide) == 4:
        found = Concat(int.from_bytes(wide[:2], "big"), wide[3], wide[2])
    elif (narrow := elements.get(_IE_CONCAT_8)) is not None and len(narrow) == 3:
        found = Concat(narrow[0], narrow[2], narrow[1])
    elif (reference := tlvs.get(Tag.SAR_MSG_REF_NUM)) is not None and len(reference) == 2:
        number, count = tlvs.get(Tag.SAR_SEGMENT_SEQNUM, b""), tlvs.get(Tag.SAR_TOTAL_SEGMENTS, b"")
        if not len(number) == len(count) == 1:
            return None
        found = Concat(int.from_bytes(reference, "big"), number[0], count[0])
    else:
        return None
    return found if 1 <= found.part_number <= found.part_count else None


def decode_text(data_coding: int, payload: bytes, elements: Mapping[int, bytes]) -> str:
    """Return the text of a payload (after its user data header) in any data coding; nothing raises.

    Join the payloads of a long message first: a careless sender cuts inside an escape or a surrogate pair. What has no
    known alphabet (binary, JIS) comes back as Latin-1, which keeps every octet. So does what is said to be GSM 7 and is
    not: the default alphabet is whatever the SMSC says (3.4 5.2.19), and the octet of a septet is below 0x80.
    """
    match _charset(data_coding):
        case "gsm7" if payload.isascii():
            return _shift_table(elements).decode(payload)
        case "ucs2":
            # An odd octet at the end is half of a character that nobody sent.
            return payload[: len(payload) & ~1].decode("utf-16-be", "replace")
        case _:
            return payload.decode("latin-1")


def _charset(data_coding: int) -> Literal["gsm7", "latin1", "ucs2"]:
    if data_coding == 0x00:
        return "gsm7"
    if data_coding == 0x08:
        return "ucs2"
    if data_coding < 0x10:  # SMPP 3.4 5.2.19; ASCII is the lower half of Latin-1
        return "latin1"
    # From here on the data coding scheme of TS 23.038 section 4.
    if data_coding < 0x80:
        return ("gsm7", "latin1", "ucs2", "gsm7")[data_coding >> 2 & 3]
    if data_coding >= 0xF0:
        return "latin1" if data_coding & 0x04 else "gsm7"
    return "ucs2" if data_coding >= 0xE0 else "gsm7"


def _shift_table(elements: Mapping[int, bytes]) -> gsm7.Table:
    if not elements:
        return gsm7.DEFAULT
    locking = elements.get(gsm7.IE_LOCKING_SHIFT, b"")
    single = elements.get(gsm7.IE_SINGLE_SHIFT, b"")
    return gsm7.table_for(int.from_bytes(locking, "big"), int.from_bytes(single, "big"))
