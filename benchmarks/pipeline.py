"""How fast and how dear is the whole durable path, from a job in Kafka to the event of its receipt?

`python -m benchmarks.pipeline --help`. Simulator, broker, store and gateway are processes of their own; progress goes to
stderr, the result as JSON to stdout. What each figure means is in docs/benchmarks.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.campaign import Campaign, Tally
from benchmarks.codec import yardstick_us
from benchmarks.settings import Outputs, Settings, gateway_config, parse_arguments
from benchmarks.site import Site, beside, site
from benchmarks.support import BenchmarkError, Meter, Profiler, machine, percentile_ms, say, versions
from benchmarks.timeline import rate_over_time
from gateway.errors import GatewayError
from smpp.simulator import Behaviour

_YARDSTICKS = 5
"""Before the run, and again after it."""
_YARDSTICK_EVERY_S = 1.0
"""During a run with a backlog: the speed of a shared machine changes within seconds, and figures of two moments have no ratio."""
_PATIENCE_S = 30.0
"""Without any event, until what is missing counts as lost."""
_LINGER_S = 1.0
"""After the last event that was waited for, for those that should not come."""


class Run:
    """One measurement. The processes belong to `main`; here messages go in and figures come out."""

    def __init__(self, settings: Settings, here: Site) -> None:
        self._settings = settings
        self._here = here
        self._gateway = here.gateway()
        self._stamps = here.stamps
        self.yardsticks: list[float] = []
        """Taken while messages flowed."""
        self._tally = Tally(settings.messages + settings.warm_up)
        self._campaign = self._make(0, settings.messages)

    async def measure(self, profile: Path | None) -> dict[str, Any]:
        """Publish, wait until the account closes, and return the figures."""
        others = self._here.pids
        settings, campaign = self._settings, self._campaign
        async with beside(self._tally.follow(self._here.clients.events)):
            if settings.offered is None:
                say("publishing")
                await self._publish(campaign)
            with self._gateway as gateway:
                meter = Meter({"gateway": gateway.process.pid, **others, "benchmark": os.getpid()})
                async with beside(meter.run()):
                    if settings.offered is not None:
                        warm_up = self._make(settings.messages, settings.warm_up)
                        await self._publish(warm_up)
                        await self._all_closed(warm_up)
                    profiler = Profiler(gateway.process.pid, profile) if profile else contextlib.nullcontext()
                    with profiler:
                        async with asyncio.TaskGroup() as group:
                            if settings.offered is not None:
                                group.create_task(self._publish(campaign))
                            async with beside(self._measure_smpplib()):
                                await self._all_closed(campaign)
                    result = await self._result(meter, list(others))
                if gateway.running:
                    await gateway.stop()
                return result | {"warnings": gateway.complaints()}

    async def _publish(self, campaign: Campaign) -> None:
        await campaign.publish(self._here.clients.producer, self._here.config.kafka.jobs_topic, self._settings.offered)

    async def _measure_smpplib(self) -> None:
        """Take a yardstick now and then until cancelled; a paced campaign is not held up by it, and takes none."""
        while self._settings.offered is None:
            await asyncio.sleep(_YARDSTICK_EVERY_S)
            if self._tally.seen_at:
                self.yardsticks.append(await asyncio.to_thread(yardstick_us))

    def _make(self, first: int, messages: int) -> Campaign:
        settings = self._settings
        return Campaign(
            first=first,
            messages=messages,
            per_job=settings.recipients_per_job,
            lanes=settings.lanes,
            long=settings.long,
        )

    def _closed(self, campaign: Campaign) -> int:
        """Messages with a final event. Where not all get a receipt, `submitted` is final."""
        flags = self._tally.final if self._settings.receipts >= 1 else self._tally.submitted
        return flags.count(1, campaign.first, campaign.first + campaign.messages)

    async def _all_closed(self, campaign: Campaign) -> None:
        """Return when the account of a campaign closes, or when nothing happens any more."""
        tally = self._tally
        began = said = time.time()
        while True:
            await asyncio.sleep(0.02)
            closed = self._closed(campaign)
            now = time.time()
            if closed == campaign.messages and (self._settings.receipts >= 1 or not await self._pending()):
                break
            if not self._gateway.running:
                say(f"the gateway has ended\n{self._gateway.log_end()}")
                break
            if now - max(began, tally.seen_at) > _PATIENCE_S:
                say(f"nothing happens any more\n{self._gateway.log_end()}")
                break
            if now - said >= 1:
                said = now
                say(f"{now - began:4.0f} s  submitted {tally.counts['submitted']}  closed {closed}")

    async def _pending(self) -> int:
        pending: int = (await self._here.counts())["pending"]
        return pending

    async def _result(self, meter: Meter, others: list[str]) -> dict[str, Any]:
        settings, campaign, tally = self._settings, self._campaign, self._tally
        end = tally.last_at
        await asyncio.sleep(_LINGER_S)
        meter.sample()
        counts = await self._here.counts()
        arrivals = sorted(stamp for stamp in self._stamps[: settings.messages] if stamp)
        if not arrivals:
            raise BenchmarkError(f"nothing was submitted\n{self._gateway.log_end()}")
        first = arrivals[0]
        work = first if settings.offered is not None else min(first, tally.first_at)
        latencies = campaign.latencies(self._stamps)
        cpu_s = meter.cpu_s("gateway", work, end)
        closed = self._closed(campaign)
        per_message = 1e6 / settings.messages
        return {
            "messages_per_s": round(closed / (end - first), 1),
            "cpu_us_per_message": round(cpu_s * per_message, 2),
            "cpu_us_per_message_in_kernel": round(meter.kernel_s("gateway", work, end) * per_message, 2),
            "p50_ms": percentile_ms(latencies, 0.5),
            "p99_ms": percentile_ms(latencies, 0.99),
            "max_ms": percentile_ms(latencies, 1),
            "rss_mb": round(meter.peak_rss_mb("gateway"), 1),
            "lost": settings.messages - closed,
            "duplicates": counts["duplicates"] + tally.repeated,
            "submitted_per_s": round((len(arrivals) - 1) / max(arrivals[-1] - first, 1e-3), 1),
            "rate_first": _rate(arrivals[: len(arrivals) // 5 + 1]),
            "rate_last": _rate(arrivals[-(len(arrivals) // 5 + 1) :]),
            "rate_over_time": rate_over_time(self._stamps[: settings.messages]),
            "seconds": round(end - first, 3),
            "intake_lead_s": round(first - work, 3),
            "cpu_us_per_message_elsewhere": {
                name: round(meter.cpu_s(name, work, end) * per_message, 1) for name in [*others, "benchmark"]
            },
            "cores_taken_by_others": round(meter.strangers(work, end), 2),
            "events": dict(tally.counts),
            "receipts": counts["receipts"],
        }


def _rate(ascending: list[float]) -> float:
    """Messages per second between the first and the last of these arrivals."""
    return round((len(ascending) - 1) / max(ascending[-1] - ascending[0], 1e-3), 1)


async def main(settings: Settings, profile: Path | None) -> dict[str, Any]:
    facts = machine()
    before = [yardstick_us() for _ in range(_YARDSTICKS)]
    behaviour = Behaviour(latency_s=settings.rtt_ms / 1000, receipt_ratio=settings.receipts)
    messages = settings.messages + settings.warm_up
    async with site(
        lambda ground, port: gateway_config(settings, ground.bootstrap, ground.store.url, port),
        settings.lane_names,
        behaviour,
        messages,
        settings.broker,
    ) as here:
        run = Run(settings, here)
        result = await run.measure(profile)
    after = [yardstick_us() for _ in range(_YARDSTICKS)]
    yardstick = statistics.mean(run.yardsticks or before + after)
    return {
        **result,
        "yardstick_us": round(yardstick, 2),
        "yardsticks_us": {
            name: [round(sample, 1) for sample in samples]
            for name, samples in (("before", before), ("during", run.yardsticks), ("after", after))
        },
        "ratio": round(result["cpu_us_per_message"] / yardstick, 3),
        "profiled": profile is not None,
        "settings": msgspec.to_builtins(settings),
        "versions": versions(),
        "machine": facts,
    }


def report(settings: Settings, outputs: Outputs) -> int:
    """Measure and print; the exit code is 1 when messages were lost or doubled, or nothing could be measured."""
    try:
        result = uvloop.run(main(settings, outputs.profile))
    except GatewayError as error:
        say(str(error))
        return 1
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    if outputs.json is not None:
        outputs.json.write_text(text + "\n")
    print(text)
    return 1 if result["lost"] or result["duplicates"] else 0


if __name__ == "__main__":
    sys.exit(report(*parse_arguments()))
