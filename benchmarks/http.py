"""How fast and how dear is a WhatsApp lane, beside an aiohttp client that does nothing but post the same octets?

`python -m benchmarks.http [--messages N] [--json FILE]`: progress on stderr, JSON on stdout. Provider, broker, store and gateway
are processes of their own. The bare client runs before and after the gateway; then callbacks are posted as fast as they are
taken; then the whole way is measured once more, with every status told by the provider. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from aiokafka.structs import ConsumerRecord

from benchmarks.bare import Task, Took
from benchmarks.campaign import Campaign, Tally
from benchmarks.load import all_closed, finals
from benchmarks.settings import APACHE, EMBEDDED, machinery_config
from benchmarks.site import Ground, beside, clients, ground
from benchmarks.smsc import DIGITS
from benchmarks.support import PASSWORD, PASSWORD_ENV, BenchmarkError, Gateway, Meter, Profiler, deliver, say
from gateway import config
from gateway.embedded import Probe, Server, free_port
from gateway.errors import GatewayError
from gateway.simulators import ControlClient, notices
from gateway.simulators.end import Post, Update

TARGET = 0.65
"""Share of the bare client's rate that the whole lane has to reach, without webhooks."""
TARGET_STATUSES_PER_S = 8000

_NUMBER = "100000000000001"
_PER_JOB = 500
_PATIENCE_S = 30.0
_BATCH = 1000
"""Statuses in a callback: the most that Meta joins."""
_CALLBACKS = 4
"""At a time."""
_PROBE = Probe(b"POST /control/stats HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n", b'"result"')
_LANE = """
[webhooks]
port = {webhooks}
public_url = "http://127.0.0.1:{webhooks}"
[portfolios.bench]
limit = "unlimited"
[lanes.wa]
provider = "whatsapp"
portfolio = "bench"
rate = 100000
concurrency = {concurrency}
allow_private = true
[lanes.wa.pair]
every_s = 0
[lanes.wa.whatsapp]
phone_number_id = "{number}"
token_env = "{secret}"
app_secret_env = "{secret}"
verify_token_env = "{secret}"
base_url = "http://127.0.0.1:{port}"
[[routes]]
channel = "whatsapp"
lane = "wa"
"""
_TEMPLATE = (
    b'"channel":"whatsapp","template":"payment_due","language":"es_MX","components":[{"type":"body","parameters":['
    b'{"type":"text","text":"{nombre}"},{"type":"text","text":"{fecha}"},{"type":"text","text":"https://x.co/{ref}"}]}]'
)


class Provider(Server):
    """The simulated end of WhatsApp; `webhooks` is the port of the gateway that it calls."""

    def __init__(self, webhooks: int) -> None:
        port = free_port()
        setup = {
            # Which messages are reported on is told later.
            "behaviour": {"receipt_ratio": 0},
            "limits": {"throughput_mps": None, "pair": False},
            "numbers": [_NUMBER],
            "token": PASSWORD,
            "app_secret": PASSWORD,
        }
        command = [sys.executable, "-m", "gateway.simulators", "whatsapp", "--port", str(port)]
        command += [
            "--webhook-url",
            f"http://127.0.0.1:{webhooks}/hooks/wa",
            "--setup",
            msgspec.json.encode(setup).decode(),
        ]
        super().__init__("the simulated provider", command, port, _PROBE)


class TemplateCampaign(Campaign):
    """The same people, who get a template with three values instead of a text."""

    def job(self, number: int) -> bytes:
        return re.sub(rb'"text":"[^"]*"', _TEMPLATE, super().job(number), count=1)


class IdTally(Tally):
    """Remembers the provider's id of each message as well."""

    _id = re.compile(rb'/m([0-9]+)/submitted/.*"provider_message_id":"([^"]+)"').search

    def __init__(self, messages: int) -> None:
        super().__init__(messages)
        self.ids = [""] * messages

    def take(self, records: Iterable[ConsumerRecord]) -> None:
        records = list(records)
        super().take(records)
        for record in records:
            if found := self._id(record.value):
                self.ids[int(found[1])] = found[2].decode()


