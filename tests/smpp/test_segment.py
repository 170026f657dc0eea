"""Texts cut into parts, user data headers, and incoming payloads back to text."""

from __future__ import annotations

from typing import get_args

import pytest
import smpplib.consts
import smpplib.gsm

from smpp import gsm7
from smpp.segment import (
    Alphabet,
    Concat,
    Encoded,
    LongMode,
    Part,
    TextEncoder,
    TextTooLong,
    UnencodableText,
    concat,
    decode_text,
    split_udh,
)


def test_single_part() -> None:
    """A short text is one part without a header."""
    assert TextEncoder().encode("hola@", 7) == Encoded(0, (Part(0, b"hola\0", b""),))


@pytest.mark.parametrize(
    ("alphabets", "text", "data_coding"),
    [
        (("gsm7", "ucs2"), "señor", 0),
        (("gsm7", "ucs2"), "línea", 8),
        (("gsm7", "gsm7-spanish", "ucs2"), "línea", 0),
        (("gsm7", "latin1", "ucs2"), "línea", 3),
        (("latin1", "gsm7"), "hola", 3),
        (("latin1", "gsm7"), "5 €", 0),
        (("gsm7", "latin1", "ucs2"), "\U0001f600", 8),
    ],
)
def test_first_alphabet_that_carries_the_text(alphabets: tuple[Alphabet, ...], text: str, data_coding: int) -> None:
    """The order of the lane decides, and the whole text goes in one alphabet."""
    assert TextEncoder(alphabets=alphabets).encode(text, 0).data_coding == data_coding


@pytest.mark.parametrize("text", ["línea", "\ud800", "hola\0"])
def test_no_alphabet_carries_the_text(text: str) -> None:
    """A text that the lane cannot carry is refused, not damaged, and the error does not quote it."""
    encoder = TextEncoder(alphabets=("gsm7",))
    with pytest.raises(UnencodableText) as refused:
        encoder.encode(text, 0)
    assert text not in str(refused.value)
    with pytest.raises(UnencodableText):
        encoder.count(text)


def test_half_a_surrogate_pair_is_no_text() -> None:
    """UCS-2 refuses a surrogate without its other half."""
    with pytest.raises(UnencodableText):
        TextEncoder().encode("hola \ud83d", 0)


def test_no_alphabet_at_all() -> None:
    """A lane without alphabets is a mistake of its configuration."""
    with pytest.raises(ValueError, match="at least one alphabet"):
        TextEncoder(alphabets=())


# Septets, octets or UTF-16 units in a message of one part, and in each part of a longer one, for each mode.
CAPACITY = [
    ("gsm7", "a", 160, {"udh8": 153, "udh16": 152, "sar": 153}),
    ("gsm7-spanish", "a", 155, {"udh8": 149, "udh16": 148, "sar": 149}),
    ("gsm7-portuguese", "a", 155, {"udh8": 149, "udh16": 148, "sar": 149}),
    ("latin1", "á", 140, {"udh8": 134, "udh16": 133, "sar": 134}),
    ("ucs2", "日", 70, {"udh8": 67, "udh16": 66, "sar": 67}),
]


@pytest.mark.parametrize("long", get_args(LongMode))
@pytest.mark.parametrize(("alphabet", "character", "single", "multi"), CAPACITY)
def test_capacity(long: LongMode, alphabet: Alphabet, character: str, single: int, multi: dict[str, int]) -> None:
    """A text fills one part up to its capacity; one character more makes it a long text."""
    encoder = TextEncoder(alphabets=(alphabet,), long=long)
    assert encoder.count(character * single) == 1
    assert len(encoder.encode(character * single, 0).parts) == 1
    if long == "payload":
        assert encoder.count(character * (single + 1)) == 1
        assert encoder.encode(character * (single + 1), 0).parts[0].short_message == b""
        return
    assert encoder.count(character * (single + 1)) == 2
    for parts in (2, 3, 255):
        assert encoder.count(character * multi[long] * parts) == parts
        assert len(encoder.encode(character * multi[long] * parts, 0).parts) == parts
    assert encoder.count(character * (multi[long] * 2 + 1)) == 3


