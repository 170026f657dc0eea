"""A client that is not ours (smplib, blocking, in a thread) works with the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import smpplib.client
import smpplib.exceptions
import smpplib.gsm
import smpplib.smpp

from smpp.constants import CommandStatus
from smpp.receipt import parse
from smpp.simulator import Account, Behaviour, Simulator

TEXT = "Señora Muñoz, su factura de $ 45.000 vence mañana. Pague en https://x.co/a1 o llame al 018000. " * 4


class Client:
    """A blocking client: what it got is kept, and read on until there is enough."""

    def __init__(self, port: int) -> None:
        self.sent: list[Any] = []
        self.received: list[Any] = []
        self._client = smpplib.client.Client("127.0.0.1", port, timeout=10, allow_unknown_opt_params=True)
        self._client.set_message_sent_handler(self._note)
        self._client.set_message_received_handler(self._take)

    def _note(self, pdu: Any) -> None:
        self.sent.append(pdu)

    def _take(self, pdu: Any) -> int:
        self.received.append(pdu)
        return 0

    def __enter__(self) -> Client:
        self._client.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()

    def bind(self, password: str = "secret") -> None:
        self._client.bind_transceiver(system_id="a", password=password)

    def submit(self, text: str) -> int:
        """Send a text, in parts if need be; how many."""
        parts, data_coding, esm_class = smpplib.gsm.make_parts(text)
        for part in parts:
            self._client.send_message(
                source_addr="89000",
                destination_addr="573001234567",
                short_message=part,
                data_coding=data_coding,
                esm_class=esm_class,
                registered_delivery=True,
            )
        return len(parts)

    def read(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self._client.read_once()

    def enquire_link(self) -> str:
        pdu = smpplib.smpp.make_pdu("enquire_link", client=self._client)
        self._client.send_pdu(pdu)
        return str(self._client.read_pdu().command)

    def unbind(self) -> None:
        self._client.unbind()


async def test_a_conversation() -> None:
    """Bind, enquire_link, a short and a long message, their receipts, an MO, unbind."""
    account = Account("a", "secret", Behaviour(resp_id="x", receipt_id="x"), record="full", first_id=0xABC)
    async with Simulator([account]) as simulator:
        loop = asyncio.get_running_loop()

        def converse() -> tuple[list[Any], list[Any]]:
            with Client(simulator.port) as client:
                client.bind()
                assert client.enquire_link() == "enquire_link_resp"
                parts = client.submit("hola") + client.submit(TEXT)
                assert parts == 4
                client.read(lambda: len(client.sent) == 4 and len(client.received) == 4)
                loop.call_soon_threadsafe(simulator.send_mo, "a", "573001234567", "89000", "Sí, ¡gracias!")
                client.read(lambda: len(client.received) == 5)
                client.unbind()
                return client.sent, client.received

        sent, (*receipts, mo) = await asyncio.to_thread(converse)

        assert [pdu.message_id for pdu in sent] == [b"abc", b"abd", b"abe", b"abf"]
        read = [parse(pdu.esm_class, pdu.short_message, {}) for pdu in receipts]
        assert [receipt.message_id for receipt in read if receipt] == ["abc", "abd", "abe", "abf"]
        assert mo.source_addr == b"573001234567"
        assert mo.short_message.decode("utf-16-be") == "Sí, ¡gracias!"
        assert account.record.texts() == {"573001234567": ["hola", TEXT]}
        counts = account.counts
        assert (counts.messages, counts.parts, counts.parts_announced, counts.duplicates) == (2, 4, 4, 0)
        assert (counts.settled, counts.pending, counts.malformed, counts.unexpected) == (5, 0, 0, 0)


async def test_a_wrong_password() -> None:
    """The client reads the status that a wrong password has."""
    async with Simulator([Account("a", "secret")]) as simulator:

        def converse() -> int:
            with Client(simulator.port) as client:
                with pytest.raises(smpplib.exceptions.PDUError) as refused:
                    client.bind("wrong")
                return int(refused.value.args[1])

        assert await asyncio.to_thread(converse) == CommandStatus.ESME_RINVPASWD
