"""A lane over SMPP: texts to bodies of submit_sm, binds to slots. What statuses ask for is in `smpp_errors.py`."""

from __future__ import annotations

import re
import ssl
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.model import Message, TrafficClass
from gateway.providers.contract import Unsendable
from smpp.encoder import SubmitEncoder
from smpp.events import Closed, Event, Expired, LateResponse, Malformed, Response, Unexpected
from smpp.link import BindConfig, BindKind, Failure, Link
from smpp.pdu import DataSM, DeliverSM
from smpp.segment import TextEncoder

if TYPE_CHECKING:
    from gateway import config
    from gateway.inbox import Inbox

_PRIORITY = {TrafficClass.OTP: 2, TrafficClass.TRANSACTIONAL: 1, TrafficClass.BULK: 0}
_DELIVERIES = (DeliverSM, DataSM)  # a union would be made anew for every PDU
_is_number = re.compile(r"\+[0-9]{1,20}").fullmatch  # destination_addr has room for 20 (§5.2.9)
_SENDERS_KEPT = 1000  # senders come from jobs: what is encoded for them must not grow without end


class SmppEncoder:
    """Makes the submit_sm bodies of one lane; holds nothing of a message."""

    def __init__(self, lane: config.Lane) -> None:
        self._lane = lane
        self._text = TextEncoder(alphabets=lane.alphabets, long=lane.long_messages, transliterate=lane.transliterate)
        self._senders: dict[str, SubmitEncoder] = {}

    def count(self, text: str) -> int:
        """How many submit_sm a text takes; raises `SMPPError` for one that the lane cannot carry."""
        return self._text.count(text)

    def encode(self, message: Message, now: float) -> list[bytes]:
        """The bodies of a message, in order; `now` is Unix time.

        Raises `SMPPError` for a text that the lane cannot carry, and `Unsendable` for a recipient that is no number.

        The reference that joins the parts comes from the message's id: a part that is written again, by this process or the
        next, still belongs to the others.
        """
        if not _is_number(message.to):  # a message that falls back to SMS may be for a mail address
            raise Unsendable("to", "the recipient is no number of 20 digits at most")
        text = message.text
        # So many characters fit in one part of any alphabet: UCS-2 has 70 code units, and a character takes one or two.
        reference = zlib.crc32(message.message_id.encode()) if len(text) > (70 if text.isascii() else 35) else 0
        encoded = self._text.encode(text, reference)
        sender = self._senders.get(message.sender) or self._sender(message.sender)
        validity = self._validity(message.expires_at - now) if message.expires_at else b""
        priority = _PRIORITY[message.class_]
        to = message.to[1:]
        coding = encoded.data_coding
        return [
            sender.encode(to, part.short_message, part.esm_class, coding, priority, validity, part.tlvs)
            for part in encoded.parts
        ]

    def _sender(self, name: str) -> SubmitEncoder:
        lane = self._lane
        address = name or lane.sender
        ton, npi = lane.source_numbering(address)
        if len(self._senders) >= _SENDERS_KEPT:
            self._senders.clear()
        encoder = self._senders[name] = SubmitEncoder(
            source_addr=address.removeprefix("+"),
            source_addr_ton=ton,
            source_addr_npi=npi,
            dest_addr_ton=lane.dest_ton,
            dest_addr_npi=lane.dest_npi,
            service_type=lane.service_type,
            registered_delivery=lane.registered_delivery,
        )
        return encoder

    def _validity(self, seconds: float) -> bytes:
        """Relative validity_period (§7.1.1.2): `000000hhmmss000R` with days in front, at least a minute, at most the lane's."""
        left = int(max(60, min(seconds, self._lane.max_validity_s)))
        days, left = divmod(left, 86_400)
        return b"0000%02d%02d%02d%02d000R" % (days, left // 3600, left // 60 % 60, left % 60)


def bind_config(lane: config.Lane, kind: BindKind) -> BindConfig:
    """What the link of one bind needs to know of its lane."""
    return BindConfig(
        host=lane.host,
        port=lane.port,
        system_id=lane.system_id,
        password=lane.password.reveal(),
        system_type=lane.system_type,
        address_range=lane.address_range,
        kind=kind,
        window=lane.window,
        connect_timeout=lane.connect_timeout_s,
        bind_timeout=lane.bind_timeout_s,
        response_timeout=lane.response_timeout_s,
        enquire_link=lane.enquire_link_s,
        drain=lane.drain_s,
        reconnect_min=lane.reconnect_min_s,
        reconnect_max=lane.reconnect_max_s,
        ssl=_tls(lane) if lane.tls else None,
    )


def _tls(lane: config.Lane) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(lane.ca_file) if lane.ca_file else None)
    if not lane.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class SmppPort:
    """The bind of one slot: a transceiver, or a transmitter and a receiver. Sorts what comes in into the worker's inbox."""

    def __init__(self, lane: config.Lane, inbox: Inbox, on_bound: Callable[[], None]) -> None:
        kinds = (BindKind.TRANSCEIVER,) if lane.bind == "trx" else (BindKind.TRANSMITTER, BindKind.RECEIVER)
        self._links = [Link(bind_config(lane, kind), self) for kind in kinds]
        self._sender = self._links[0]
        self._inbox = inbox
        self.lane = lane.name
        self.account = lane.account
        self._on_bound = on_bound
        self._down = dict.fromkeys(self._links, "not connected yet")

    @property
    def room(self) -> int:
        """Parts that `submit` takes now."""
        return self._sender.room

    @property
    def in_flight(self) -> int:
        return self._sender.in_flight

    @property
    def bound(self) -> bool:
        """It can send; a receiver that is down only says so in `down_reason`."""
        return self._sender.bound

    @property
    def down_reason(self) -> str:
        """Of the first bind that is down; empty when all are up."""
        return next(filter(None, self._down.values()), "")

    def start(self, after: float = 0.0) -> None:
        for link in self._links:
            link.start(after)

    def abort(self) -> None:
        for link in self._links:
            link.abort("given up with its window unanswered")

    def set_window(self, window: int) -> None:
        self._sender.set_window(window)

    def submit(self, parts: list[tuple[bytes, Any]]) -> None:
        self._sender.submit(parts)

    async def close(self) -> None:
        """Drain, unbind, disconnect. What nobody answered is in the inbox when this returns."""
        for link in self._links:
            await link.close()

    # What the links report.

    def link_bound(self, link: Link) -> None:
        self._down[link] = ""
        if link is self._sender:
            self._on_bound()
        self._inbox.wake.set()

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None:
        self._down[link] = f"{failure.kind.value}: {failure.detail}"

    def link_events(self, link: Link, events: list[Event]) -> None:
        inbox = self._inbox
        answers: list[Response] = []
        deliveries: list[DeliverSM | DataSM] = []
        for event in events:
            if isinstance(event, Response):
                answers.append(event)
            elif isinstance(event, _DELIVERIES):
                deliveries.append(event)
            elif isinstance(event, Expired):
                inbox.unanswered.append(event.context)
            elif isinstance(event, Closed):
                inbox.unanswered.extend(event.unanswered)
            elif isinstance(event, LateResponse):
                inbox.late.append(event)
            elif isinstance(event, Malformed | Unexpected):
                inbox.nonsense += 1
        if answers:
            inbox.answers.append(answers)
        if deliveries:
            inbox.delivered(self, link, deliveries)
        inbox.wake.set()
