"""What the links of a worker have brought since the last cycle: lists that are swapped out whole, and one event to wake it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from smpp.constants import CommandStatus
from smpp.events import LateResponse
from smpp.link import Link
from smpp.pdu import DataSM, DeliverSM

if TYPE_CHECKING:
    from gateway.providers.smpp import SmppPort


class Answer(Protocol):
    """What became of one part: a submit_sm_resp, or what a provider over HTTP said. `context` is the part."""

    context: Any
    command_status: int
    """0 for accepted."""
    message_id: str
    failure: Any
    """Of HTTP only: what it asks for."""


class Delivery(msgspec.Struct, gc=False, eq=False):
    """The deliver_sm and data_sm of one read, which wait for their answers until what they say is safe in Kafka."""

    port: SmppPort
    link: Link
    generation: int
    pdus: list[DeliverSM | DataSM]


class Inbox:
    """Filled by the links, emptied by the cycle. `capacity` bounds the deliveries that wait for Kafka.

    Beyond it a delivery is answered ESME_RX_T_APPN at once, and the SMSC keeps it: reading less would hold up the answers
    to our own submit_sm, which come on the same connection.
    """

    def __init__(self, capacity: int) -> None:
        self.wake = asyncio.Event()
        self.answers: list[list[Any]] = []
        """By batches: what one read of one bind brought."""
        self.unanswered: list[Any] = []
        self.late: list[LateResponse] = []
        self.deliveries: list[Delivery] = []
        self.waiting = 0
        """deliver_sm and data_sm taken and not yet answered."""
        self.deferred = 0
        """Those turned away because the inbox was full."""
        self.nonsense = 0
        """PDUs of peers that could not be read or belong to nothing."""
        self._capacity = capacity

    def delivered(self, port: SmppPort, link: Link, pdus: list[DeliverSM | DataSM]) -> None:
        if self.waiting >= self._capacity:
            self.deferred += len(pdus)
            link.answer(pdus, CommandStatus.ESME_RX_T_APPN)
            return
        self.waiting += len(pdus)
        self.deliveries.append(Delivery(port, link, link.generation, pdus))

    def answer(self, deliveries: list[Delivery], command_status: int = 0) -> None:
        """Answer deliveries; those of a connection that is gone will be delivered again."""
        for delivery in deliveries:
            self.waiting -= len(delivery.pdus)
            if delivery.link.generation == delivery.generation:
                delivery.link.answer(delivery.pdus, command_status)
