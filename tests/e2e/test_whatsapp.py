"""WhatsApp from the job to the read receipt: templates over the Cloud API, callbacks, and what Meta's conditions do."""

from __future__ import annotations

import socket
from typing import Any

from gateway.model import EventStatus
from gateway.simulators import Behaviour, WhatsApp, WhatsAppSimulator
from tests.support.stage import Stages, job

TOKEN, SECRET = "meta-token", "app-secret"
NUMBER = "100000000000001"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def number(port: int, **other: Any) -> dict[str, Any]:
    """A lane to the simulator on `port`."""
    return {
        "provider": "whatsapp",
        "rate": 1000,
        "allow_private": True,
        "whatsapp": {
            "phone_number_id": NUMBER,
            "token_file": "token",
            "app_secret_file": "app-secret",
            "verify_token_file": "token",
            "base_url": f"http://127.0.0.1:{port}",
        },
        **other,
    }


def reminder(job_id: str, people: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    """A job with a template of three parameters."""
    return job(
        job_id,
        people,
        text="",
        channel="whatsapp",
        template="payment_due_v3",
        language="es_MX",
        components=[{"type": "body", "parameters": [{"type": "text", "text": "{name}"}]}],
        **other,
    )


def people(count: int, first: int = 0) -> dict[str, dict[str, Any]]:
    return {
        f"w{n}": {"to": f"+5730011{n:05d}", "message_id": f"w{n}", "params": {"name": "Ana"}}
        for n in range(first, first + count)
    }


async def test_templates_are_sent_delivered_and_read(stage: Stages, tmp_path: Any) -> None:
    """Each is sent once, and its events come in their order."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "app-secret").write_text(SECRET)
    hooks = free_port()
    meta = WhatsApp(
        Behaviour(delivered_s=0.05, read_s=0.1, read_ratio=1.0),
        numbers=(NUMBER,),
        token=TOKEN,
        app_secret=SECRET,
        webhook_url=f"http://127.0.0.1:{hooks}/hooks/wa",
    )
    async with (
        WhatsAppSimulator(meta) as simulator,
        stage(
            lanes={"wa": number(simulator.port)},
            webhooks={"port": hooks},
            portfolios={"wa": {"limit": 2000}},
        ) as site,
        site.worker(),
    ):
        sent = people(200)
        await site.publish(reminder("j", list(sent.values())))
        await site.until(lambda: site.tally.counts().get(EventStatus.READ, 0) == 200)
        counts = site.tally.counts()
    assert counts[EventStatus.SUBMITTED] == 200
    assert meta.record.counts.accepted == 200
    assert meta.record.counts.duplicates == 0
