"""ESMEs on the libraries of others as clients of our simulator: node-smpp, jSMPP and aiosmpplib.

The first two are fetched by `python -m tests.interop.fetch`; each is skipped where it is not there.
"""

from __future__ import annotations

import pytest

from smpp.constants import CommandStatus
from smpp.receipt import MessageState, parse
from smpp.simulator import Account, Behaviour, Simulator
from tests.interop.peers import command, running

CLIENTS = {"node-smpp": ("client.js",), "jSMPP": ("Jsmpp.java", "client"), "aiosmpplib": ("client.py",)}
PARTS = ("Señora Muñoz, su factura vence mañana; ", "í ó ú: llame al 018000, ", "gracias 👍🏽")

every = pytest.mark.parametrize("client", CLIENTS)


@every
async def test_a_conversation(client: str) -> None:
    """Bind, a short and a long message, ids, receipts, an MO, unbind."""
    file, *arguments = CLIENTS[client]
    account = Account("a", "secret", Behaviour(resp_id="x", receipt_id="x"), record="full", first_id=0xABC)
    async with Simulator([account]) as simulator:
        line = command(file, *arguments, str(simulator.port), "secret", "hola", *PARTS)
        async with running(line) as peer:
            assert (await peer.next("bound"))["status"] == 0
            await peer.next("receipts")
            assert simulator.send_mo("a", "573001234567", "89000", "Sí, ¡gracias! ☺") == 1
            mo = await peer.next("mo")
            assert (mo["from"], mo["text"]) == ("573001234567", "Sí, ¡gracias! ☺")
            assert (await peer.next("unbound"))["status"] == 0
            assert await peer.ended() == 0
    ids = {answer["id"] for answer in peer.heard("answer")}
    read = [parse(4, receipt["text"].encode("latin-1"), {}) for receipt in peer.heard("receipt")]
    assert {each.message_id: each.state for each in read if each} == dict.fromkeys(ids, MessageState.DELIVERED)
    assert {"abc"} < ids <= {format(0xABC + n, "x") for n in range(account.counts.parts)}
    assert account.record.texts() == {"573001234567": ["hola", "".join(PARTS)]}
    counts = account.counts
    assert (counts.messages, counts.parts_announced, counts.settled) == (2, counts.parts, counts.parts + 1)
    assert (counts.unbinds, counts.duplicates, counts.malformed, counts.unexpected) == (1, 0, 0, 0)


@pytest.mark.parametrize("client", sorted(CLIENTS.keys() - {"aiosmpplib"}))  # which does not tell
async def test_a_wrong_password(client: str) -> None:
    """The client reads the status that a wrong password has."""
    file, *arguments = CLIENTS[client]
    async with (
        Simulator([Account("a", "secret")]) as simulator,
        running(command(file, *arguments, str(simulator.port), "wrong", "hola")) as peer,
    ):
        assert (await peer.next("bound"))["status"] == CommandStatus.ESME_RINVPASWD
        assert await peer.ended() == 0