class Bench:
    """The site with its provider; each measurement has its own messages and its own gateway."""

    def __init__(
        self, on: Ground, broker: str, provider: Provider, control: ControlClient, webhooks: int, concurrency: int
    ) -> None:
        self._on = on
        self._broker = broker
        self._provider = provider
        self._control = control
        self._webhooks = webhooks
        self._concurrency = concurrency

    async def bare(self, messages: int) -> Took:
        """Let the bare client post, to a provider that has forgotten what was before."""
        await self._control.call("reset")
        task = Task(
            f"http://127.0.0.1:{self._provider.port}",
            _NUMBER,
            PASSWORD,
            self._campaign(messages).job(0).decode(),
            messages,
            self._concurrency,
        )
        command = [sys.executable, "-m", "benchmarks.bare", msgspec.json.encode(task).decode()]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        if process.returncode:
            raise BenchmarkError("the bare client failed")
        took = msgspec.json.decode(out, type=Took)
        if took.refused:
            raise BenchmarkError(f"{took.refused} requests of the bare client were refused")
        return took

    async def lane(
        self, messages: int, *, webhooks: bool, statuses: bool = False, profile: Path | None = None
    ) -> dict[str, Any]:
        """Carry a backlog over the lane; with `webhooks` the provider tells what becomes of it.

        With `statuses` callbacks about all of it are posted afterwards, as many as the gateway takes.
        """
        await self._control.call("reset")
        await self._control.call("behaviour", changes={"receipt_ratio": 1.0 if webhooks else 0.0})
        file = self._on.directory / "gateway.toml"
        on = self._on
        kafka = machinery_config(
            self._broker, on.bootstrap, on.store.url, paced=False, namespace="wh" if webhooks else ""
        )
        file.write_text(
            kafka
            + _LANE.format(
                webhooks=self._webhooks,
                concurrency=self._concurrency,
                number=_NUMBER,
                secret=PASSWORD_ENV,
                port=self._provider.port,
            )
        )
        loaded = config.loads(file.read_text(), {PASSWORD_ENV: PASSWORD})
        tally = IdTally(messages)
        async with clients(loaded) as ours, beside(tally.follow(ours.events)):
            await self._campaign(messages).publish(ours.producer, loaded.kafka.jobs_topic, None)
            with Gateway(file, self._on.directory / "gateway.log") as gateway:
                meter = Meter({"gateway": gateway.process.pid, "simulator": self._provider.pid, **self._on.pids})
                async with beside(meter.run()):
                    with Profiler(gateway.process.pid, profile) if profile else contextlib.nullcontext():
                        result = await self._carried(messages, tally, gateway, meter, webhooks=webhooks)
                    if statuses and not result["lost"]:
                        result |= {"statuses": await self._told(tally, gateway, meter)}
                await gateway.stop()
        return result

    async def _carried(
        self, messages: int, tally: IdTally, gateway: Gateway, meter: Meter, *, webhooks: bool
    ) -> dict[str, Any]:
        # Without webhooks nothing comes after it.
        count = finals if webhooks else lambda tally: tally.submitted.count(1)
        closed = await all_closed(tally, messages, lambda: gateway.running, _PATIENCE_S, count)
        end = tally.last_at
        await asyncio.sleep(0.1)
        meter.sample()
        arrivals = await self._control.call("arrivals", start=0, count=1)
        if not arrivals:
            raise BenchmarkError(f"nothing was requested\n{gateway.log_end()}")
        [stats] = (await self._control.call("stats")).values()
        # The simulator's clock is the machine's monotonic one.
        first = arrivals[0][0] + time.time() - time.monotonic()
        work = min(first, tally.first_at)
        per_message = 1e6 / messages
        return {
            "messages_per_s": round(closed / (end - first), 1),
            "cpu_us_per_message": round(meter.cpu_s("gateway", work, end) * per_message, 2),
            "cpu_us_per_message_in_kernel": round(meter.kernel_s("gateway", work, end) * per_message, 2),
            "cpu_us_per_message_elsewhere": {
                name: round(meter.cpu_s(name, work, end) * per_message, 1) for name in ("simulator", *self._on.pids)
            },
            "rss_mb": round(meter.peak_rss_mb("gateway"), 1),
            "lost": messages - closed,
            "duplicates": stats["arrivals"]["duplicates"] + tally.repeated,
            "events": dict(tally.counts),
            "cores_taken_by_others": round(meter.strangers(work, end), 2),
        }

    async def _told(self, tally: IdTally, gateway: Gateway, meter: Meter) -> dict[str, Any]:
        """Post that every message was delivered, in batches, and wait for the events of it."""
        messages = len(tally.ids)
        posts = self._posts(tally.ids)
        began = time.time()
        async with aiohttp.ClientSession() as session:
            waiting = iter(posts)

            async def post(waiting: Iterable[Post]) -> None:
                for one in waiting:
                    while True:
                        async with session.post(one.url, data=one.body, headers=one.headers) as response:
                            await response.read()
                            if response.status == 200:
                                break
                        await asyncio.sleep(0.05)  # full: it wants it again

            await asyncio.gather(*(post(waiting) for _ in range(_CALLBACKS)))
            answered = time.time()
        closed = await all_closed(tally, messages, lambda: gateway.running, _PATIENCE_S)
        meter.sample()
        return {
            "statuses_per_s": round(messages / (answered - began), 1),
            "cpu_us_per_status": round(meter.cpu_s("gateway", began, tally.last_at) * 1e6 / messages, 2),
            "batch": _BATCH,
            "lost": messages - closed,
        }

    def _posts(self, ids: Sequence[str]) -> list[Post]:
        url = f"http://127.0.0.1:{self._webhooks}/hooks/wa"
        updates = [
            Update(id_, "delivered", _NUMBER, f"57300{number:0{DIGITS}d}", f"/m{number}/1")
            for number, id_ in enumerate(ids)
        ]
        batches = [updates[start : start + _BATCH] for start in range(0, len(updates), _BATCH)]
        return [
            notices.post(url, PASSWORD, "waba", notices.statuses({_NUMBER: _NUMBER}, batch, time.time()), len(batch))
            for batch in batches
        ]

    def _campaign(self, messages: int) -> Campaign:
        return TemplateCampaign(first=0, messages=messages, per_job=_PER_JOB, lanes=1, long=0.0)


