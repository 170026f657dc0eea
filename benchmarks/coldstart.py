"""How long a gateway takes from nothing to its first bind and its first message on the wire.

`python -m benchmarks.coldstart [--backlog N] [--repeats N] [--json FILE]`: a table on stderr, JSON on stdout. Every start finds
messages in Kafka; time runs from the start of the process, so the interpreter and all imports are in it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import uvloop

from benchmarks.campaign import Campaign, Tally
from benchmarks.load import Load, all_closed
from benchmarks.settings import APACHE, EMBEDDED, lane_config, machinery_config
from benchmarks.site import Site, beside, site
from benchmarks.support import deliver, say
from gateway.errors import GatewayError
from smpp.simulator import Behaviour

_WINDOW = 100
_PER_JOB = 500
_PATIENCE_S = 60.0

Ending = Literal["stop", "kill"]
"""How the process before has ended: in good order, or by SIGKILL."""


class Starts:
    """Gateways on one site, one after the other."""

    def __init__(self, here: Site, load: Load, tally: Tally) -> None:
        self._here = here
        self._load = load
        self._tally = tally

    async def start(self, messages: int, ending: Ending) -> dict[str, float]:
        """Publish so many messages, start a gateway, wait until it has carried them, and end it."""
        here, load = self._here, self._load
        first = load.published
        await load.at_once(messages)
        binds = (await here.counts())["total_binds"]
        began = time.time()
        with here.gateway() as gateway:
            await here.until(lambda counts: counts["total_binds"] > binds, _PATIENCE_S)
            bound = time.time()
            await all_closed(self._tally, load.published, lambda: gateway.running, _PATIENCE_S)
            if ending == "stop":
                await gateway.stop()
        arrivals = [stamp for stamp in here.stamps[first : load.published] if stamp]
        return {"bound_s": bound - began, "submitted_s": min(arrivals) - began, "last_s": max(arrivals) - began}


async def run(backlog: int, repeats: int, broker: str) -> dict[str, Any]:
    few = _PER_JOB
    backlog -= backlog % _PER_JOB
    # How each of them ends is how the next one begins.
    stop: Ending = "stop"
    kill: Ending = "kill"
    endings = [stop] * repeats + [kill] * repeats + [stop] * (1 + repeats)
    plan = [
        ("topics just made", few),
        *[("after a clean stop", few)] * repeats,
        *[("after kill -9", few)] * repeats,
        *[("after a clean stop, with a backlog", backlog)] * repeats,
    ]
    total = sum(messages for _, messages in plan)
    async with site(
        lambda ground, port: (
            machinery_config(broker, ground.bootstrap, ground.store.url, paced=True)
            + lane_config("lane0", port, _WINDOW, 1, 'prefix = "+57"')
        ),
        ("lane0",),
        Behaviour(),
        total,
        broker,
    ) as here:
        campaign = Campaign(first=0, messages=total, per_job=_PER_JOB, lanes=1, long=0.0)
        load = Load(campaign, _PER_JOB, here.clients.producer, here.config.kafka.jobs_topic)
        tally = Tally(total)
        starts = Starts(here, load, tally)
        found: dict[str, list[dict[str, float]]] = {}
        async with beside(tally.follow(here.clients.events)):
            for (name, messages), ending in zip(plan, endings, strict=True):
                times = await starts.start(messages, ending)
                found.setdefault(name, []).append(times)
                say(f"{name:<40}" + "".join(f"{key} {value:<8.2f}" for key, value in times.items()))
        counts = await here.counts()
        lost = load.published - tally.final.count(1)
    return {
        "import_s": round(await asyncio.to_thread(import_s), 3),
        "starts": [
            {
                "case": name,
                "starts": len(times),
                **{key: round(statistics.median(each[key] for each in times), 2) for key in times[0]},
            }
            for name, times in found.items()
        ],
        "lost": lost,
        "duplicates": counts["duplicates"],
        "settings": {
            "window": _WINDOW,
            "rtt_ms": 0.0,
            "receipts": 1.0,
            "long": 0.0,
            "backlog": backlog,
            "broker": broker,
        },
    }


def import_s() -> float:
    """The part of it that the interpreter and the imports take."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import gateway.app, uvloop"], check=True)
    return time.monotonic() - began


def main() -> int:
    """Measure and print; the exit code is 1 when messages were lost or doubled, or nothing could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coldstart", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--backlog", type=int, default=100_000, metavar="N", help="messages of the last case")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of each case; medians count")
    parser.add_argument(
        "--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    given = parser.parse_args()
    try:
        result = uvloop.run(run(given.backlog, given.repeats, given.broker))
    except GatewayError as error:
        say(str(error))
        return 1
    deliver("coldstart", result, given.json)
    return 1 if result["lost"] or result["duplicates"] else 0


if __name__ == "__main__":
    sys.exit(main())