def test_eight_bit_reference() -> None:
    """The header of each part has the reference cut to 8 bits, the count and the number (23.040 9.2.3.24.1)."""
    first, second = TextEncoder().encode("a" * 161, 0x1234).parts
    assert first == Part(0x40, bytes.fromhex("050003340201") + b"a" * 153, b"")
    assert second == Part(0x40, bytes.fromhex("050003340202") + b"a" * 8, b"")


def test_sixteen_bit_reference() -> None:
    """The header of each part has the reference cut to 16 bits (23.040 9.2.3.24.8)."""
    first, second = TextEncoder(long="udh16").encode("a" * 161, 0xFF1234).parts
    assert first == Part(0x40, bytes.fromhex("06080412340201") + b"a" * 152, b"")
    assert second == Part(0x40, bytes.fromhex("06080412340202") + b"a" * 9, b"")


def test_sar_parameters() -> None:
    """The numbers go in optional parameters and the text stays bare (3.4 5.3.2.22 to 24)."""
    first, second = TextEncoder(long="sar").encode("a" * 161, 0xFF1234).parts
    assert first == Part(0, b"a" * 153, bytes.fromhex("020c00021234 020e000102 020f000101"))
    assert second == Part(0, b"a" * 8, bytes.fromhex("020c00021234 020e000102 020f000102"))


def test_message_payload() -> None:
    """The text goes whole in message_payload with short_message empty (3.4 5.3.2.32)."""
    encoded = TextEncoder(long="payload").encode("a" * 161, 7)
    assert encoded == Encoded(0, (Part(0, b"", bytes.fromhex("042400a1") + b"a" * 161),))


def test_shift_table_takes_a_header_in_every_part() -> None:
    """The national language element is in the header of a single part and beside the concatenation of many."""
    encoder = TextEncoder(alphabets=("gsm7-spanish",))
    assert encoder.encode("sí", 7).parts == (Part(0x40, bytes.fromhex("03240102") + b"s\x1bi", b""),)
    for number, part in enumerate(encoder.encode("í" * 100, 7).parts, 1):
        assert part.esm_class == 0x40
        assert part.short_message.startswith(bytes((8, 0, 3, 7, 2, number, 0x24, 1, 2)))


@pytest.mark.parametrize("long", ["sar", "payload"])
def test_shift_table_keeps_its_header_where_the_smsc_cuts(long: LongMode) -> None:
    """SAR parameters and message_payload replace the concatenation, not the national language element."""
    encoder = TextEncoder(alphabets=("gsm7-portuguese",), long=long)
    for part in encoder.encode("ã" * 200, 7).parts:
        assert part.esm_class == 0x40
        carried = part.short_message or part.tlvs[4:]
        assert carried.startswith(bytes.fromhex("03250103") + b"\x7b")


def test_escape_is_not_torn() -> None:
    """A part ends before an escape that would lose its second septet to the next part."""
    first, second = TextEncoder().encode("a" * 152 + "€" + "b" * 10, 7).parts
    assert first.short_message[6:] == b"a" * 152
    assert second.short_message[6:] == b"\x1be" + b"b" * 10


def test_count_knows_of_escapes_kept_whole() -> None:
    """Two escapes at the ends of parts make a third part of what divides into two."""
    text = ("a" * 152 + "€") * 2
    assert TextEncoder().count(text) == len(TextEncoder().encode(text, 0).parts) == 3


@pytest.mark.parametrize("character", ["\U00010000", "\U0001f600", "\U0003134a", "\U000e0067"])
def test_surrogate_pair_is_not_torn(character: str) -> None:
    """A part ends before an emoji or another character beyond the first plane that would be cut in half."""
    first, second = TextEncoder().encode("á" * 66 + character + "b" * 10, 7).parts
    assert first.short_message[6:].decode("utf-16-be") == "á" * 66
    assert second.short_message[6:].decode("utf-16-be") == character + "b" * 10


