"""GSM 7-bit text: the default alphabet of 3GPP TS 23.038 with the Spanish and Portuguese shift tables.

SMPP carries one septet in each octet and the SMSC packs them for the radio, so nothing here packs.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final

__all__ = [
    "DEFAULT",
    "ESCAPE",
    "IE_LOCKING_SHIFT",
    "IE_SINGLE_SHIFT",
    "PORTUGUESE",
    "PORTUGUESE_LANGUAGE",
    "SPANISH",
    "SPANISH_LANGUAGE",
    "Table",
    "table_for",
]

ESCAPE: Final = 0x1B

# Information elements of a user data header that choose the shift tables (TS 23.040 9.2.3.24.15 and .16).
IE_SINGLE_SHIFT: Final = 0x24
IE_LOCKING_SHIFT: Final = 0x25

# National language identifiers (TS 23.038 6.2.1.2.4).
SPANISH_LANGUAGE: Final = 2
PORTUGUESE_LANGUAGE: Final = 3

# TS 23.038 6.2.1 and A.3.3, in order of septet; 0x1B is the escape. Spanish has no locking shift table.
_LOCKING: Final = {
    0: (
        "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
        "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
    ),
    PORTUGUESE_LANGUAGE: (
        "@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ !\"#º%&'()*+,-./0123456789:;<=>?"
        "ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà"
    ),
}

# TS 23.038 6.2.1.1, A.2.2 and A.2.3: what a septet means after an escape. Both national tables keep the default one.
_EXTENSION: Final = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
_ACUTE: Final = {0x49: "Í", 0x4F: "Ó", 0x55: "Ú", 0x69: "í", 0x6F: "ó", 0x75: "ú"}
_SINGLE: Final = {
    0: _EXTENSION,
    SPANISH_LANGUAGE: _EXTENSION | _ACUTE | {0x09: "ç", 0x41: "Á", 0x61: "á"},
    PORTUGUESE_LANGUAGE: _EXTENSION
    | _ACUTE
    | dict(zip((0x05, 0x09, 0x0B, 0x0C, 0x0E, 0x0F), "êçÔôÁá", strict=True))
    | dict(zip((0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19), "ΦΓΩΠΨΣΘ", strict=True))
    | dict(zip((0x1F, 0x41, 0x5B, 0x5C, 0x61, 0x7B, 0x7C, 0x7F), "ÊÀÃÕÂãõâ", strict=True)),
}

# Replacements that Unicode's compatibility decomposition does not give.
_CLOSEST: Final = {
    ord(character): closest
    for characters, closest in (
        ("`´\u2018\u2019\u201a\u201b\u2032", "'"),  # single quotation marks, accents written alone, prime
        ("«»\u201c\u201d\u201e\u201f\u2033", '"'),  # double quotation marks, double prime
        ("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),  # hyphens, dashes, minus sign
        ("•·", "-"),
        ("\u2044", "/"),  # the fraction slash, also inside the decomposition of one half
        ("°", "o"),  # written for the masculine ordinal: N° 5
        ("×", "x"),
        ("\t", " "),
        ("\u2028\u2029", "\n"),
        ("©", "(C)"),
        ("®", "(R)"),
        ("Œ", "OE"),
        ("œ", "oe"),
        # Soft hyphen, zero-width space, directional marks, word joiner, byte order mark. The zero-width joiner is
        # not here: it belongs to emoji.
        ("\u00ad\u200b\u200e\u200f\u2060\ufeff", ""),
    )
    for character in characters
}


class Table:
    """One pair of shift tables: text to septets and back, one septet in each octet.

    ``elements`` holds the information elements that announce the pair in a user data header, empty for the default.
    """

    __slots__ = ("_codes", "_foreign", "_marks", "_plain", "_shifted", "elements")

    def __init__(self, locking: int, single: int) -> None:
        main, extension = _LOCKING[locking], _SINGLE[single]
        locking_element = bytes((IE_LOCKING_SHIFT, 1, locking)) if locking else b""
        single_element = bytes((IE_SINGLE_SHIFT, 1, single)) if single else b""
        self.elements: Final = locking_element + single_element

        # A one-to-one map of 256 codes takes a sixth of the time of a dictionary of characters. So a character that
        # needs an escape is first encoded as its septet with the high bit set, a mark expanded only if one is there.
        # Python builds the fast map only where NUL is code 0, so "@", which is septet 0, starts as a mark too.
        codes = ["\0", *main[1:]] + ["@"] + ["\ufffe"] * 127
        codes[ESCAPE] = "\ufffe"  # "no character" to the codecs module
        marks = [(b"\x80", b"\0")]
        for septet, character in extension.items():
            if character not in main:
                codes[0x80 | septet] = character
                marks.append((bytes((0x80 | septet,)), bytes((ESCAPE, septet))))
        self._codes = codecs.charmap_build("".join(codes))
        self._marks = tuple(marks)

        self._plain = main + "\ufffd" * 128
        # 6.2.1.1: an escape before a septet that the table lacks shows the character of the main table, and an escape
        # before another, or before nothing, shows a space.
        self._shifted = {main[septet]: character for septet, character in extension.items()}
        self._shifted["\x1b"] = self._shifted[""] = " "
        carried = set(main) - {"\x1b"} | set(extension.values())
        self._foreign = re.compile(f"[^{re.escape(''.join(sorted(carried)))}]")

    def encode(self, text: str) -> bytes | None:
        """Return the septets of `text`, or None where a character of it is in neither table."""
        septets, _ = codecs.charmap_encode(text, "ignore", self._codes)
        if len(septets) != len(text) or 0 in septets:
            return None
        if septets.isascii():
            return septets
        for mark, expansion in self._marks:
            septets = septets.replace(mark, expansion)
        return septets

    def decode(self, septets: bytes) -> str:
        """Return the text of `septets`; an octet above 0x7F becomes U+FFFD, and nothing raises."""
        text, _ = codecs.charmap_decode(septets, "strict", self._plain)
        if "\x1b" not in text:
            return text
        return _ESCAPED.sub(self._unescape, text)

    def transliterate(self, text: str) -> str:
        """Return `text` with each character that is not in the tables replaced by the closest that is.

        A character without a close one (an emoji, another script) stays, so the result may still not be encodable.
        """
        return self._foreign.sub(self._replace, unicodedata.normalize("NFC", text))

    def _unescape(self, match: re.Match[str]) -> str:
        return self._shifted.get(match[1], match[1])

    def _replace(self, match: re.Match[str]) -> str:
        character = match[0]
        closest = character.translate(_CLOSEST)
        if closest == character:
            # Without its accents; nothing is left of an accent that no letter before it took up in NFC.
            decomposed = unicodedata.normalize("NFKD", character)
            closest = "".join(c for c in decomposed if not unicodedata.combining(c)).translate(_CLOSEST)
        return character if self._foreign.search(closest) else closest


_ESCAPED: Final = re.compile("\x1b(.?)", re.DOTALL)

_TABLES: Final = {(locking, single): Table(locking, single) for locking in _LOCKING for single in _SINGLE}

DEFAULT: Final = _TABLES[0, 0]
SPANISH: Final = _TABLES[0, SPANISH_LANGUAGE]
# The locking table alone: it has every Portuguese letter and both ordinals at one septet each. The single shift table
# would add only Greek, at three octets more of header.
PORTUGUESE: Final = _TABLES[PORTUGUESE_LANGUAGE, 0]


def table_for(locking: int, single: int) -> Table:
    """Return the pair of tables for two language identifiers, the default table for a language unknown here."""
    return _TABLES[locking if locking in _LOCKING else 0, single if single in _SINGLE else 0]
