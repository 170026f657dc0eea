"""What the links of a worker have brought since the last cycle: lists that are swapped out whole, and one event to wake it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from smpp.constants import CommandStatus
from smpp.link import Link
from smpp.pdu import DataSM, DeliverSM
from smpp.session import LateResponse, Response

if TYPE_CHECKING:
    from gateway.providers.smpp import SmppPort


class Delivery:
    """A deliver_sm or data_sm that waits for its answer until what it says is safe in Kafka."""

    __slots__ = ("_generation", "_link", "pdu", "port")

    def __init__(self, port: SmppPort, link: Link, pdu: DeliverSM | DataSM) -> None:
        self.port = port
        self.pdu = pdu
        self._link = link
        self._generation = link.generation


class Inbox:
    """Filled by the links, emptied by the cycle. `capacity` bounds the deliveries that wait for Kafka.

    Beyond it a delivery is answered ESME_RX_T_APPN at once, and the SMSC keeps it: reading less would hold up the answers to
    our own submit_sm, which come on the same connection.
    """

    def __init__(self, capacity: int) -> None:
        self.wake = asyncio.Event()
        self.answers: list[Response] = []
        self.unanswered: list[Any] = []
        self.late: list[LateResponse] = []
        self.deliveries: list[Delivery] = []
        self.waiting = 0
        """Deliveries taken and not yet answered."""
        self.deferred = 0
        """Deliveries turned away because the inbox was full."""
        self.nonsense = 0
        """PDUs of peers that could not be read or belong to nothing."""
        self._capacity = capacity

    def delivered(self, port: SmppPort, link: Link, pdu: DeliverSM | DataSM) -> None:
        if self.waiting >= self._capacity:
            self.deferred += 1
            link.answer((pdu,), CommandStatus.ESME_RX_T_APPN)
            return
        self.waiting += 1
        self.deliveries.append(Delivery(port, link, pdu))

    def answer(self, deliveries: list[Delivery], command_status: int = 0) -> None:
        """Answer deliveries, one write per connection; those of a connection that is gone will be delivered again."""
        self.waiting -= len(deliveries)
        by_link: dict[Link, list[DeliverSM | DataSM]] = {}
        for delivery in deliveries:
            link = delivery._link
            if link.generation == delivery._generation:
                by_link.setdefault(link, []).append(delivery.pdu)
        for link, pdus in by_link.items():
            link.answer(pdus, command_status)
