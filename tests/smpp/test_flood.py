"""Deliveries by the thousand do not hold up the answers that come among them, and what waits for Kafka is bounded."""

from __future__ import annotations

from typing import Any

from gateway.inbox import Inbox
from smpp.constants import CommandId, CommandStatus
from smpp.events import Response
from smpp.pdu import BindTransceiver, DeliverSM, encode_response
from smpp.session import Role, Session

RECEIPT = DeliverSM(source_addr="573001234567", esm_class=4, short_message=b"id:1 stat:DELIVRD")


def test_an_answer_behind_a_flood_of_receipts_is_there_with_them() -> None:
    """One read brings both: nothing has to be done with the receipts before the window has room again."""
    session = Session(Role.ESME, window=1)
    session.bind(BindTransceiver(), 0.0)
    session.receive(encode_response(CommandId.BIND_TRANSCEIVER_RESP, 0, 1, b"SMSC\0"), 0.0)
    session.submit([(b"", "ours")], 0.0)
    assert session.room == 0
    flood = b"".join(RECEIPT.encode(number) for number in range(1, 5001))
    events = session.receive(flood + encode_response(CommandId.SUBMIT_SM_RESP, 0, 2, b"7\0"), 0.0)
    assert len(events) == 5001
    assert events[-1] == Response("ours", 0, "7")
    assert session.room == 1


class _Link:
    """Keeps what is answered."""

    generation = 1

    def __init__(self) -> None:
        self.answers: list[tuple[int, int]] = []

    def answer(self, pdus: list[Any], command_status: int = 0) -> None:
        self.answers.append((len(pdus), command_status))


def test_what_waits_for_kafka_is_bounded_and_the_rest_stays_with_the_operator() -> None:
    """Beyond the capacity a delivery is refused for a while, at once; whoever is answered makes room."""
    inbox, link = Inbox(10), _Link()
    one: Any = link
    for _ in range(5):
        inbox.delivered(one, one, [RECEIPT] * 4)
    assert (inbox.waiting, inbox.deferred) == (12, 8)  # up to the capacity, and the read that reached it
    assert link.answers == [(4, CommandStatus.ESME_RX_T_APPN)] * 2
    inbox.answer(inbox.deliveries)
    assert inbox.waiting == 0