@contextlib.asynccontextmanager
async def bench(concurrency: int, broker: str) -> AsyncIterator[Bench]:
    webhooks = free_port()
    async with ground(broker) as on, Provider(webhooks) as provider, ControlClient(provider.port) as control:
        yield Bench(on, broker, provider, control, webhooks, concurrency)


async def run(messages: int, concurrency: int, broker: str, profile: Path | None) -> dict[str, Any]:
    async with bench(concurrency, broker) as here:
        say("the bare client")
        before = await here.bare(messages)
        say(f"{messages / before.seconds:.0f} requests/s; the lane without webhooks, and callbacks")
        lane = await here.lane(messages, webhooks=False, statuses=True, profile=profile)
        say(f"{lane['messages_per_s']:.0f} messages/s; the bare client again")
        after = await here.bare(messages)
        say("the lane with webhooks")
        told = await here.lane(messages, webhooks=True)
    statuses = lane.pop("statuses", None)
    bare_per_s = statistics.mean(messages / took.seconds for took in (before, after))
    bare_cpu_us = statistics.mean(took.cpu_s for took in (before, after)) * 1e6 / messages
    return {
        **lane,
        "bare_per_s": round(bare_per_s, 1),
        "bare_runs_per_s": [round(messages / took.seconds, 1) for took in (before, after)],
        "bare_cpu_us": round(bare_cpu_us, 2),
        "ratio": round(lane["messages_per_s"] / bare_per_s, 3),
        "cpu_ratio": round(bare_cpu_us / lane["cpu_us_per_message"], 3),
        "lost": lane["lost"] + told["lost"] + (statuses["lost"] if statuses else 0),
        "duplicates": lane["duplicates"] + told["duplicates"],
        "with_webhooks": told,
        "statuses": statuses,
        "profiled": profile is not None,
        "target": TARGET,
        "target_statuses_per_s": TARGET_STATUSES_PER_S,
        "settings": {
            "messages": messages,
            "backlog": messages,
            "concurrency": concurrency,
            "window": concurrency,
            "rtt_ms": 0.0,
            "receipts": 1.0,
            "long": 0.0,
            "broker": broker,
        },
    }


def main() -> int:
    """Measure and print; the exit code is 1 when messages were lost or doubled, or nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=50_000, metavar="N", help="of each measurement")
    parser.add_argument("--concurrency", type=int, default=256, metavar="N", help="requests at a time")
    parser.add_argument(
        "--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="run py-spy on the gateway without webhooks, see benchmarks.pipeline",
    )
    given = parser.parse_args()
    try:
        result = uvloop.run(run(given.messages, given.concurrency, given.broker, given.profile))
    except GatewayError as error:
        say(str(error))
        return 1
    deliver("http", result, given.json)
    return 1 if result["lost"] or result["duplicates"] else 0


if __name__ == "__main__":
    sys.exit(main())
