"""How long a message takes from its job in Kafka to the wire, under growing load.

`python -m benchmarks.latency [--loads 100,500,…] [--seconds N] [--json FILE]`: a table on stderr, JSON on stdout. One gateway
runs all the time, and every message is a job of its own, as one-time passwords are. The loads end with the first that is not
carried.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.campaign import Campaign, Tally
from benchmarks.load import Load, after, all_closed
from benchmarks.settings import APACHE, EMBEDDED, lane_config, machinery_config
from benchmarks.site import Site, beside, site
from benchmarks.support import BenchmarkError, Gateway, Meter, deliver, percentile_ms, say
from gateway.errors import GatewayError
from smpp.simulator import Behaviour

_WINDOW = 100
_RTT_S = 0.01
_WARM_UP = 500
_LOADS = "50,100,250,500,1000,2000"
_PATIENCE_S = 15.0
_NOT_CARRIED_MS = 1000.0
"""A median beyond it is a queue that grows."""
_SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}


class Ladder:
    """One load after the other on a gateway that runs."""

    def __init__(self, here: Site, gateway: Gateway, messages: int) -> None:
        self._here = here
        self._gateway = gateway
        self._tally = Tally(messages)
        self._campaign = Campaign(first=0, messages=messages, per_job=1, lanes=1, long=0.0)
        self._load = Load(self._campaign, 1, here.clients.producer, here.config.kafka.jobs_topic)

    async def climb(self, loads: list[float], seconds: float) -> list[dict[str, Any]]:
        """Measure each load for so long."""
        meter = Meter({"gateway": self._gateway.process.pid, **self._here.pids, "benchmark": os.getpid()})
        rows = []
        async with beside(self._tally.follow(self._here.clients.events)), beside(meter.run()):
            await self._load.at_once(_WARM_UP)
            if await self._closed() < self._load.published:
                raise BenchmarkError(f"the gateway does not carry anything\n{self._gateway.log_end()}")
            for load in loads:
                row = await self._measure(load, seconds, meter)
                rows.append(row)
                say("".join(f"{name} {value:<12}" for name, value in row.items() if not isinstance(value, dict)))
                if row["lost"] or row["p50_ms"] > _NOT_CARRIED_MS:
                    break
        return rows

    @property
    def repeated(self) -> int:
        return self._tally.repeated

    async def _measure(self, load: float, seconds: float, meter: Meter) -> dict[str, Any]:
        first = self._load.published
        began = time.time()
        await self._load.at_rate(load, after(seconds))
        last = self._load.published
        closed = await self._closed()
        ended = max(self._tally.last_at, began + 1e-3)
        meter.sample()
        stamps, appended_at = self._here.stamps, self._campaign.appended_at
        took = sorted(stamps[n] - appended_at[n] for n in range(first, last) if stamps[n])
        if not took:
            raise BenchmarkError(f"nothing was submitted\n{self._gateway.log_end()}")
        arrived = max(stamps[first:last]) - min(stamp for stamp in stamps[first:last] if stamp)
        return {
            "offered_per_s": load,
            "carried_per_s": round(len(took) / max(arrived, 1e-3), 1),
            **{name: percentile_ms(took, share) for name, share in _SHARES.items()},
            "cpu_us_per_message": round(meter.cpu_s("gateway", began, ended) * 1e6 / (last - first), 1),
            "cpu_share": round(meter.cpu_s("gateway", began, ended) / (ended - began), 3),
            "cores_taken_by_others": round(meter.strangers(began, ended), 2),
            "lost": last - closed,
        }

    async def _closed(self) -> int:
        return await all_closed(self._tally, self._load.published, lambda: self._gateway.running, _PATIENCE_S)


async def run(loads: list[float], seconds: float, broker: str) -> dict[str, Any]:
    messages = _WARM_UP + sum(int(load * seconds) + 2 for load in loads)
    async with site(
        lambda ground, port: (
            machinery_config(broker, ground.bootstrap, ground.store.url, paced=True)
            + lane_config("lane0", port, _WINDOW, 1, 'prefix = "+57"')
        ),
        ("lane0",),
        Behaviour(latency_s=_RTT_S),
        messages,
        broker,
    ) as here:
        with here.gateway() as gateway:
            ladder = Ladder(here, gateway, messages)
            rows = await ladder.climb(loads, seconds)
            counts = await here.counts()
            await gateway.stop()
    return {
        "loads": rows,
        "lost": sum(row["lost"] for row in rows),
        "duplicates": counts["duplicates"] + ladder.repeated,
        "settings": {
            "window": _WINDOW,
            "rtt_ms": _RTT_S * 1000,
            "receipts": 1.0,
            "long": 0.0,
            "backlog": 0,
            "seconds": seconds,
            "broker": broker,
        },
    }


def main() -> int:
    """Measure and print; the exit code is 1 when messages were lost or doubled, or nothing could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--loads", default=_LOADS, metavar="N,N,…", help=f"messages per second, default: {_LOADS}")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument(
        "--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    given = parser.parse_args()
    try:
        result = uvloop.run(run([float(load) for load in given.loads.split(",")], given.seconds, given.broker))
    except GatewayError as error:
        say(str(error))
        return 1
    deliver("latency", result, given.json)
    return 1 if result["lost"] or result["duplicates"] else 0


if __name__ == "__main__":
    sys.exit(main())