@pytest.mark.parametrize("long", ["udh8", "udh16", "sar"])
def test_too_many_parts(long: LongMode) -> None:
    """A 256th part cannot be numbered."""
    encoder = TextEncoder(long=long)
    with pytest.raises(TextTooLong):
        encoder.encode("a" * (153 * 255 + 1), 0)
    with pytest.raises(TextTooLong):
        encoder.count("a" * (153 * 255 + 1))


def test_payload_too_long() -> None:
    """The length of message_payload is 16 bits, its header among them."""
    encoder = TextEncoder(alphabets=("gsm7-spanish",), long="payload")
    assert encoder.count("a" * (0xFFFF - 4)) == 1
    with pytest.raises(TextTooLong):
        encoder.encode("a" * (0xFFFF - 3), 0)


def test_transliteration_keeps_a_text_in_gsm7() -> None:
    """With transliteration, a text with accents or typographic quotes is not sent in UCS-2."""
    encoder = TextEncoder(transliterate=True)
    assert encoder.encode("\u201clínea\u201d", 0) == Encoded(0, (Part(0, b'"linea"', b""),))
    assert encoder.count("línea " * 26) == 1


def test_transliteration_is_not_asked_where_it_is_not_needed() -> None:
    """A text that the alphabet carries is not touched."""
    encoder = TextEncoder(alphabets=("gsm7-spanish",), transliterate=True)
    assert encoder.encode("línea", 0).parts[0].short_message[4:] == b"l\x1binea"


def test_transliteration_in_vain_changes_nothing() -> None:
    """A text that stays in UCS-2 for its emoji keeps its accents as well."""
    text = "línea \U0001f600"
    part = TextEncoder(transliterate=True).encode(text, 0).parts[0]
    assert part.short_message.decode("utf-16-be") == text


@pytest.mark.parametrize("text", ["a" * 160, "a" * 161, "ñ" * 500, "á" * 70, "á" * 71, "á" * 300])
def test_smpplib_agrees(text: str) -> None:
    """An independent encoder cuts texts without escapes or surrogates in the same places."""
    theirs, data_coding, esm_class = smpplib.gsm.make_parts(text)
    encoded = TextEncoder().encode(text, 0)
    assert encoded.data_coding == data_coding
    assert {part.esm_class for part in encoded.parts} == {esm_class}
    if esm_class == smpplib.consts.SMPP_GSMFEAT_UDHI:
        theirs = [part[:3] + b"\0" + part[4:] for part in theirs]  # its reference is random
    assert [part.short_message for part in encoded.parts] == theirs


@pytest.mark.parametrize(
    ("octets", "elements", "payload"),
    [
        ("050003340201616263", {0: b"\x34\x02\x01"}, b"abc"),
        ("0608041234020161", {8: b"\x12\x34\x02\x01"}, b"a"),
        ("080003340201240102", {0: b"\x34\x02\x01", 0x24: b"\x02"}, b""),
        ("00616263", {}, b"abc"),
        ("03 7001 41 61", {0x70: b"A"}, b"a"),
        ("02 7000 61", {0x70: b""}, b"a"),
        ("06 240102 240103 61", {0x24: b"\x03"}, b"a"),  # the last one counts
    ],
)
def test_split_udh(octets: str, elements: dict[int, bytes], payload: bytes) -> None:
    """The header is cut into its elements, and the payload follows."""
    assert split_udh(bytes.fromhex(octets)) == (elements, payload)


@pytest.mark.parametrize(
    "octets",
    [
        "",  # no header at all
        "05000334",  # shorter than it says
        "0400030102",  # an element longer than the header
        "06000301020170",  # one octet too many for its elements
        "ff",
    ],
)
def test_malformed_udh(octets: str) -> None:
    """A header that does not add up is ignored as a whole (23.040 9.2.3.24)."""
    assert split_udh(bytes.fromhex(octets)) is None


