"""Our own `smpp` package alone, as its docstrings have it: no gateway, no store."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from smpp.encoder import SubmitEncoder
from smpp.events import Event
from smpp.link import BindConfig, Failure, Link
from smpp.pdu import DeliverSM
from smpp.segment import TextEncoder


class _Campaign:
    """A handler that keeps the window full."""

    def __init__(self, bodies: Iterator[bytes]) -> None:
        self._bodies = bodies
        self.bound = asyncio.Event()
        self.going = False
        self.sent = self.receipts = 0
        self.last_at = 0.0

    def link_bound(self, link: Link) -> None:
        self.bound.set()

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None:
        raise SystemExit(failure.detail)

    def link_events(self, link: Link, events: list[Event]) -> None:
        deliveries = [event for event in events if isinstance(event, DeliverSM)]
        if deliveries:
            link.answer(deliveries)
            self.receipts += len(deliveries)
            self.last_at = time.time()
        if self.going:
            self.fill(link)

    def fill(self, link: Link) -> None:
        requests = [(body, None) for body in itertools.islice(self._bodies, link.room)]
        self.sent += len(requests)
        if requests:
            link.submit(requests)


async def main(port: str, system_id: str, password: str, sender: str, window: str, file: str) -> None:
    messages = json.loads(Path(file).read_text())  # noqa: ASYNC240 - before anything runs
    encoder = SubmitEncoder(
        source_addr=sender,
        source_addr_ton=0,
        source_addr_npi=0,
        dest_addr_ton=1,
        dest_addr_npi=1,
        registered_delivery=1,
    )
    texts = TextEncoder()
    submitted = itertools.count()
    until = float("inf")

    def bodies() -> Iterator[bytes]:
        for number, (to, text) in enumerate(messages):
            if time.monotonic() > until:
                return
            encoded = texts.encode(text, number)
            for part in encoded.parts:
                yield encoder.encode(to, part.short_message, part.esm_class, encoded.data_coding)
            next(submitted)

    campaign = _Campaign(bodies())
    config = BindConfig(host="127.0.0.1", port=int(port), system_id=system_id, password=password, window=int(window))
    link = Link(config, campaign)
    link.start()
    await campaign.bound.wait()
    print("ready", flush=True)
    until = time.monotonic() + float(await asyncio.to_thread(sys.stdin.readline))

    campaign.going = True
    campaign.fill(link)
    last, patience = -1, time.monotonic() + 10
    while time.monotonic() < patience:
        await asyncio.sleep(0.02)
        if campaign.receipts != last:
            last, patience = campaign.receipts, time.monotonic() + 10
        elif campaign.receipts >= campaign.sent:
            break
    counts = {"receipts": campaign.receipts, "last_at": campaign.last_at}
    print(json.dumps({"submitted": next(submitted), **counts}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await link.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
