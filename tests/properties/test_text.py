"""Text survives the wire, and nothing that a peer sends can raise."""

from __future__ import annotations

from typing import get_args

from hypothesis import assume, given
from hypothesis import strategies as st

from smpp import gsm7
from smpp.receipt import IdFormat, canonical_receipt, canonical_resp, parse
from smpp.segment import Alphabet, Encoded, LongMode, Part, TextEncoder, concat, decode_text, split_udh

REPERTOIRE = {
    "gsm7": "aeñé@€[]{}~^|\\ 0\n",
    "gsm7-spanish": "aeñé@áíóúÁç€[] 0",
    "gsm7-portuguese": "aeãõçêªº@€[]{} 0",
    "latin1": "".join(map(chr, range(256))),
    "ucs2": "aá日€\U0001f600\U0001f468\u200d",
}
LONG_MODES = st.sampled_from(get_args(LongMode))
ID_FORMATS = st.sampled_from(get_args(IdFormat))


@st.composite
def lanes(draw: st.DrawFn) -> tuple[TextEncoder, Alphabet, LongMode, str]:
    alphabet = draw(st.sampled_from(get_args(Alphabet)))
    long = draw(LONG_MODES)
    # Short runs repeated: a text long enough for parts, with pairs at every distance from their ends.
    runs = st.tuples(st.text(REPERTOIRE[alphabet], min_size=1, max_size=5), st.integers(1, 120))
    text = "".join(run * times for run, times in draw(st.lists(runs, max_size=4)))
    return TextEncoder(alphabets=(alphabet,), long=long), alphabet, long, text


def tlvs_of(part: Part) -> dict[int, bytes]:
    found = {}
    rest = part.tlvs
    while rest:
        tag, length = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        found[tag], rest = rest[4 : 4 + length], rest[4 + length :]
    return found


def user_data(part: Part) -> tuple[dict[int, bytes], bytes]:
    octets = part.short_message or tlvs_of(part).get(0x0424, b"")
    if not part.esm_class & 0x40:
        return {}, octets
    split = split_udh(octets)
    assert split is not None
    return split


def packed_octets(encoded: Encoded, part: Part) -> int:
    _, payload = user_data(part)
    header = len(part.short_message) - len(payload)
    return header + (-(-len(payload) * 7 // 8) if encoded.data_coding == 0 else len(payload))


@given(lanes(), st.integers(0, 1 << 20))
def test_joined_parts_are_the_text(lane: tuple[TextEncoder, Alphabet, LongMode, str], reference: int) -> None:
    """Whatever the alphabet and the mode, the receiver joins the parts to the text that was sent."""
    encoder, _, _, text = lane
    encoded = encoder.encode(text, reference)
    joined = b"".join(user_data(part)[1] for part in encoded.parts)
    assert decode_text(encoded.data_coding, joined, user_data(encoded.parts[0])[0]) == text


@given(lanes(), st.integers(0, 1 << 20))
def test_parts_are_numbered(lane: tuple[TextEncoder, Alphabet, LongMode, str], reference: int) -> None:
    """Parts count from 1 to their number under one reference, and a text of one part says nothing of parts."""
    encoder, _, long, text = lane
    parts = encoder.encode(text, reference).parts
    places = [concat(user_data(part)[0], tlvs_of(part)) for part in parts]
    if len(parts) == 1:
        assert places == [None]
        return
    mask = 0xFF if long == "udh8" else 0xFFFF
    assert [(p.reference, p.part_number, p.part_count) for p in places if p] == [
        (reference & mask, number, len(parts)) for number in range(1, len(parts) + 1)
    ]


@given(lanes())
def test_no_part_is_longer_than_a_message(lane: tuple[TextEncoder, Alphabet, LongMode, str]) -> None:
    """No part takes more than 140 octets packed, with the header that the SMSC adds to SAR parts."""
    encoder, _, long, text = lane
    encoded = encoder.encode(text, 0)
    for part in encoded.parts:
        if part.short_message:
            added = 0
            if long == "sar" and len(encoded.parts) > 1:
                added = 5 if part.esm_class & 0x40 else 6
            assert packed_octets(encoded, part) + added <= 140


@given(lanes())
def test_no_pair_is_torn(lane: tuple[TextEncoder, Alphabet, LongMode, str]) -> None:
    """Each part can be read alone: no escape and no surrogate is in another part than its second half."""
    encoder, _, _, text = lane
    encoded = encoder.encode(text, 0)
    assert "".join(decode_text(encoded.data_coding, p, e) for e, p in map(user_data, encoded.parts)) == text


@given(lanes())
def test_count_is_the_number_of_parts(lane: tuple[TextEncoder, Alphabet, LongMode, str]) -> None:
    """What intake counts is what dispatch sends."""
    encoder, _, _, text = lane
    assert encoder.count(text) == len(encoder.encode(text, 0).parts)


@given(st.text())
def test_transliteration_is_stable(text: str) -> None:
    """A second transliteration changes nothing."""
    once = gsm7.DEFAULT.transliterate(text)
    assert gsm7.DEFAULT.transliterate(once) == once


@given(st.text(REPERTOIRE["gsm7"]))
def test_transliteration_leaves_what_is_encodable(text: str) -> None:
    """A text that the table carries is not touched."""
    assert gsm7.DEFAULT.transliterate(text) == text


@given(st.text() | st.text("".join(REPERTOIRE.values())))
def test_encode_and_decode_are_inverse(text: str) -> None:
    """A text that a table carries comes back from its septets."""
    for locking in (0, 3):
        for single in (0, 2, 3):
            table = gsm7.table_for(locking, single)
            octets = table.encode(text)
            assert octets is None or table.decode(octets) == text


TLVS = st.dictionaries(st.sampled_from([0x001E, 0x020C, 0x020E, 0x020F, 0x0423, 0x0424, 0x0427]), st.binary(max_size=9))
ELEMENTS = st.dictionaries(st.sampled_from([0x00, 0x08, 0x24, 0x25]), st.binary(max_size=5))
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            b"id:",
            b"sub:001 ",
            b"stat:",
            b"DELIVRD",
            b"err:",
            b"submit date:",
            b"2611220130",
            b" ",
            b"text:",
            b"\0",
            b"7f",
        ]
    )
    | st.binary(max_size=3)
).map(b"".join)


