"""The bodies of submit_sm that a lane writes for messages, and what its binds report."""

from __future__ import annotations

import pytest

from gateway.config import Lane
from gateway.inbox import Inbox
from gateway.providers.contract import Unsendable
from gateway.providers.smpp import SmppEncoder, SmppPort
from gateway.tables import Secret
from smpp.link import Failure, FailureKind
from smpp.pdu import SubmitSM
from smpp.session import State
from tests.providers.suite import NOW, a_message


def a_lane(**keys: object) -> Lane:
    return Lane(name="a", host="h", port=1, system_id="s", password=Secret("p"), rate=1, **keys)


def encoder(**keys: object) -> SmppEncoder:
    return SmppEncoder(a_lane(**keys))


@pytest.mark.parametrize("to", ["+1", "+573001110000", "+" + "1" * 20])
def test_a_number_is_written_without_its_plus_sign(to: str) -> None:
    """destination_addr has 20 digits at most (SMPP 3.4 §5.2.9)."""
    (body,) = encoder().encode(a_message(to=to), NOW)
    assert SubmitSM.decode_body(body, 0).destination_addr == to[1:]


@pytest.mark.parametrize(
    "to",
    [
        "",
        "+",
        "573001110000",
        "+57300111000x",
        "+57\n",
        "+57\0",
        "+٣٠٠",
        "+" + "1" * 21,
        "ana.maria.rodriguez.gomez@mail.example",
        "ana@señal.example",
        "ana@пример.example",
    ],
)
def test_what_is_no_number_is_not_written(to: str) -> None:
    """Such as the mail address of a message that falls back to SMS; the error does not quote it."""
    with pytest.raises(Unsendable) as caught:
        encoder().encode(a_message(to=to), NOW)
    assert caught.value.code == "to"
    assert str(caught.value) == "the recipient is no number of 20 digits at most"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("😀" * 36, {}),
        ("{" * 81, {}),
        ("a" * 71, {"alphabets": ("ucs2",)}),
        ("ñ" * 71, {"alphabets": ("ucs2",)}),
        ("⒇" * 41, {"alphabets": ("gsm7",), "transliterate": True}),
        ("a" * 161, {}),
    ],
)
def test_long_messages_to_one_person_are_told_apart(text: str, keys: dict[str, object]) -> None:
    """However few characters a text of two parts has: the same reference would join the parts of two messages."""
    made = encoder(long_messages="udh16", **keys)
    messages = [made.encode(a_message(text, to="+573001110000", message_id=f"job-1:{n}"), NOW) for n in range(2)]
    references = [[SubmitSM.decode_body(body, 0).short_message[3:5] for body in bodies] for bodies in messages]
    assert [len(parts) for parts in references] == [2, 2]
    assert references[0][0] == references[0][1] != references[1][0] == references[1][1]


@pytest.mark.parametrize("alphabet", ["gsm7", "gsm7-spanish", "gsm7-portuguese", "latin1", "ucs2"])
@pytest.mark.parametrize("text", ["{" * 70, "~" * 70, "😀" * 35, "€" * 35, "⒇" * 35])
def test_a_text_without_a_reference_takes_one_part(text: str, alphabet: str) -> None:
    """Where no reference is made, none is needed: 70 characters of ASCII, or 35 of any kind, fit in one part."""
    lane = encoder(alphabets=(alphabet, "ucs2"), transliterate=True)
    assert lane.count(text) == 1


def test_one_bind_of_a_pair_that_comes_up_does_not_hide_why_the_other_is_down() -> None:
    """A slot is up when both are, and says why it is not until then."""
    port = SmppPort(a_lane(bind="txrx"), Inbox(1), lambda: None)
    sender, receiver = port._links
    assert port.down_reason == "not connected yet"
    port.link_bound(sender)
    assert port.down_reason == "not connected yet"
    port.link_down(receiver, Failure(FailureKind.CREDENTIALS, "ESME_RINVPASWD"), 60.0)
    port.link_down(sender, Failure(FailureKind.LOST, "connection closed by the peer"), 1.0)
    port.link_bound(sender)
    assert port.down_reason == "credentials: ESME_RINVPASWD"
    port.link_bound(receiver)
    assert port.down_reason == ""


def test_a_slot_can_send_while_its_transmitter_is_bound() -> None:
    """A receiver that is refused takes no lane down: it says only why the slot is not up."""
    port = SmppPort(a_lane(bind="txrx"), Inbox(1), lambda: None)
    sender, receiver = port._links
    receiver._connection.session.state = State.BOUND_RX
    assert not port.bound
    sender._connection.session.state = State.BOUND_TX
    port.link_bound(sender)
    receiver._connection.session.state = State.CLOSED
    port.link_down(receiver, Failure(FailureKind.ALREADY_BOUND, "ESME_RALYBND"), 60.0)
    assert (port.bound, port.down_reason) == (True, "already_bound: ESME_RALYBND")
