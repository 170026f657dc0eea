"""What happens to the CPU of a message with more lanes, more slots, more waiting, and more workers; and a model beyond.

`python -m benchmarks.scale [--messages N] [--json FILE]`: a table on stderr, JSON on stdout. Every case is a backlog that is
published at once to workers that have all their binds, and carried to its end with every receipt; the cost is the CPU time of
all workers over the messages, beside smpplib's in the same seconds. The model is in `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import asyncio
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
from benchmarks.load import TenantCampaign, all_closed
from benchmarks.settings import APACHE, EMBEDDED, lane_config, machinery_config
from benchmarks.site import Ground, Site, beside, site
from benchmarks.support import BenchmarkError, Gateway, Meter, deliver, say
from benchmarks.timeline import rate_over_time
from gateway.errors import GatewayError
from smpp.simulator import Behaviour

_WINDOW = 100
_PER_JOB = 500
_PATIENCE_S = 30.0
_BIND_PATIENCE_S = 90.0
_STEADY_S = 3.0
_RISES = 1.15
"""A cost above that of the plainest case by this factor has risen; below it two runs of the same case differ as much."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is different from the plainest case: one worker, one lane, one slot."""

    messages: int
    lanes: int = 1
    binds: int = 1
    workers: int = 1

    @property
    def slots(self) -> int:
        return self.lanes * self.binds

    def configure(self, broker: str, ground: Ground, port: int) -> str:
        text = machinery_config(broker, ground.bootstrap, ground.store.url, paced=False)
        for number in range(self.lanes):
            text += lane_config(f"lane{number}", port, _WINDOW, self.binds, f'tenant = "t{number}"')
        return text


def cases(messages: int) -> dict[str, list[Case]]:
    """By what grows. The plainest case comes first in each; it is measured once."""
    plain = Case(messages=messages)
    return {
        "lanes": [plain, Case(messages=messages, lanes=10), Case(messages=messages, lanes=50)],
        "slots": [
            plain,
            Case(messages=messages, binds=20),
            Case(messages=messages, lanes=4, binds=50),  # a lane has 64 at most
        ],
        "backlog": [plain, Case(messages=2 * messages), Case(messages=5 * messages)],
        # As many binds in both, so that what differs is who has them.
        "workers": [Case(messages=messages, binds=4), Case(messages=messages, binds=4, workers=2)],
    }


