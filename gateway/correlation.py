"""From a provider's message id back to the message: what is remembered of every accepted part, and of parts in doubt.

Keys carry the *account*, what a provider's ids are unique in: a receipt may come on any bind of it. A row carries the
destination, because providers use ids again and a stale row must not take another message's receipt.

A row is the JSON of `Sent`. Once something has been published of it, the status stands in front (`delivered[…]`), and when
nothing can follow any more it stands alone, so that a repetition is known: `opened` reads all three.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import EventStatus, Message, TrafficClass, encode_message
from smpp.receipt import canonical_receipt

FINAL_MARK = b"final"
"""In place of a row whose receipt has been published: an SMSC says nothing after it but the same again."""

REMEMBER_S = 7 * 86_400
"""How long a status is known again: Meta repeats its callbacks for up to 7 days. Rows of HTTP lanes live at least so long."""

ROW = ord("[")
"""What a row begins with of which nothing has been told since it was stored."""


class Sent(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a receipt's event needs to know of the message it is about."""

    to: str
    message_id: str
    job_id: str
    campaign: str
    tenant: str
    class_: TrafficClass
    lane: str
    attempt: int
    parts: int = 1
    number: int = 0
    """Which part, from 0."""
    id: str = ""
    """As the provider wrote it in its answer; empty for what is in doubt."""
    channel: str = "sms"
    portfolio: str = ""
    """Of WhatsApp: whose place it has, which counts from its delivery."""
    plan: str = ""
    """The whole message, where its job says what to do if this fails, and no earlier attempt may have been accepted."""
    at: int = 0
    """When it was written first, Unix seconds; 0 for what is in doubt."""
    template: str = ""
    """Of WhatsApp: what a refusal may be about, as `whatsapp.template_of` gives it."""
    first_attempt: int = 1


def attempt_key(what: Message | Sent) -> str:
    """One attempt at one message, as a key of the store: of its claim and its doubts."""
    return f"{what.tenant}/{what.message_id}/{what.attempt}"


def parts_key(sent: Sent) -> str:
    """All parts of one message as a key of the store, whichever attempts got them accepted: of their states."""
    return f"{sent.tenant}/{sent.message_id}/{sent.first_attempt}"


def id_key(account: str, provider_message_id: str) -> str:
    """Where the row is of what a provider over HTTP has accepted: it writes ids in callbacks as in answers."""
    return f"d:{account}:{canonical_receipt(provider_message_id, 'same')}"


def reference_key(account: str, reference: str) -> str:
    """Where the row is of what is known by our reference, which the provider echoes: the `attempt_key`.

    Of what is in doubt, and of what is accepted by a provider whose callbacks may not carry the id of its answer.
    """
    return f"r:{account}:{reference}"


def doubt_key(account: str, number: str) -> str:
    """Where the rows are of what is in doubt for a number, written with its country code or without; others end like it."""
    return f"u:{account}:{number[-7:]}"


_encode = msgspec.json.Encoder().encode
decode_sent = msgspec.json.Decoder(Sent).decode


def encode_sent(row: Sent) -> str:
    """JSON, so that a person can read it in the store, and text, since its Lua knows no binary of MessagePack."""
    return _encode(row).decode()


def sent(
    message: Message,
    lane: str,
    parts: int = 1,
    number: int = 0,
    provider_message_id: str = "",
    portfolio: str = "",
    at: int = 0,
    template: str = "",
) -> Sent:
    return Sent(
        message.to,
        message.message_id,
        message.job_id,
        message.campaign,
        message.tenant,
        message.class_,
        lane,
        message.attempt,
        parts,
        number,
        provider_message_id,
        message.channel,
        portfolio,
        encode_message(message).decode() if message.plan and not message.doubtful else "",
        at,
        template,
        message.first_attempt,
    )


def opened(row: bytes) -> tuple[str, Sent | None]:
    """Return what was told last of a message, and the message if more may follow."""
    start = row.find(b"[")
    if start < 0:
        return row.decode(), None
    message = decode_sent(row[start:])
    return row[:start].decode() or (EventStatus.SUBMITTED if message.id else EventStatus.UNKNOWN), message


_BEGUN = frozenset((EventStatus.UNKNOWN, EventStatus.SUBMITTED))
_MAY_FOLLOW: Mapping[str, frozenset[EventStatus]] = {
    EventStatus.SUBMITTED: frozenset((EventStatus.UNKNOWN,)),
    EventStatus.DELIVERED: _BEGUN,
    EventStatus.FAILED: _BEGUN,
    EventStatus.EXPIRED: _BEGUN,
    EventStatus.READ: _BEGUN | {EventStatus.DELIVERED},
}
LASTING = frozenset((EventStatus.SUBMITTED, EventStatus.DELIVERED))
"""What more may be told after."""


def tellable(status: str) -> bool:
    """Whether it is a status that a callback can bring."""
    return status in _MAY_FOLLOW


def follows(before: str, status: str) -> bool:
    """Whether a status takes a message forward: submitted, delivered, read; failed and expired end what is not delivered."""
    return before in _MAY_FOLLOW[status]
