"""The GSM 7-bit alphabet, its shift tables and its transliteration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import smpplib.gsm

from smpp import gsm7

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "gsm7.json").read_text(encoding="utf-8"))

PAIRS = [
    (locking_language, locking, single_language, single)
    for locking_language, locking in ((0, "default"), (3, "portuguese_locking"))
    for single_language, single in ((0, "default_extension"), (2, "spanish_single"), (3, "portuguese_single"))
]


def septets(table: str) -> dict[int, str]:
    return {int(septet, 16): character for septet, character in VECTORS[table]["septets"].items()}


def test_vectors_are_whole() -> None:
    """The vectors hold every character of the default alphabet and its ten extensions."""
    assert len(septets("default")) == len(septets("portuguese_locking")) == 127
    assert len(septets("default_extension")) == 10


@pytest.mark.parametrize(("locking_language", "locking", "single_language", "single"), PAIRS)
def test_every_character_of_the_specification(
    locking_language: int, locking: str, single_language: int, single: str
) -> None:
    """Each character of a pair of tables takes the septets of the specification, and comes back from them."""
    table = gsm7.table_for(locking_language, single_language)
    expected = {character: bytes((gsm7.ESCAPE, septet)) for septet, character in septets(single).items()}
    expected |= {character: bytes((septet,)) for septet, character in septets(locking).items()}
    assert {character: table.encode(character) for character in expected} == expected
    assert {character: table.decode(octets) for character, octets in expected.items()} == {c: c for c in expected}
    whole = "".join(expected)
    assert table.encode(whole) == b"".join(expected.values())
    assert table.decode(b"".join(expected.values())) == whole


@pytest.mark.parametrize(("locking_language", "locking", "single_language", "single"), PAIRS)
def test_nothing_else_is_encodable(locking_language: int, locking: str, single_language: int, single: str) -> None:
    """A character that is in neither table, NUL and escape among them, makes a text not encodable."""
    table = gsm7.table_for(locking_language, single_language)
    carried = set(septets(locking).values()) | set(septets(single).values())
    encodable = {chr(code) for code in range(0x3000) if table.encode(chr(code)) is not None}
    assert encodable == carried
    assert table.encode("hola \U0001f600") is None
    assert table.encode("hola\0") is None


def test_septets_of_the_single_table_decode_even_where_the_main_table_has_the_character() -> None:
    """Portuguese with both tables writes á from the main table, and reads it from either."""
    table = gsm7.table_for(3, 3)
    assert table.encode("á") == b"\x0f"
    assert table.decode(b"\x0f\x1b\x0f") == "áá"


def test_smpplib_agrees() -> None:
    """An independent encoder gives the same octets for what it knows (not §, nor the form feed)."""
    known = [c for c in smpplib.gsm.GSM_CHARACTER_TABLE if c not in "`\x1b"]
    assert len(known) == 135
    for character in known:
        assert gsm7.DEFAULT.encode(character) == smpplib.gsm.gsm_encode(character)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\x1b\x41", "A"),  # not in the extension table: the character of the main table
        (b"\x1b\x1b\x65", " e"),  # reserved for another extension table: a space
        (b"a\x1b", "a "),
        (b"\x1b", " "),
        (b"\x1b\x0a", "\f"),
        (b"\xe1a\xff", "\ufffda\ufffd"),
        (b"\x1b\xe1", "\ufffd"),
        (b"", ""),
    ],
)
def test_decode_of_what_the_tables_lack(octets: bytes, text: str) -> None:
    """Undefined septets show as 23.038 6.2.1.1 says, octets that are no septets as U+FFFD."""
    assert gsm7.DEFAULT.decode(octets) == text


def test_empty_text() -> None:
    """An empty text is encodable."""
    assert gsm7.DEFAULT.encode("") == b""


@pytest.mark.parametrize(
    ("table", "elements"),
    [
        (gsm7.DEFAULT, ""),
        (gsm7.SPANISH, "240102"),
        (gsm7.PORTUGUESE, "250103"),
        (gsm7.table_for(3, 3), "250103240103"),
    ],
)
def test_elements_announce_the_tables(table: gsm7.Table, elements: str) -> None:
    """A table knows the information elements that a receiver needs to read it."""
    assert table.elements.hex() == elements


def test_unknown_language_is_the_default() -> None:
    """A receiver ignores a language that it does not know (23.038 6.2.1.2.4)."""
    assert gsm7.table_for(99, 99) is gsm7.DEFAULT
    assert gsm7.table_for(2, 0) is gsm7.DEFAULT  # there is no Spanish locking table


@pytest.mark.parametrize(
    ("text", "closest"),
    [
        ("áíóú ÁÍÓÚ ãõâêôç ÃÕÂÊÔ", "aiou AIOU aoaeoc AOAEO"),
        ("ñÑ éÉ üÜ àèìòù ÇäöÄÖ ¿¡", "ñÑ éÉ üÜ àèìòù ÇäöÄÖ ¿¡"),
        ("\u201chola\u201d \u2018tú\u2019 «sí»", '"hola" \'tu\' "si"'),
        ("a\u2013b\u2014c\u2212d\u2026", "a-b-c-d..."),
        ("1\u00a0000\u202f000\t1", "1 000 000 1"),
        ("N° 5, 1º y 2ª, ½", "No 5, 1o y 2a, 1/2"),
        ("e\u0301 n\u0303 a\u0301 q\u0301", "é ñ a q"),  # decomposed by the sender
        ("\ufeffho\u200bla\u00ad", "hola"),
        ("d´Onofrio `x`", "d'Onofrio 'x'"),
        ("Visa® ™ ©", "Visa(R) TM (C)"),
        ("€ [x] {y} ~", "€ [x] {y} ~"),
    ],
)
def test_transliteration(text: str, closest: str) -> None:
    """Characters that GSM-7 lacks become close ones that it has, and those that it has stay."""
    assert gsm7.DEFAULT.transliterate(text) == closest
    assert gsm7.DEFAULT.encode(closest) is not None


@pytest.mark.parametrize(
    "text", ["\U0001f600", "\U0001f469\u200d\U0001f467", "❤\ufe0f", "\U0001f1e8\U0001f1f4", "日本", "\uff76"]
)
def test_transliteration_leaves_what_has_no_close_character(text: str) -> None:
    """Emoji, their joiners and other scripts stay, so that the text can still go out whole in UCS-2."""
    assert gsm7.DEFAULT.transliterate(text) == text


def test_transliteration_keeps_what_the_table_has() -> None:
    """With the Spanish table the accents stay and only the quotation marks change."""
    assert gsm7.SPANISH.transliterate("\u201cmás\u201d a\u0301") == '"más" á'
