"""What a provider says of a message, whoever it is, and the records that come of it. Pure."""

from __future__ import annotations

import msgspec

from gateway import events
from gateway.correlation import Sent, id_key, reference_key, tellable
from gateway.model import EventStatus
from gateway.outbox import Record
from gateway.providers.contract import Status, storable
from smpp.receipt import MessageState

OF_AN_SMSC = "receipt:"
"""Before the codes of receipts, which are not those of answers."""
_ENDS = {MessageState.DELIVERED: EventStatus.DELIVERED, MessageState.EXPIRED: EventStatus.EXPIRED}
OF_STATE = {state: (_ENDS.get(state, EventStatus.FAILED), state.name) for state in MessageState}
"""What a final receipt with a state says, and the state's name."""
_FAILURES = frozenset((EventStatus.FAILED, EventStatus.EXPIRED, EventStatus.FALLBACK))

_MOST_NAME = 512
"""Characters of an id or a reference: what is longer is none of ours, and would be a key of the store."""


class Early(msgspec.Struct, array_like=True, gc=False):
    """A receipt or a status on its way to its message; also what waits on the delay ladder."""

    lane: str
    account: str
    to: str
    """The destination of the message, digits only: `+57…`, `0057…` and `57…` are one. Empty: not said, or not needed."""
    id: str
    key: str
    status: EventStatus
    code: str
    text: str
    seen_at: float
    """Unix seconds."""
    smpp: bool = True
    """An SMSC's: all that will be said of the part."""
    reference: str = ""
    """The key to look up where the other has nothing."""
    network: str = ""
    channel: str = "sms"


decode_early = msgspec.json.Decoder(Early).decode
encode_early = msgspec.json.Encoder().encode


def usable(status: Status) -> bool:
    """Whether a status says what became of what."""
    return (
        bool(status.id or status.reference)
        and len(status.id) <= _MOST_NAME
        and len(status.reference) <= _MOST_NAME
        and tellable(status.status)
    )


def of_status(lane: str, account: str, channel: str, status: Status, now: float) -> Early:
    """Return what a callback says of one message."""
    reference = reference_key(account, status.reference) if status.reference else ""
    # Our own reference says more than a number in the provider's way of writing, and not all that people are called is one.
    number = "" if reference else status.to.lstrip("+0")
    failure = storable(status.failure) if status.failure else None
    return Early(
        lane,
        account,
        number if number.isdecimal() else "",
        status.id,
        id_key(account, status.id) if status.id else reference,
        status.status,
        failure.code if failure else "",
        failure.text if failure else "",
        now,
        False,
        reference if status.id else "",
        status.network,
        channel,
    )


def same_destination(to: str, address: str) -> bool:
    """Whether it is the number of the message, and the id has not been another's before.

    Some SMSCs leave the country code out; WhatsApp writes numbers of Mexico, Argentina and Brazil in a way of its own.
    """
    return to[1:] == address or not address or (len(address) >= 7 and to[-7:] == address[-7:])


def event(sent: Sent, at: float, status: EventStatus, code: str, text: str, parts_done: int) -> Record:
    """Return the event of one part that is alone, or of all parts together."""
    if status in _FAILURES:
        return events.of_receipt(sent, status, at, parts_done, code, text)
    return events.of_receipt(sent, status, at, parts_done, "")


def orphan(early: Early) -> Record:
    """Return the event of what belongs to nothing we know."""
    what = early.text if early.smpp else early.status
    said = ":".join(filter(None, (what, early.code.removeprefix(OF_AN_SMSC))))
    at = events.utc(early.seen_at)
    return events.of_orphan(early.lane, early.channel, early.account, early.id or early.key, at, said)
