"""Our link as the ESME of SMSCs that run on the libraries of others: node-smpp, Cloudhopper's and jSMPP.

Fetched by `python -m tests.interop.fetch`; skipped where one is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from smpp.constants import CommandStatus
from smpp.encoder import SubmitEncoder
from smpp.events import Closed, Event, Response
from smpp.link import BindConfig, Failure, FailureKind, Link
from smpp.pdu import DeliverSM
from smpp.receipt import MessageState, parse
from smpp.segment import TextEncoder, decode_text
from tests.interop.peers import Peer, command, free_port, running

SERVERS = {
    "node-smpp": ("server.js",),
    "Cloudhopper": ("Cloudhopper.java",),
    "jSMPP": ("Jsmpp.java", "server"),
}
TO, REFUSED, TALKS = "573001234567", "573000000000", "573009999999"
GSM = "Su factura de 45.000 vence hoy [ver {x}] ~ 3€ ñ à @ ¿Sí? no: " * 5
UCS2 = "Señora Muñoz, su factura vence mañana; í ó ú, 👍🏽. " * 5
PLAIN = "Su factura vence hoy, pague en https://x.example/a1. " * 5

every = pytest.mark.parametrize("server", SERVERS)


class Mailbox:
    """The handler of a link: keeps what happened, answers deliveries at once, and lets a test wait."""

    def __init__(self) -> None:
        self.responses: dict[Any, Response] = {}
        self.deliveries: list[DeliverSM] = []
        self.failures: list[Failure] = []
        self.closed: Closed | None = None
        self._changed = asyncio.Event()

    def link_bound(self, link: Link) -> None:
        self._changed.set()

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None:
        self.failures.append(failure)
        self._changed.set()

    def link_events(self, link: Link, events: list[Event]) -> None:
        deliveries = [event for event in events if isinstance(event, DeliverSM)]
        self.deliveries += deliveries
        link.answer(deliveries)
        for event in events:
            if isinstance(event, Response):
                self.responses[event.context] = event
            elif isinstance(event, Closed):
                self.closed = event
        self._changed.set()

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(15):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def bound(server: str, password: str = "secret") -> AsyncIterator[tuple[Peer, Link, Mailbox]]:
    """The server running and a link to it that is bound, or has failed once."""
    port = free_port()
    file, *arguments = SERVERS[server]
    async with running(command(file, *arguments, str(port))) as peer:
        await peer.next("listening")
        mailbox = Mailbox()
        config = BindConfig(
            host="127.0.0.1", port=port, system_id="recado", password=password, enquire_link=0.3, reconnect_max=60.0
        )
        link = Link(config, mailbox, roll=lambda: 0.5)
        link.start()
        try:
            await mailbox.until(lambda: link.bound or mailbox.failures)
            yield peer, link, mailbox
        finally:
            await link.close()


def bodies(text: str, to: str = TO) -> list[tuple[bytes, int]]:
    encoder = SubmitEncoder(
        source_addr="89000", source_addr_ton=3, source_addr_npi=0, dest_addr_ton=1, dest_addr_npi=1, service_type=""
    )
    encoded = TextEncoder().encode(text, 77)
    return [
        (encoder.encode(to, part.short_message, part.esm_class, encoded.data_coding, 0, b"", part.tlvs), number)
        for number, part in enumerate(encoded.parts, 1)
    ]


async def said(peer: Peer, count: int) -> str:
    """The text of so many parts, as the server read it."""
    parts = [await peer.next("submit") for _ in range(count)]
    return "".join(part["text"] for part in sorted(parts, key=lambda part: int(part["part"])))


@every
async def test_binds_answers_enquire_link_and_unbinds(server: str) -> None:
    """It is told who binds, both sides ask whether the other lives, and the unbind ends the session in order."""
    async with bound(server) as (peer, link, mailbox):
        assert (await peer.next("bind"))["system_id"] == "recado"
        if server != "jSMPP":  # which asks and does not tell
            assert (await peer.next("alive"))["status"] == 0
        await peer.next("enquire_link")
        await link.close()
        await peer.next("unbind")
        assert mailbox.closed is not None
        assert mailbox.closed.clean
        assert mailbox.closed.unanswered == []


@every
@pytest.mark.parametrize("text", [PLAIN, UCS2, GSM], ids=["plain", "ucs2", "gsm7"])
async def test_a_long_message_is_read_and_its_receipts_are_ours(server: str, text: str) -> None:
    """Every part arrives as it was meant, is answered with an id, and its receipt is of that id."""
    if (server, text) == ("jSMPP", GSM):
        pytest.skip("jSMPP has no GSM alphabet")
    parts = bodies(text)
    assert len(parts) > 1
    async with bound(server) as (peer, link, mailbox):
        link.submit(parts)
        assert await said(peer, len(parts)) == text
        await mailbox.until(lambda: len(mailbox.responses) == len(mailbox.deliveries) == len(parts))
        for _ in parts:
            assert (await peer.next("receipt answered"))["status"] == 0
        receipts = [parse(each.esm_class, each.short_message, each.tlvs) for each in mailbox.deliveries]
        states = {receipt.message_id: receipt.state for receipt in receipts if receipt}
        ids = [mailbox.responses[number].message_id for _, number in parts]
        assert len(set(ids)) == len(parts)
        assert states == dict.fromkeys(ids, MessageState.DELIVERED)


@every
async def test_a_refused_message_has_a_status_and_no_id(server: str) -> None:
    """The error of a submit_sm, with whatever body the library gives it."""
    async with bound(server) as (_, link, mailbox):
        link.submit([(body, "refused") for body, _ in bodies("hola", REFUSED)])
        await mailbox.until(lambda: mailbox.responses)
        refused = mailbox.responses["refused"]
        assert (refused.command_status, refused.message_id) == (CommandStatus.ESME_RINVDSTADR, "")


@every
async def test_a_message_from_a_person_is_read(server: str) -> None:
    """With what the alphabets of SMS lack, and answered."""
    async with bound(server) as (peer, link, mailbox):
        link.submit([(body, "talks") for body, _ in bodies("hola", TALKS)])
        await peer.next("mo answered")
        await mailbox.until(lambda: len(mailbox.deliveries) == 2)
        (mo,) = [each for each in mailbox.deliveries if not each.esm_class & 4]
        assert (mo.source_addr, mo.destination_addr) == (TALKS, "89000")
        assert decode_text(mo.data_coding, mo.short_message, {}) == "Sí, ¡gracias! ☺"


@every
async def test_a_wrong_password_is_credentials(server: str) -> None:
    """Whatever each does with the connection then."""
    async with bound(server, "wrong") as (_, _, mailbox):
        assert mailbox.failures[0].kind is FailureKind.CREDENTIALS