async def measure(case: Case, broker: str) -> dict[str, Any]:
    """Carry one backlog."""
    accounts = tuple(f"lane{number}" for number in range(case.lanes))
    async with site(
        lambda ground, port: case.configure(broker, ground, port), accounts, Behaviour(), case.messages, broker
    ) as here:
        # Enough jobs for every lane to have several, however few messages there are.
        per_job = min(_PER_JOB, max(1, case.messages // (4 * case.lanes)))
        campaign = TenantCampaign(case.lanes, messages=case.messages, per_job=per_job)
        tally = Tally(case.messages)
        gateway = here.gateway("--workers", str(case.workers))
        async with beside(tally.follow(here.clients.events)):
            with gateway:
                return await _carried(case, here, gateway, campaign, tally)


async def _carried(case: Case, here: Site, gateway: Gateway, campaign: Campaign, tally: Tally) -> dict[str, Any]:
    await _all_bound(here, case.slots)
    pids = {f"worker{number}": process.pid for number, process in gateway.workers().items()}
    meter = Meter({**pids, **here.pids, "benchmark": os.getpid()})
    yardsticks: list[float] = []
    async with beside(meter.run()), beside(_yardsticks(tally, yardsticks)):
        await campaign.publish(here.clients.producer, here.config.kafka.jobs_topic, None)
        closed = await all_closed(tally, case.messages, lambda: gateway.running, _PATIENCE_S)
        await asyncio.sleep(0.1)
        meter.sample()
    counts = await here.counts()
    await gateway.stop()
    arrivals = [stamp for stamp in here.stamps[: case.messages] if stamp]
    if not arrivals:
        raise BenchmarkError(f"nothing was submitted\n{gateway.log_end()}")
    work, first, end = campaign.appended_at[0], min(arrivals), tally.last_at
    per_message = 1e6 / case.messages
    cost = {name: round(meter.cpu_s(name, work, end) * per_message, 2) for name in [*pids, *here.pids]}
    workers_us = sum(cost.pop(name) for name in pids)
    yardstick = statistics.mean(yardsticks or [yardstick_us()])
    return {
        **msgspec.to_builtins(case),
        "slots": case.slots,
        "messages_per_s": round(closed / (end - first), 1),
        "cpu_us_per_message": round(workers_us, 2),
        "cpu_us_per_message_elsewhere": cost,
        "yardstick_us": round(yardstick, 2),
        "ratio": round(workers_us / yardstick, 3),
        "rss_mb": round(sum(meter.peak_rss_mb(name) for name in pids), 1),
        "lost": case.messages - closed,
        "duplicates": counts["duplicates"] + tally.repeated,
        "cores_taken_by_others": round(meter.strangers(work, end), 2),
        "rate_over_time": rate_over_time(here.stamps[: case.messages]),
    }


async def _all_bound(here: Site, slots: int) -> None:
    """Return when all binds are up and stay where they are: a worker that comes late is given some of them."""
    since, before = time.monotonic(), -1

    def steady(counts: dict[str, Any]) -> bool:
        nonlocal since, before
        if counts["binds"] < slots or counts["total_binds"] != before:
            since, before = time.monotonic(), counts["total_binds"]
        return time.monotonic() - since > _STEADY_S

    await here.until(steady, _BIND_PATIENCE_S)


async def _yardsticks(tally: Tally, samples: list[float]) -> None:
    while True:
        await asyncio.sleep(0.5)
        if tally.seen_at:
            samples.append(await asyncio.to_thread(yardstick_us))


def model(one: dict[str, Any], two: dict[str, Any], most: int = 16) -> dict[str, Any]:
    """Messages a second of N workers with a core each, from what one and two cost.

    Each further worker is assumed to add to the cost of a message as much as the second did; store and broker to cost a message
    what they did with one worker, the store on one core, whoever asks. What is reached is the least of the three.
    """
    added = max(0.0, two["cpu_us_per_message"] - one["cpu_us_per_message"])
    elsewhere = one["cpu_us_per_message_elsewhere"]
    # The kernel counts CPU time in hundredths of a second.
    store_s = 1e6 / max(elsewhere["store"], 1e4 / one["messages"])
    rows = []
    workers = 1
    while workers <= most:
        cost = one["cpu_us_per_message"] + added * (workers - 1)
        rows.append(
            {"workers": workers, "cpu_us_per_message": round(cost, 1), "of_workers_per_s": round(workers * 1e6 / cost)}
        )
        workers *= 2
    for row in rows:
        row["messages_per_s"] = min(row["of_workers_per_s"], round(store_s))
    first = next((row["workers"] for row in rows if row["of_workers_per_s"] > store_s), None)
    return {
        "added_us_per_worker": round(added, 2),
        "store_us_per_message": elsewhere["store"],
        "broker_us_per_message": elsewhere.get("broker"),
        "store_most_per_s": round(store_s),
        "store_saturates_at_workers": first,
        "rows": rows,
    }


def rises(by_growth: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What rises, and by how much: ratios to smpplib are compared, which a slow moment of the machine does not change."""
    found = []
    for name, rows in by_growth.items():
        plain = rows[0]
        for row in rows[1:]:
            factor = row["ratio"] / plain["ratio"]
            if factor > _RISES:
                grown = {"lanes": "lanes", "slots": "slots", "backlog": "messages", "workers": "workers"}[name]
                text = f"{name}: {factor:.2f} times the CPU of a message at {row[grown]} instead of {plain[grown]}"
                found.append(text)
    return found


async def run(messages: int, broker: str) -> dict[str, Any]:
    measured: dict[Case, dict[str, Any]] = {}
    results: dict[str, list[dict[str, Any]]] = {}
    for name, group in cases(messages).items():
        for case in group:
            if case not in measured:
                measured[case] = await measure(case, broker)
                say(_row(name, measured[case]))
        results[name] = [measured[case] for case in group]
    one, two = results["workers"]
    return {
        "cases": results,
        "rises": rises(results),
        "model": model(one, two),
        "lost": sum(row["lost"] for row in measured.values()),
        "duplicates": sum(row["duplicates"] for row in measured.values()),
        "settings": {
            "window": _WINDOW,
            "rtt_ms": 0.0,
            "receipts": 1.0,
            "long": 0.0,
            "backlog": f"{messages} to {5 * messages}",
            "broker": broker,
        },
    }


def _row(name: str, row: dict[str, Any]) -> str:
    return (
        f"{name:<8} lanes {row['lanes']:>3} slots {row['slots']:>4} workers {row['workers']} messages {row['messages']:>8}"
        f"{row['cpu_us_per_message']:>9} µs{row['ratio']:>7} of smpplib{row['messages_per_s']:>9}/s{row['rss_mb']:>7} MB"
    )


def main() -> int:
    """Measure and print; the exit code is 1 when messages were lost or doubled, or nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--messages", type=int, default=100_000, metavar="N", help="of the smallest backlog; the largest is 5 N"
    )
    parser.add_argument(
        "--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    given = parser.parse_args()
    try:
        result = uvloop.run(run(given.messages, given.broker))
    except GatewayError as error:
        say(str(error))
        return 1
    for line in [*result["rises"], *map(str, result["model"]["rows"])]:
        say(line)
    deliver("scale", result, given.json)
    return 1 if result["lost"] or result["duplicates"] else 0


if __name__ == "__main__":
    sys.exit(main())
