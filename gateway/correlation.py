"""From a provider's message id back to the message: what is remembered of every accepted part, and of parts in doubt.

Keys carry the *account*, what a provider's ids are unique in: a receipt may come on any bind of it. A row carries the
destination, because providers use ids again and a stale row must not take another message's receipt.
"""

from __future__ import annotations

import msgspec

from gateway.model import Message, TrafficClass

FINAL_MARK = b"final"
"""In place of a row whose receipt has been published: a second receipt is a repetition."""


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
    """As the provider wrote it in its answer."""


def attempt_key(what: Message | Sent) -> str:
    """One attempt at one message, as a key of the store: of its claim, its doubts, and the states of its parts."""
    return f"{what.tenant}/{what.message_id}/{what.attempt}"


_encode = msgspec.json.Encoder().encode
decode_sent = msgspec.json.Decoder(Sent).decode


def encode_sent(row: Sent) -> str:
    """JSON, so that a person can read it in the store, and text, since its Lua knows no binary of MessagePack."""
    return _encode(row).decode()


def sent(message: Message, lane: str, parts: int = 1, number: int = 0, provider_message_id: str = "") -> Sent:
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
    )
