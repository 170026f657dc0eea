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
from itertools import pairwise
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.campaign import Campaign, Tally
from benchmarks.load import Load, all_closed
from benchmarks.settings import APACHE, EMBEDDED, lane_config, lane_table, machinery_config
from benchmarks.site import Ground, Site, beside, site
from benchmarks.support import Gateway, deliver, say
from benchmarks.timeline import back_after_s, rate_over_time, seconds, usual_ms
from gateway.errors import GatewayError
from smpp.constants import CommandStatus
from smpp.simulator import Behaviour

_WINDOW = 50
_RTT_S = 0.02
_BINDS = 4
_PER_JOB = 10
_DOWN_AFTER_S = 2
_PATIENCE_S = 60.0

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
    carried = (await here.counts("lane0"))["accepted"]
    await here.control.call("behaviour", system_id="lane0", changes={"bind_status": 0})
    returned = await _grown(here, "lane0", carried)
    return {
        "at": began,
        "over": moved,
        "moved_after_s": round(moved - began, 2),
        "returned_after_s": round(returned - back, 2),
    }


async def _grown(here: Site, account: str, beyond: int) -> float:
    await here.until(lambda counts: counts["accepted"] > beyond, _PATIENCE_S, account)
    return time.time()


def killed_config(broker: str) -> Callable[[Ground, int], str]:
    return lambda ground, port: (
        machinery_config(broker, ground.bootstrap, ground.store.url, paced=True, instance="bench")
        + lane_config("lane0", port, _WINDOW, _BINDS, 'prefix = "+57"')
    )


def lost_config(broker: str) -> Callable[[Ground, int], str]:
    more = f"down_after_s = {_DOWN_AFTER_S}\nup_after_s = {_DOWN_AFTER_S}\nreconnect_max_s = 1\n"
    return lambda ground, port: (
        machinery_config(broker, ground.bootstrap, ground.store.url, paced=True)
        + "".join(lane_table(name, port, _WINDOW, _BINDS // 2) + more for name in ("lane0", "lane1"))
        + '[[routes]]\nlanes = ["lane0", "lane1"]\nprefix = "+57"\n'
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
    async with site(configure, ("lane0", "lane1"), Behaviour(latency_s=_RTT_S), messages, broker) as here:
        campaign = Campaign(first=0, messages=messages, per_job=_PER_JOB, lanes=1, long=0.0)
        load = Load(campaign, _PER_JOB, here.clients.producer, here.config.kafka.jobs_topic)
        tally = Tally(messages)
        gateway = here.gateway(*options)
        async with beside(tally.follow(here.clients.events)):
            with gateway:
                await here.until(lambda counts: counts["binds"] == _BINDS)
                over = asyncio.Event()
                publishing = asyncio.create_task(load.at_rate(rate, over.is_set))
                try:
                    await asyncio.sleep(length_s)
                    happened = await accident(here, gateway)
                    await asyncio.sleep(length_s)
                finally:
                    over.set()
                    await publishing
                closed = await all_closed(tally, load.published, lambda: gateway.running, _PATIENCE_S)
                counts = await here.counts()
                await gateway.stop()
        rows = seconds(campaign, _PER_JOB, range(load.jobs), here.stamps)
        started = campaign.appended_at[0]
        at, ended = (happened.pop(name) - started for name in ("at", "over"))
        usual = usual_ms(rows, at)
        arrivals = sorted(stamp for stamp in here.stamps[: load.published] if stamp)
        return {
            **happened,
            "offered_per_s": rate,
            "messages": load.published,
            "accident_at_s": round(at, 2),
            "longest_gap_s": round(max(b - a for a, b in pairwise(arrivals)), 3),
            "p99_before_ms": usual,
            "p99_worst_ms": max(row.p99_ms for row in rows),
            "p99_back_after_s": back_after_s(rows, usual, at, ended),
            "lost": load.published - closed,
            "in_doubt": tally.counts["unknown"],
            "duplicates": counts["duplicates"],
            "rate_over_time": rate_over_time(here.stamps[: load.published]),
            "p99_over_time": [(row.at, row.p99_ms) for row in rows],
        }


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


def main() -> int:
    """Measure and print; the exit code is 1 when messages were lost or doubled, or nothing could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failover", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rate", type=float, default=1000, metavar="N", help="messages per second")
    parser.add_argument("--seconds", type=float, default=15, help="before each accident, and again after it")
    parser.add_argument(
        "--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    given = parser.parse_args()
    try:
        result = uvloop.run(run(given.rate, given.seconds, given.broker))
    except GatewayError as error:
        say(str(error))
        return 1
    deliver("failover", result, given.json)
    return 1 if result["lost"] or result["duplicates"] else 0


if __name__ == "__main__":
    sys.exit(main())
