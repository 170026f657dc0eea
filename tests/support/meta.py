"""Numbers of WhatsApp in a deployment, with Meta's end of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from gateway.embedded import free_port
from gateway.model import Inbound
from gateway.simulators import Behaviour, Limits, Scripted, TemplateState, WhatsApp, WhatsAppSimulator
from gateway.simulators.end import Post
from gateway.simulators.record import Record
from tests.support.stage import PASSWORD, Stage, Stages, Table, job

NUMBER = "100000000000001"
FAST = Limits(throughput_mps=1000)
"""Meta's own limits but for the speed of a number."""

ANY_PAIR: Table = {"pair": {"every_s": 0}}
"""Of a lane on which a person may get several messages in a row. Others count a worker's start as 44 messages to everybody."""

_decode_inbound = msgspec.json.Decoder(Inbound).decode


def number(port: int, phone_number_id: str = NUMBER, **other: Any) -> dict[str, Any]:
    """A lane to the simulator on `port` that is fast and comes back soon, with what differs from that."""
    return {
        "provider": "whatsapp",
        "account": "waba",
        "portfolio": "andina",
        "rate": 1000,
        "allow_private": True,
        "reconnect_min_s": 0.05,
        "reconnect_max_s": 0.5,
        "drain_s": 5,
        "whatsapp": {
            "phone_number_id": phone_number_id,
            "token_file": "password",
            "app_secret_file": "password",
            "verify_token_file": "password",
            "base_url": f"http://127.0.0.1:{port}",
        },
        **other,
    }


def reminder(job_id: str, recipients: Iterable[Table | str], template: str = "payment_due", **other: Any) -> Table:
    """A job with a template."""
    body = {"type": "body", "parameters": [{"type": "text", "text": "Ana"}]}
    said = {"channel": "whatsapp", "template": template, "language": "es_MX", "components": [body]}
    return job(job_id, recipients, text="", **said, **other)


def words(job_id: str, recipients: Iterable[Table | str], **other: Any) -> Table:
    """A job with a free text."""
    return job(job_id, recipients, channel="whatsapp", **other)


def received(record: Record, sent: Mapping[str, str]) -> Counter[str]:
    """How often a provider has accepted something for each of `sent` (numbers by message_id, all different), if at all."""
    return Counter({each: count for each, to in sent.items() if (count := record.to(to.lstrip("+")))})


class Meta:
    """What `on_whatsapp` makes: a deployment, and who is at the other end of its numbers."""

    def __init__(self, site: Stage, simulator: WhatsAppSimulator) -> None:
        self.site = site
        self.simulator = simulator
        self.end = simulator.whatsapp
        self.record = simulator.whatsapp.record

    def refuse(self, code: str, recipient: str = "", **other: Any) -> None:
        """Answer the next message, or the next to one number, with an error."""
        self.end.script.add(Scripted(code=code, recipient=recipient.lstrip("+"), **other))

    def tell(self, *posts: Post) -> None:
        """Call the webhook."""
        assert self.simulator.send(self.end, posts) == len(posts)

    def write(self, sender: str, text: str = "Hola", **message: Any) -> None:
        """Let a person write to the first number."""
        self.tell(self.end.inbound(sender.lstrip("+"), "", text, message, self.simulator.clock(), time.time()))

    async def taken(self) -> None:
        """Wait until everything that was told has been taken."""
        await self.site.until(lambda: not self.end.callbacks.pending)

    def to(self, number: str) -> list[str]:
        """What became of every message to a number in its order: the code it was refused with, or nothing."""
        return [one.code for one in self.record.arrivals() if one.recipient == number.lstrip("+")]

    async def inbound(self, count: int) -> list[Inbound]:
        """The first messages from people that were published."""
        kafka = self.site.config.kafka
        records = await self.site.read(kafka.inbound_topic, count)
        return [_decode_inbound(record.value) for record in records]


@asynccontextmanager
async def on_whatsapp(
    stage: Stages,
    behaviour: Behaviour | None = None,
    *,
    lane: Table | None = None,
    numbers: Mapping[str, str] | None = None,
    limits: Limits = FAST,
    limit: int | str | Table = "unlimited",
    templates: Mapping[tuple[str, str], TemplateState] | None = None,
    lanes: Mapping[str, Table] | None = None,
    routes: Iterable[Table] = (),
    clock: Any = time.monotonic,
    **sections: Table,
) -> AsyncIterator[Meta]:
    """A deployment whose lane `wa` is the number of a simulated portfolio with this `limit`, and which hears of it.

    `numbers` are all of several, by lane; `lane` is what differs from `number`, `lanes` are others, behind routes of their own.
    """
    hooks = free_port()
    numbers = numbers or {"wa": NUMBER}
    end = WhatsApp(
        behaviour or Behaviour(sent_s=0.05),
        numbers=tuple(numbers.values()),
        token=PASSWORD,
        app_secret=PASSWORD,
        templates=templates,
        limits=limits,
        webhook_url=f"http://127.0.0.1:{hooks}/hooks/wa",
    )
    portfolio = limit if isinstance(limit, Mapping) else {"limit": limit}
    async with (
        WhatsAppSimulator(end, clock=clock) as simulator,
        stage(
            lanes={name: number(simulator.port, id_, **(lane or {})) for name, id_ in numbers.items()}
            | dict(lanes or {}),
            routes=routes,
            webhooks={"port": hooks},
            portfolios={"andina": portfolio},
            **sections,
        ) as site,
    ):
        yield Meta(site, simulator)