@given(st.integers(0, 255), st.binary(max_size=80), ELEMENTS)
def test_any_payload_is_text(data_coding: int, payload: bytes, elements: dict[int, bytes]) -> None:
    """Every payload in every data coding is some text."""
    assert isinstance(decode_text(data_coding, payload, elements), str)


@given(st.binary(max_size=80), TLVS, ELEMENTS)
def test_any_header_is_read_or_refused(octets: bytes, tlvs: dict[int, bytes], elements: dict[int, bytes]) -> None:
    """A header is cut where it says, or refused; a place is within its count, or none."""
    split = split_udh(octets)
    if split is not None:
        assert octets.endswith(split[1])
        assert len(octets) - len(split[1]) == 1 + octets[0]
    place = concat(elements, tlvs)
    assert place is None or 1 <= place.part_number <= place.part_count


@given(st.integers(0, 255), FRAGMENTS, TLVS)
def test_any_octets_are_a_receipt_or_not(esm_class: int, octets: bytes, tlvs: dict[int, bytes]) -> None:
    """Nothing raises, what esm_class calls a receipt is one, and an id never has a space in it or more than 64 octets."""
    receipt = parse(esm_class, octets, tlvs)
    if esm_class & 0x3C in (0x04, 0x20):
        assert receipt is not None
    if receipt is not None and not tlvs:
        assert " " not in receipt.message_id
        assert len(receipt.message_id) <= 64


@given(st.integers(0, 1 << 64), st.integers(0, 6), st.booleans(), st.integers(0, 1 << 64))
def test_numeric_ids_meet(number: int, zeros: int, upper: bool, other: int) -> None:
    """One number in two bases, paddings and cases is one key, and two numbers are two."""
    pad = "0" * zeros
    hexadecimal = pad + (f"{number:X}" if upper else f"{number:x}")
    decimal = pad + str(number)
    assert canonical_resp(hexadecimal, "resp_hex_dlr_dec") == canonical_receipt(str(number), "resp_hex_dlr_dec")
    assert canonical_resp(decimal, "resp_dec_dlr_hex") == canonical_receipt(f"{number:x}", "resp_dec_dlr_hex")
    assert canonical_resp(hexadecimal, "both_hex") == canonical_receipt(f"{number:x}", "both_hex")
    assert canonical_resp(hexadecimal, "same") == canonical_receipt(f"{number:x}", "same")
    assume(number != other)
    assert canonical_resp(hexadecimal, "resp_hex_dlr_dec") != canonical_receipt(str(other), "resp_hex_dlr_dec")
    assert canonical_resp(str(number), "same") != canonical_receipt(str(other), "same")


@given(st.text(), ID_FORMATS)
def test_any_id_has_a_key(message_id: str, id_format: IdFormat) -> None:
    """Whatever an SMSC calls a message, it has a key, and the key of a key without a base is itself."""
    assert isinstance(canonical_receipt(message_id, id_format), str)
    key = canonical_resp(message_id, "same")
    assert canonical_resp(key, "same") == key