@pytest.mark.parametrize(
    ("elements", "tlvs", "place"),
    [
        ({0: b"\x34\x03\x02"}, {}, Concat(0x34, 2, 3)),
        ({8: b"\x12\x34\x03\x02"}, {}, Concat(0x1234, 2, 3)),
        ({}, {0x020C: b"\x12\x34", 0x020E: b"\x03", 0x020F: b"\x02"}, Concat(0x1234, 2, 3)),
        ({0: b"\x34\x03\x02"}, {0x020C: b"\x12\x34", 0x020E: b"\x09", 0x020F: b"\x08"}, Concat(0x34, 2, 3)),
        ({}, {}, None),
        ({0: b"\x34\x03\x00"}, {}, None),
        ({0: b"\x34\x03\x04"}, {}, None),
        ({0: b"\x34\x00\x00"}, {}, None),
        ({0: b"\x34\x03"}, {}, None),
        ({8: b"\x34\x03\x02"}, {}, None),
        ({}, {0x020C: b"\x12\x34"}, None),
        ({}, {0x020C: b"\x12" * 2000, 0x020E: b"\x03", 0x020F: b"\x02"}, None),
        ({}, {0x020C: b"\x12\x34", 0x020E: b"\x00" * 8 + b"\x03", 0x020F: b"\x02"}, None),
        ({}, {0x020C: b"\x12\x34", 0x020E: b"\x03", 0x020F: b"\x00\x02"}, None),
        ({}, {0x020C: b"\x12\x34", 0x020E: b"\x03", 0x020F: b""}, None),
        ({0x24: b"\x02"}, {}, None),
    ],
)
def test_concat(elements: dict[int, bytes], tlvs: dict[int, bytes], place: Concat | None) -> None:
    """The place of a part comes from its header or its SAR parameters, if the numbers make sense."""
    assert concat(elements, tlvs) == place


@pytest.mark.parametrize(
    ("data_coding", "octets", "text"),
    [
        (0x00, "686f6c6100", "hola@"),
        (0x00, "1b65", "€"),
        (0x00, "5365f1616c40", "Señal@"),  # Latin-1 is the default alphabet of this SMSC
        (0x11, "5365f1616c40", "Señal@"),
        (0x01, "686f6c61", "hola"),
        (0x01, "ed", "í"),  # Latin-1 sent as ASCII
        (0x02, "00ff", "\0ÿ"),
        (0x03, "ed40", "í@"),
        (0x04, "00ff", "\0ÿ"),
        (0x05, "ff", "ÿ"),
        (0x08, "00ed", "í"),
        (0x08, "d83dde00", "\U0001f600"),
        (0x08, "00ed00", "í"),  # an odd octet at the end
        (0x08, "d83d0041", "\ufffdA"),
        (0x10, "00", "@"),  # class 0, default alphabet
        (0x14, "ed", "í"),  # 8-bit
        (0x18, "00ed", "í"),  # UCS-2
        (0x1C, "00", "@"),  # reserved alphabet
        (0x80, "00", "@"),  # reserved coding group
        (0xC8, "00", "@"),  # message waiting, discard
        (0xD8, "00", "@"),  # message waiting, store
        (0xE8, "00ed", "í"),  # message waiting, store, UCS-2
        (0xF0, "00", "@"),  # class 0, default alphabet
        (0xF5, "ed", "í"),  # class 1, 8-bit
    ],
)
def test_decode_text(data_coding: int, octets: str, text: str) -> None:
    """The data coding chooses the alphabet (3.4 5.2.19, 23.038 4)."""
    assert decode_text(data_coding, bytes.fromhex(octets), {}) == text


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ({}, "iä"),
        ({gsm7.IE_SINGLE_SHIFT: b"\x02"}, "íä"),
        ({gsm7.IE_LOCKING_SHIFT: b"\x03"}, "iã"),
        ({gsm7.IE_SINGLE_SHIFT: b"\x02", gsm7.IE_LOCKING_SHIFT: b"\x03"}, "íã"),
        ({gsm7.IE_SINGLE_SHIFT: b"\x63"}, "iä"),
        ({gsm7.IE_SINGLE_SHIFT: b""}, "iä"),
    ],
)
def test_decode_text_with_shift_tables(elements: dict[int, bytes], text: str) -> None:
    """The header chooses the shift tables; a language unknown here leaves the default."""
    assert decode_text(0, b"\x1bi\x7b", elements) == text
