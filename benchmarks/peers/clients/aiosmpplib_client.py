"""aiosmpplib as its README has it: a broker, a correlator and a hook, the simple ones that come with it.

https://github.com/niksabaldun/aiosmpplib, README, "Quick user guide". It has no window: the hook lets one more message into the
broker for each that was answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

from aiosmpplib import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    ESME,
    NPI,
    TON,
    AbstractHook,
    PhoneNumber,
    SmppMessage,
    SubmitSm,
    SubmitSmResp,
)

_DELIVER_SM = 0x00000005.to_bytes(4, "big")
_UDHI = 0b01000000


class _Hook(AbstractHook):  # type: ignore[misc, unused-ignore]
    """Counts PDUs: for a part of a long message the hook is given nothing else."""

    def __init__(self, window: int) -> None:
        self.room = asyncio.Semaphore(window)
        self.sent = self.receipts = 0
        self.last_at = 0.0

    async def sending(self, smpp_message: SmppMessage, pdu: bytes, client_id: str) -> None:
        self.sent += isinstance(smpp_message, SubmitSm)

    async def received(self, smpp_message: SmppMessage | None, pdu: bytes, client_id: str) -> None:
        if isinstance(smpp_message, SubmitSmResp):
            self.room.release()
        elif pdu[4:8] == _DELIVER_SM:
            self.receipts += 1
            self.last_at = time.time()

    async def send_error(self, smpp_message: SmppMessage, error: Exception, client_id: str) -> None:
        self.room.release()


async def main(port: str, system_id: str, password: str, sender: str, window: str, file: str) -> None:
    messages = json.loads(Path(file).read_text())  # noqa: ASYNC240 - before anything runs
    hook = _Hook(int(window))
    esme = ESME("127.0.0.1", int(port), system_id, password, hook=hook, log_level=logging.WARNING)
    source = PhoneNumber(sender, TON.UNKNOWN, NPI.UNKNOWN)
    running = asyncio.create_task(esme.start())
    while esme._session_state.name != "BOUND_TRX":  # noqa: ASYNC110 - the library tells nobody
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    until = time.monotonic() + float(await asyncio.to_thread(sys.stdin.readline))

    submitted = 0
    for to, text in messages:
        await hook.room.acquire()
        if time.monotonic() > until:
            break
        destination = PhoneNumber(to, TON.INTERNATIONAL, NPI.ISDN)
        message = SubmitSm(
            short_message=text,
            source=source,
            destination=destination,
            esm_class=_UDHI,
            auto_message_payload=False,
            log_id=str(submitted),
        )
        await esme.broker.enqueue(message)
        submitted += 1
    last, patience = -1, time.monotonic() + 10
    while time.monotonic() < patience:
        await asyncio.sleep(0.05)
        if hook.receipts != last:
            last, patience = hook.receipts, time.monotonic() + 10
        elif hook.sent and hook.receipts >= hook.sent and esme.broker.queue.empty():
            break
    result = {"submitted": submitted, "receipts": hook.receipts, "last_at": hook.last_at}
    print(json.dumps(result), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
