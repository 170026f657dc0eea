"""What messages notice of a worker that is killed, and of an operator that goes away, while they flow.

`python -m benchmarks.failover [--rate N] [--seconds N] [--json FILE]`: a table on stderr, JSON on stdout. Two workers share
four binds of one operator; one worker is killed with SIGKILL. Then a gateway has a second lane for when the first is down:
the first operator cuts its binds and refuses new ones, and comes back.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.campaign import Campaign, Tally
from benchmarks.load import Load, Second, all_closed, rate_over_time, seconds
from benchmarks.settings import APACHE, EMBEDDED, lane_config, machinery_config
from benchmarks.site import Ground, Site, beside, site
from benchmarks.support import Gateway, deliver, say
from gateway.errors import GatewayError
from smpp.constants import CommandStatus
from smpp.simulator import Behaviour

_WINDOW = 50
_RTT_S = 0.02
_BINDS = 4
_PER_JOB = 10
_DOWN_AFTER_S = 2
_PATIENCE_S = 60.0
_NORMAL = 3.0
"""A second is as usual again when its 99th percentile is at most so many times what it was, or …"""
_NORMAL_MS = 250.0
"""… no more than this."""

Accident = Callable[[Site, Gateway], Awaitable[dict[str, float]]]


async def kill(here: Site, gateway: Gateway) -> dict[str, float]:
    """Kill a worker, and say after how many seconds all binds were there again."""
    began = time.time()
    gateway.workers()[1].kill()
    await here.until(lambda counts: counts["binds"] < _BINDS)
    await here.until(lambda counts: counts["binds"] == _BINDS, _PATIENCE_S)
    return {"at": began, "over": began, "binds_back_s": round(time.time() - began, 2)}


async def lose(here: Site, gateway: Gateway) -> dict[str, float]:
    """Have the first operator go for a while, and say when the second got the first message, and the first again."""
    began = time.time()
    await here.control.call("behaviour", system_id="lane0", changes={"bind_status": int(CommandStatus.ESME_RBINDFAIL)})
    await here.control.call("drop", system_id="lane0")
    moved = await _grown(here, "lane1", 0)
    await asyncio.sleep(2 * _DOWN_AFTER_S)
    back = time.time()
    carried = await _accepted(here, "lane0")
    await here.control.call("behaviour", system_id="lane0", changes={"bind_status": 0})
    returned = await _grown(here, "lane0", carried)
    return {
        "at": began,
        "over": moved,
        "moved_after_s": round(moved - began, 2),
        "returned_after_s": round(returned - back, 2),
    }


async def _accepted(here: Site, account: str) -> int:
    accepted: int = (await here.control.call("stats"))[account]["accepted"]
    return accepted


async def _grown(here: Site, account: str, beyond: int) -> float:
    async with asyncio.timeout(_PATIENCE_S):
        while await _accepted(here, account) <= beyond:
            await asyncio.sleep(0.02)
    return time.time()


def killed_config(broker: str) -> Callable[[Ground, int], str]:
    return lambda ground, port: (
        machinery_config(broker, ground.bootstrap, ground.store.url, paced=True, instance="bench")
        + lane_config("lane0", port, _WINDOW, _BINDS, 'prefix = "+57"')
    )


def lost_config(broker: str) -> Callable[[Ground, int], str]:
    ranked = 'prefix = "+573"\n[lanes.{}]\ndown_after_s = {s}\nup_after_s = {s}\nreconnect_max_s = 1\n'

    def lane(name: str, port: int, route: str) -> str:
        # A table is written once: what is particular to it goes in before its route.
        text, _, _ = lane_config(name, port, _WINDOW, 2, "").partition("[[routes]]")
        return f"{text}down_after_s = {_DOWN_AFTER_S}\nup_after_s = {_DOWN_AFTER_S}\nreconnect_max_s = 1\n{route}"

    assert ranked
    return lambda ground, port: (
        machinery_config(broker, ground.bootstrap, ground.store.url, paced=True)
        + lane("lane0", port, "")
        + lane("lane1", port, '[[routes]]\nlanes = ["lane0", "lane1"]\nprefix = "+57"\n')
    )


async def measure(
    configure: Callable[[Ground, int], str],
    accident: Accident,
    options: tuple[str, ...],
    rate: float,
    length_s: float,
    broker: str,
) -> dict[str, Any]:
    """Offer a rate before and after an accident, and say what the messages noticed."""
    # As much again for what is waited for in the accident itself.
    messages = int(rate * (2 * length_s + _PATIENCE_S))
    async with site(
        configure, ("lane0", "lane1"), Behaviour(latency_s=_RTT_S), messages, broker
    ) as here:
        campaign = Campaign(first=0, messages=messages, per_job=_PER_JOB, lanes=1, long=0.0)
        load = Load(campaign, _PER_JOB, here.clients.producer, here.config.kafka.jobs_topic)
        tally = Tally(messages)
        gateway = here.gateway(*options)
        async with beside(tally.follow(here.clients.events)):
            with gateway:
                await here.until(lambda counts: counts["binds"] == _BINDS)
                stop = asyncio.Event()
                publishing = asyncio.create_task(load.while_wanted(rate, stop))
                await asyncio.sleep(length_s)
                happened = await accident(here, gateway)
                await asyncio.sleep(length_s)
                stop.set()
                await publishing
                closed = await all_closed(tally, load.published, lambda: gateway.running, _PATIENCE_S)
                counts = await here.counts()
                await gateway.stop()
        rows = seconds(campaign, _PER_JOB, load.published, here.stamps)
        started = campaign.appended_at[0]
        at, over = (happened.pop(name) - started for name in ("at", "over"))
        normal, recovered = recovery(rows, at, over)
        arrivals = sorted(stamp for stamp in here.stamps[: load.published] if stamp)
        return {
            **happened,
            "offered_per_s": rate,
            "messages": load.published,
            "accident_at_s": round(at, 2),
            "longest_gap_s": round(max(b - a for a, b in zip(arrivals, arrivals[1:], strict=False)), 3),
            "p99_before_ms": normal,
            "p99_worst_ms": max(row.p99_ms for row in rows),
            "p99_back_after_s": recovered,
            "lost": load.published - closed,
            "in_doubt": tally.counts["unknown"],
            "duplicates": counts["duplicates"],
            "rate_over_time": rate_over_time(here.stamps, load.published),
            "p99_over_time": [(row.at, row.p99_ms) for row in rows],
        }


def recovery(rows: list[Second], at: float, over: float) -> tuple[float, float | None]:
    """The usual 99th percentile before an accident at `at`, and after how many seconds from `over` on it was usual again.

    None if it was not before the end. All are in seconds of publication.
    """
    # The first second is that of the first fetches.
    before = sorted(row.p99_ms for row in rows if 1 <= row.at <= at - 1) or [rows[0].p99_ms]
    normal = before[len(before) // 2]
    bound = max(_NORMAL * normal, _NORMAL_MS)
    bad = [row.at for row in rows if row.at >= int(at) and row.p99_ms > bound]
    if bad and bad[-1] == rows[-1].at:
        return normal, None
    return normal, max(0.0, round(bad[-1] + 1 - over, 2)) if bad else 0.0


async def run(rate: float, length_s: float, broker: str) -> dict[str, Any]:
    results = {}
    for name, configure, accident, options in (
        ("worker killed", killed_config(broker), kill, ("--workers", "2")),
        ("operator away", lost_config(broker), lose, ()),
    ):
        result = results[name] = await measure(configure, accident, options, rate, length_s, broker)
        say(name + "".join(f"  {key} {value}" for key, value in result.items() if not isinstance(value, list)))
    return {
        "accidents": results,
        "lost": sum(result["lost"] for result in results.values()),
        "duplicates": sum(result["duplicates"] for result in results.values()),
        "settings": {
            "window": _WINDOW,
            "binds": _BINDS,
            "rtt_ms": _RTT_S * 1000,
            "receipts": 1.0,
            "long": 0.0,
            "backlog": 0,
            "rate": rate,
            "seconds": length_s,
            "down_after_s": _DOWN_AFTER_S,
            "broker": broker,
        },
    }
