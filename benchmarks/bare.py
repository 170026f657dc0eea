"""The least that a client of WhatsApp's API costs: aiohttp and nothing else, as a process of its own.

It posts the octets that the gateway would, with as many requests at a time, and prints what that took as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

import aiohttp
import msgspec
import uvloop

from benchmarks.smsc import DIGITS
from gateway import content
from gateway.model import Job, Message
from gateway.providers.contract import Call
from gateway.providers.whatsapp import WhatsApp, WhatsAppSettings
from gateway.tables import Secret


class Task(msgspec.Struct, frozen=True):
    """What the process is to do: its only argument, as JSON. `job` is one of the jobs that the gateway gets."""

    base_url: str
    number: str
    secret: str
    job: str
    messages: int
    concurrency: int


class Took(msgspec.Struct, frozen=True):
    """What it took, from the first request to the last answer."""

    seconds: float
    cpu_s: float
    refused: int


def calls(task: Task) -> list[Call]:
    """Make the requests that the gateway makes of a campaign whose first job this is: people differ by number and id."""
    secret = Secret(task.secret)
    provider = WhatsApp(
        WhatsAppSettings(
            phone_number_id=task.number, token=secret, app_secret=secret, verify_token=secret, base_url=task.base_url
        )
    )
    job = msgspec.json.decode(task.job, type=Job)
    recipient = job.recipients[0]
    said = content.compile(job).render(recipient.params).content
    return [
        provider.call(
            [
                Message(
                    f"m{number}",
                    f"{recipient.to[:-DIGITS]}{number:0{DIGITS}d}",
                    "",
                    "",
                    job.job_id,
                    job.campaign,
                    job.tenant,
                    job.class_,
                    0.0,
                    "",
                    0.0,
                    content=said,
                )
            ],
            "",
            0.0,
        )
        for number in range(task.messages)
    ]


async def run(task: Task) -> Took:
    """Post them all."""
    requests = iter(calls(task))
    refused = 0
    # As the gateway's own client is set up where it matters for the cost.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("Accept",)
    ) as session:

        async def post(requests: Iterator[Call]) -> None:
            nonlocal refused
            for call in requests:
                async with session.post(call.url, data=call.body, headers=call.headers) as response:
                    await response.read()
                    refused += response.status != 200

        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(post(requests) for _ in range(task.concurrency)))
        return Took(time.monotonic() - began, time.process_time() - cpu, refused)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(msgspec.json.decode(sys.argv[1], type=Task)))))
