"""Delivery receipts in the many shapes that SMSCs give them, and the ids that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smpp.receipt import (
    IdFormat,
    MessageState,
    Receipt,
    canonical_receipt,
    canonical_resp,
    format_receipt,
    parse,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "receipts.json").read_text(encoding="utf-8"))


def fields(receipt: Receipt | None) -> dict[str, Any] | None:
    if receipt is None:
        return None
    return {
        "message_id": receipt.message_id,
        "state": receipt.state.name,
        "stat": receipt.stat,
        "error": receipt.error,
        "submit_at": receipt.submit_at,
        "done_at": receipt.done_at,
        "intermediate": receipt.intermediate,
        "network_error": receipt.network_error,
        "final": receipt.final,
    }


ABSENT = {"stat": "", "error": "", "submit_at": "", "done_at": "", "intermediate": False, "network_error": None}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    """Each receipt of the vectors is read as it is meant, and each message is left a message."""
    expected = vector["receipt"] and ABSENT | vector["receipt"]
    if expected and expected["network_error"]:
        expected["network_error"] = tuple(expected["network_error"])
    tlvs = {int(tag, 16): bytes.fromhex(value) for tag, value in vector.get("tlvs", {}).items()}
    assert fields(parse(vector["esm_class"], vector["short_message"].encode("latin-1"), tlvs)) == expected


@pytest.mark.parametrize(
    ("value", "word", "final"),
    [
        (1, "ENROUTE", False),
        (2, "DELIVRD", True),
        (3, "EXPIRED", True),
        (4, "DELETED", True),
        (5, "UNDELIV", True),
        (6, "ACCEPTD", False),
        (7, "UNKNOWN", False),
        (8, "REJECTD", True),
    ],
)
def test_states_in_both_spellings(value: int, word: str, final: bool) -> None:
    """The value of message_state and the word of appendix B are the same state, final or not (3.4 5.2.28)."""
    by_tlv = parse(4, b"", {0x0427: bytes((value,))})
    by_word = parse(4, f"id:1 stat:{word}".encode(), {})
    assert by_tlv is not None
    assert by_word is not None
    assert by_tlv.state is by_word.state is MessageState(value)
    assert by_tlv.final is by_word.final is final


@pytest.mark.parametrize("state", MessageState)
def test_formatted_receipt_is_read_back(state: MessageState) -> None:
    """What the simulator writes is what the gateway reads."""
    octets = format_receipt(
        message_id="a1", state=state, submit_at="2611220130", done_at="2611220131", error="027", text="Hola"
    )
    receipt = parse(4, octets, {})
    assert receipt is not None
    assert (receipt.message_id, receipt.state, receipt.error) == ("a1", state, "027")
    assert (receipt.submit_at, receipt.done_at) == ("2611220130", "2611220131")


def test_format_receipt() -> None:
    """The text has the shape of appendix B, with at most 20 characters of the message."""
    octets = format_receipt(
        message_id="0123456789",
        state=MessageState.DELIVERED,
        submit_at="2611220130",
        done_at="2611220131",
        text="Estimado cliente, su factura",
    )
    assert octets == (
        b"id:0123456789 sub:001 dlvrd:001 submit date:2611220130 done date:2611220131 "
        b"stat:DELIVRD err:000 text:Estimado cliente, su"
    )


@pytest.mark.parametrize(
    ("id_format", "resp", "receipt"),
    [
        ("same", "1234567890", "1234567890"),
        ("same", "1234567890", "0001234567890"),
        ("same", "0A1B2C", "a1b2c"),
        ("same", "550E8400-E29B-41D4-A716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
        ("same", "zK_9-x", "zK_9-x "),
        ("same", "0", "000"),
        ("resp_hex_dlr_dec", "499602D2", "1234567890"),
        ("resp_hex_dlr_dec", "00499602d2", "01234567890"),
        ("resp_hex_dlr_dec", "0x499602d2", "1234567890"),
        ("resp_dec_dlr_hex", "1234567890", "499602d2"),
        ("both_hex", "0499602D2", "499602d2"),
        ("both_hex", "msg-77", "msg-77"),
    ],
)
def test_ids_of_one_message_meet(id_format: IdFormat, resp: str, receipt: str) -> None:
    """The id of the answer and the id of the receipt have one key, however the SMSC writes them."""
    assert canonical_resp(resp, id_format) == canonical_receipt(receipt, id_format)


@pytest.mark.parametrize(
    ("id_format", "one", "other"),
    [
        ("same", "123", "1230"),
        ("same", "aZ-x", "az-x"),  # base 62: case tells ids apart
        ("same", "00zz", "zz"),
        ("same", "1_0", "10"),
        ("same", "", "0"),
        ("resp_dec_dlr_hex", "1_0", "10"),
        ("resp_dec_dlr_hex", "+10", "10"),
        ("resp_dec_dlr_hex", "١٠", "10"),
        ("both_hex", "-1f", "1f"),
    ],
)
def test_ids_of_two_messages_stay_apart(id_format: IdFormat, one: str, other: str) -> None:
    """Only what SMSCs are known to change is folded."""
    assert canonical_resp(one, id_format) != canonical_resp(other, id_format)


def test_an_endless_number_is_an_id_like_another() -> None:
    """An id beyond what a decimal conversion takes does not raise."""
    assert canonical_resp("f" * 9999, "both_hex") == "f" * 9999
    assert canonical_resp("9" * 9999, "resp_dec_dlr_hex") == "9" * 9999
