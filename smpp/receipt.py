"""Delivery receipts: what an SMSC says of a message, in whatever form it says it (SMPP 3.4 appendix B and 5.2.12)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, Literal

import msgspec

from smpp.constants import Tag

__all__ = [
    "IdFormat",
    "MessageState",
    "Receipt",
    "canonical_receipt",
    "canonical_resp",
    "format_receipt",
    "parse",
]


class MessageState(IntEnum):
    """The message_state of SMPP 3.4 5.2.28."""

    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8


# The words of appendix B, in their order of state; and the same states written out, which some SMSCs do. SKIPPED is that of
# SMPP 5.0 for a message that the SMSC decided not to deliver. FAILED is the word of several operators, and their last.
_WORDS: Final = ("ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD")
_STATES: Final = {
    **{state.name: state for state in MessageState},
    **dict(zip(_WORDS, MessageState, strict=True)),
    "UNDELIVERED": MessageState.UNDELIVERABLE,
    "FAILED": MessageState.UNDELIVERABLE,
    "SKIPPED": MessageState.REJECTED,
}
_DELIVERED: Final = MessageState.DELIVERED  # looked up in its class it costs more than what is done with it
_UNKNOWN: Final = MessageState.UNKNOWN
_STATE_OF_VALUE: Final = {**{int(state): state for state in MessageState}, 9: MessageState.REJECTED}  # 9 is SKIPPED
_FAILED: Final = frozenset(
    (MessageState.EXPIRED, MessageState.DELETED, MessageState.UNDELIVERABLE, MessageState.REJECTED)
)

# What esm_class says of a deliver_sm (5.2.12): bits 5 to 2.
_KIND: Final = 0x3C
_INTERMEDIATE: Final = 0x20
_RECEIPT_KINDS: Final = (0x04, _INTERMEDIATE)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """One delivery receipt. What it did not say is an empty string, None, or the state UNKNOWN.

    `message_id` is as the SMSC wrote it, see `canonical_receipt`. `stat` is the raw word of the state and `error` the
    operator's code, also raw. `network_error` is network type and code (5.3.2.31). `submit_at` and `done_at` are 10 to
    14 digits in the operator's local time. `intermediate` marks a notification before the end (5.2.12).
    """

    message_id: str
    state: MessageState
    stat: str
    error: str
    submit_at: str
    done_at: str
    intermediate: bool = False
    network_error: tuple[int, int] | None = None

    @property
    def final(self) -> bool:
        """Whether no other state can follow.

        ACCEPTED and UNKNOWN are not final: the first is followed by more at most operators, the second says nothing.
        A failure told in an intermediate notification is that of one attempt.
        """
        if self.state is _DELIVERED:
            return True
        return self.state in _FAILED and not self.intermediate


# The shape of appendix B, as nearly every SMSC writes it: groups in the order of _FIELDS. Possessive repeats, because
# nothing is gained by trying a shorter value.
_STANDARD: Final = re.compile(
    r"id:([^ ]{1,64}+) sub:[0-9]{3} dlvrd:[0-9]{3} submit date:([0-9]{10,14}+) done date:([0-9]{10,14}+) "
    r"stat:([A-Z]{1,15}+) err:([0-9A-Za-z]{1,3}+)(?: [Tt]ext:|\Z)"
).match


def _search(name: str, value: str) -> Callable[[str], re.Match[str] | None]:
    # A value ends where a separator or the text does: in "err: text:" the error is missing, it is not "text".
    return re.compile(rf"\b{name}:\s*({value})(?=[\s,;\0]|\Z)", re.IGNORECASE | re.ASCII).search


# One field each, for every other shape. The first of two equal fields is taken: what follows `text:` is anybody's words.
_ID: Final = _search("id", r"[^\s,;:\0]{1,64}")
_STAT: Final = _search("stat", "[A-Z]{1,15}")
_FIELDS: Final = (
    _ID,
    _search(r"submit\s*date", r"\d{10,14}"),
    _search(r"done\s*date", r"\d{10,14}"),
    _STAT,
    _search("err", "[0-9A-Z]{1,8}"),
)


def parse(esm_class: int, short_message: bytes, tlvs: Mapping[int, bytes]) -> Receipt | None:
    """Return the receipt that a deliver_sm or data_sm carries, or None if it carries a message.

    It is a receipt if esm_class says so, however little can be read in it, or if, whatever esm_class says, it has both
    an id and a state: as optional parameters, or in a text that begins with `id:` and names a state (some SMSCs never
    set the bits). Optional parameters go before the text; the text fills in the rest. Nothing raises.
    """
    kind = esm_class & _KIND
    text = (short_message or tlvs.get(Tag.MESSAGE_PAYLOAD, b"")).decode("latin-1")
    if (match := _STANDARD(text)) is not None:
        message_id, submit_at, done_at, stat, error = match.groups()
    elif kind in _RECEIPT_KINDS or _has_shape(text, tlvs):
        message_id, submit_at, done_at, stat, error = [_field(search, text) for search in _FIELDS]
    else:
        return None
    state = _STATES.get(stat.upper(), _UNKNOWN)
    intermediate = kind == _INTERMEDIATE
    if not tlvs:
        return Receipt(message_id, state, stat, error, submit_at, done_at, intermediate)

    message_id = _tlv_id(tlvs) or message_id
    state = _tlv_state(tlvs) or state
    tlv_error, network_error = _network_error(tlvs.get(Tag.NETWORK_ERROR_CODE, b""))
    return Receipt(message_id, state, stat, error or tlv_error, submit_at, done_at, intermediate, network_error)


def _has_shape(text: str, tlvs: Mapping[int, bytes]) -> bool:
    if _tlv_id(tlvs) and _tlv_state(tlvs):
        return True
    return text.lstrip()[:3].lower() == "id:" and bool(_field(_ID, text)) and _field(_STAT, text).upper() in _STATES


def _tlv_id(tlvs: Mapping[int, bytes]) -> str:
    return tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").decode("latin-1").strip("\0 ")


def _tlv_state(tlvs: Mapping[int, bytes]) -> MessageState | None:
    return _STATE_OF_VALUE.get(int.from_bytes(tlvs.get(Tag.MESSAGE_STATE, b""), "big"))


def _field(search: Callable[[str], re.Match[str] | None], text: str) -> str:
    match = search(text)
    return match[1] if match is not None else ""


def _network_error(value: bytes) -> tuple[str, tuple[int, int] | None]:
    """Return the error of network_error_code as text, and its network type and code."""
    if len(value) != 3:
        return "", None
    # Some SMSCs send the three digits of `err` instead; no network type is as high as the code of a digit.
    if value.isdigit():
        return value.decode("ascii"), None
    code = int.from_bytes(value[1:], "big")
    return f"{code:03d}", (value[0], code)


def format_receipt(
    *,
    message_id: str,
    state: MessageState,
    submit_at: str,
    done_at: str,
    error: str = "000",
    text: str = "",
) -> bytes:
    """Return the text of a receipt in the shape of appendix B, with the first 20 characters of the message."""
    delivered = "001" if state is MessageState.DELIVERED else "000"
    return (
        f"id:{message_id} sub:001 dlvrd:{delivered} submit date:{submit_at} done date:{done_at} "
        f"stat:{_WORDS[state - 1]} err:{error} text:{text[:20]}"
    ).encode("latin-1", "replace")


IdFormat = Literal["same", "resp_hex_dlr_dec", "resp_dec_dlr_hex", "both_hex"]
"""How an SMSC writes the same message id in its submit_sm_resp and in its receipt."""

_RESP_BASE: Final[dict[IdFormat, int]] = {"same": 0, "resp_hex_dlr_dec": 16, "resp_dec_dlr_hex": 10, "both_hex": 16}
_RECEIPT_BASE: Final[dict[IdFormat, int]] = {"same": 0, "resp_hex_dlr_dec": 10, "resp_dec_dlr_hex": 16, "both_hex": 16}

_HEX_DIGITS: Final = "0123456789abcdefABCDEF-"


def canonical_resp(message_id: str, id_format: IdFormat) -> str:
    """Return the key under which the id of a submit_sm_resp meets the id of its receipt (see `canonical_receipt`)."""
    return _canonical(message_id, _RESP_BASE[id_format])


def canonical_receipt(message_id: str, id_format: IdFormat) -> str:
    """Return the key under which the id of a receipt meets the id of its submit_sm_resp.

    A number becomes decimal. With "same", and where the id is no number of its base, the id is kept as it is, but for
    this: surrounding white space goes, and an id of nothing but hexadecimal digits (and dashes, as in a UUID) loses
    its leading zeros and is folded to lower case. So two ids meet that differ only in what SMSCs are known to change
    between answer and receipt; case keeps other ids apart. Nothing raises.
    """
    return _canonical(message_id, _RECEIPT_BASE[id_format])


def _canonical(message_id: str, base: int) -> str:
    message_id = message_id.strip()
    # int() also reads signs, underscores and the digits of every script: those are no numbers here.
    if base and message_id.isalnum() and message_id.isascii():
        try:
            return str(int(message_id, base))
        except ValueError:
            pass
    if message_id.strip(_HEX_DIGITS):
        return message_id
    return message_id.lstrip("0").lower() or message_id[:1]
