"""An ESME on aiosmpplib: binds, asks, sends a short and a long message, waits for their receipts and an MO, unbinds."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiosmpplib
from aiosmpplib.broker import SimpleBroker

_TOLD = 2
"""Receipts: of a long message the library tells the last."""


def say(on: str, **more: object) -> None:
    print(json.dumps({"on": on, **more}), flush=True)


class Hook(aiosmpplib.AbstractHook):  # type: ignore[misc]  # the library is not typed
    """What the library tells of the wire."""

    def __init__(self) -> None:
        self.receipts = 0
        self.over = asyncio.Event()

    async def sending(self, smpp_message: object, pdu: bytes, client_id: str) -> None: ...

    async def send_error(self, smpp_message: object, error: Exception, client_id: str) -> None:
        say("error", text=repr(error))

    async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        match smpp_message:
            case aiosmpplib.BindTransceiverResp():
                status = int(smpp_message.command_status)
                say("bound", status=status)
                if status:
                    self.over.set()
            case aiosmpplib.SubmitSmResp():
                say("answer", status=int(smpp_message.command_status), id=smpp_message.message_id)
            case aiosmpplib.EnquireLinkResp():
                say("alive")
            case aiosmpplib.DeliverSm() if smpp_message.is_receipt():
                say("receipt", text=smpp_message.short_message)
                self.receipts += 1
                if self.receipts == _TOLD:
                    say("receipts")
            case aiosmpplib.DeliverSm():
                say("mo", text=smpp_message.short_message, **{"from": smpp_message.source.number})
                self.over.set()


async def main() -> None:
    port, password, short, *parts = sys.argv[1:]
    hook, broker = Hook(), SimpleBroker()
    esme = aiosmpplib.ESME(
        "127.0.0.1", int(port), "a", password, hook=hook, broker=broker, enquire_link_interval=0.2, log_level="CRITICAL"
    )
    task = asyncio.create_task(esme.start())
    addresses = {"source": aiosmpplib.PhoneNumber("89000"), "destination": aiosmpplib.PhoneNumber("573001234567")}
    await broker.enqueue(aiosmpplib.SubmitSm(short_message=short, **addresses))
    long = aiosmpplib.SubmitSm(
        short_message="".join(parts), esm_class=0x40, encoding="ucs2", auto_message_payload=False, **addresses
    )
    await broker.enqueue(long)
    await hook.over.wait()
    await esme.stop()
    task.cancel()
    await asyncio.wait((task,))
    say("unbound", status=0)


asyncio.run(main())
