"""Half an hour of messages while things go wrong: is any lost, does the gateway find its way back, does it grow?

`python -m benchmarks.soak [--minutes N] [--headline | --offered N] [--json FILE]`: progress on stderr, JSON on stdout. Two
workers first show what they can carry; then they are offered 70 % of that, and once a minute something goes wrong (more often in
a run of less than ten minutes, so that everything does once). `--headline` offers as much as is carried, and kills a worker once
a minute; `--offered` offers so much without asking what can be carried, beside other work. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvloop

from benchmarks import faults
from benchmarks.campaign import MAX_OF_ONE_LANE, Campaign, Tally
from benchmarks.load import Load, after, all_closed, finals
from benchmarks.settings import APACHE, EMBEDDED, lane_config, machinery_config
from benchmarks.site import Site, beside, site
from benchmarks.support import BenchmarkError, Gateway, deliver, percentile_ms, say
from benchmarks.timeline import Second, back_after_s, rate_over_time, seconds, slope, usual_ms
from gateway.errors import GatewayError
from smpp.simulator import Behaviour

BACK_WITHIN_S = 10.0
"""The 99th percentile has to be as usual so soon after a fault is over."""
SHARE = 0.7
"""Of what the workers can carry is what they are offered."""

_OFFERED = 0.99
"""Of that is in fact, or the run says nothing: publishers begin and end with a job."""

_REMEMBERED = """
[claims]
ttl_s = 300
[receipts]
ttl_s = 300
"""
"""Short, so that the store is as full after some minutes as it will ever be, and reads no more than that when it restarts."""

_LANE = "lane0"
_WORKERS = 2
_PER_JOB = 20
_MOST_PER_S = 12_000
"""For how many messages there is room."""
_EVERY_S = 60.0
_JUDGED_FROM_S = 600.0
"""A shorter run says little about whether memory grows: what warms up looks like a leak."""
_GROWTH_MB_PER_H = 20.0
_GROWTH_FILES = 2
_PATIENCE_S = 90.0
_LOOK_S = 1.0


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """The operator, and what is sent."""

    rtt_ms: float = 20.0
    window: int = 100
    binds: int = 4
    receipts: float = 1.0
    long: float = 0.2

    @property
    def in_flight(self) -> int:
        """Parts that may be unanswered: no more are in doubt when they all are lost at once."""
        return self.window * self.binds


HEADLINE = Mix(rtt_ms=50.0, window=50, binds=8)


class Vitals:
    """What the workers, the store and the broker hold, once a second."""

    def __init__(self, here: Site, gateway: Gateway, load: Load, tally: Tally) -> None:
        self._here = here
        self._gateway = gateway
        self._load = load
        self._tally = tally
        self.rows: list[dict[str, float]] = []
        self.first_workers: set[int] = set()
        """The processes that have been the first worker: one, if it lived all the time."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            workers = self._gateway.workers()
            row: dict[str, float] = {"at": time.time()}
            with contextlib.suppress(psutil.Error, KeyError):
                first = workers[0]
                row |= {"rss_mb": first.memory_info().rss / 1e6, "files": first.num_fds()}
                self.first_workers.add(first.pid)
            for name, pid in self._servers().items():
                with contextlib.suppress(psutil.Error):
                    row[f"{name}_rss_mb"] = psutil.Process(pid).memory_info().rss / 1e6
            row["open"] = self._load.published - finals(self._tally)
            self.rows.append(row)
            await asyncio.sleep(_LOOK_S)

    def _servers(self) -> Mapping[str, int]:
        return {name: pid for name, pid in self._here.pids.items() if name != "simulator"}


class Soak:
    """One run over a site, with its gateway."""

    def __init__(self, here: Site, gateway: Gateway, mix: Mix, length_s: float, messages: int) -> None:
        self._here = here
        self._gateway = gateway
        self._mix = mix
        self._length_s = length_s
        self._campaign = Campaign(first=0, messages=messages, per_job=_PER_JOB, lanes=1, long=mix.long)
        self._load = Load(self._campaign, _PER_JOB, here.clients.producer, here.config.kafka.jobs_topic)
        self._tally = Tally(messages)
        self._vitals = Vitals(here, gateway, self._load, self._tally)

    async def run(self, *, headline: bool, offered: float | None) -> dict[str, Any]:
        """Measure, with the account closed at the end."""
        async with beside(self._tally.follow(self._here.clients.events)), beside(self._vitals.run()):
            await self._here.until(lambda counts: counts["binds"] == self._mix.binds, _PATIENCE_S)
            if headline:
                result = await self._sustained()
            else:
                result = await self._offered(offered)
            say("closing the account")
            closed = await self._all_closed()
        return {**result, **await self._account(closed), **self._body()}

    # What is offered.

    async def _sustained(self) -> dict[str, Any]:
        """As much as is carried, for the whole time, while a worker is killed now and then."""
        every_s = min(_EVERY_S, self._length_s / 3)
        wrong = faults.Calamities(self._here, self._gateway, {"worker killed": faults.kill_worker}, every_s)
        began, before = time.time(), await self._here.counts()
        over = after(self._length_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(wrong.run(over))
            group.create_task(self._saturate(over))
        took, counts = time.time() - began, await self._here.counts()
        return {
            "parts_per_s": round((counts["parts"] - before["parts"]) / took, 1),
            "messages_per_s": round((counts["messages"] - before["messages"]) / took, 1),
            "seconds": round(took, 1),
            "faults": [{"fault": name, "at_s": round(at - began, 1)} for name, at, _ in wrong.log],
            "incidents": len(wrong.log),
            "rate_over_time": rate_over_time(self._here.stamps[: self._load.published]),
        }

    async def _offered(self, given: float | None) -> dict[str, Any]:
        """So much, or a share of what can be carried, for the whole time, while all kinds of things go wrong."""
        capacity = None
        if given is None:
            capacity = await self._capacity()
            given = SHARE * capacity
        rate = min(given, (self._campaign.messages - self._load.published) / self._length_s)
        say(f"{rate:.0f} messages/s are offered for {self._length_s:.0f} s")
        possible = faults.of(self._here)
        every_s = min(_EVERY_S, self._length_s / (len(possible) + 1.5))
        wrong = faults.Calamities(self._here, self._gateway, possible, every_s)
        first, before = self._load.jobs, self._load.published
        # The last fault has as much time as all others.
        calm = after(self._length_s - every_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(wrong.run(calm))
            group.create_task(self._load.at_rate(rate, after(self._length_s)))
        offered = (self._load.published - before) / self._length_s
        await self._all_closed()
        jobs = range(first, self._load.jobs)
        rows = seconds(self._campaign, _PER_JOB, jobs, self._here.stamps)
        started = self._campaign.appended_at[first]
        stamps = self._here.stamps[first * _PER_JOB : self._load.published]
        return {
            "capacity_per_s": capacity and round(capacity, 1),
            "offered_per_s": round(offered, 1),
            "every_s": round(every_s, 1),
            **self._judged(rows, started, wrong.log, offered / capacity if capacity else 0.0),
            "incidents": sum(name in {"worker killed", "SMSC disconnects"} for name, _, _ in wrong.log),
            "rate_over_time": rate_over_time(stamps),
            "p99_over_time": [(row.at, row.p99_ms) for row in rows],
        }

    async def _capacity(self) -> float:
        """Messages a second that are carried when there is always more, in the later half of a while."""
        length_s = min(60.0, max(4.0, self._length_s / 10))
        say(f"as much as can be carried for {length_s:.0f} s")
        await self._saturate(after(length_s))
        await self._all_closed()
        arrivals = sorted(stamp for stamp in self._here.stamps[: self._load.published] if stamp)
        if len(arrivals) < 2:
            raise BenchmarkError(f"nothing was submitted\n{self._gateway.log_end()}")
        later = arrivals[len(arrivals) // 2 :]
        capacity = (len(later) - 1) / max(later[-1] - later[0], 1e-3)
        say(f"{capacity:.0f} messages/s can be carried")
        return capacity

    async def _saturate(self, over: Callable[[], bool]) -> None:
        most = max(20_000, 10 * self._mix.in_flight)
        await self._load.saturating(lambda: finals(self._tally), most, over)

    async def _all_closed(self) -> int:
        return await all_closed(self._tally, self._load.published, lambda: self._gateway.running, _PATIENCE_S)

    # What came of it.

    def _judged(
        self, rows: list[Second], started: float, log: list[tuple[str, float, float]], share: float
    ) -> dict[str, Any]:
        """How long after each fault messages fared as usual again; times are seconds of publication.

        What gathers while nothing goes, at a `share` of the capacity, is not gone sooner than `gathered_s` after it.
        """
        moments = [began - started for _, began, _ in log]
        usual = usual_ms(rows, moments[0]) if moments else usual_ms(rows, self._length_s)
        listed = []
        for number, (name, began, over) in enumerate(log):
            until = moments[number + 1] if number + 1 < len(moments) else float("inf")
            back = back_after_s(rows, usual, began - started, over - started, until)
            worst = max((row.p99_ms for row in rows if int(began - started) <= row.at < until), default=0.0)
            listed.append(
                {
                    "fault": name,
                    "at_s": round(began - started, 1),
                    "lasted_s": round(over - began, 2),
                    "gathered_s": round((over - began) * share / max(0.01, 1 - share), 1),
                    "back_after_s": back,
                    "p99_worst_ms": worst,
                }
            )
        took = sorted(row.p99_ms / 1000 for row in rows)
        return {"faults": listed, "p99_usual_ms": usual, "p99_of_seconds_p50_ms": percentile_ms(took, 0.5)}

    async def _account(self, closed: int) -> dict[str, Any]:
        counts = await self._here.counts()
        return {
            "messages": self._load.published,
            "lost": self._load.published - closed,
            # Messages are of the class `bulk`, which are reported when they are in doubt, and never sent again.
            "duplicates": counts["duplicates"],
            "duplicates_bound": 0,
            "in_doubt": self._tally.counts["unknown"],
            "max_binds": counts["max_binds"],
            "events": dict(Counter(self._tally.counts)),
            "receipts": counts["receipts"],
        }

    def _body(self) -> dict[str, Any]:
        """How the process did that lived all the time; the first third of it is for warming up."""
        rows = [row for row in self._vitals.rows if "rss_mb" in row]
        if not rows:
            raise BenchmarkError(f"the first worker did not stay\n{self._gateway.log_end()}")
        started = rows[0]["at"]
        steady = rows[len(rows) // 3 :]
        files = [int(row["files"]) for row in rows]
        return {
            "first_workers": len(self._vitals.first_workers),
            "rss_mb": round(rows[-1]["rss_mb"], 1),
            "rss_slope_mb_per_h": round(slope([((row["at"] - started) / 3600, row["rss_mb"]) for row in steady]), 2),
            "files_early": max(files[len(files) // 4 : len(files) // 2], default=files[0]),
            "files_late": files[-1],
            "vitals": [
                {name: round(value - started if name == "at" else value, 1) for name, value in row.items()}
                for row in rows
            ],
        }


def verdicts(result: Mapping[str, Any], mix: Mix, length_s: float, *, headline: bool) -> dict[str, bool]:
    """What was promised, and whether it was kept; what so short a run cannot tell is left out."""
    kept = {
        "nothing lost": result["lost"] == 0,
        "duplicates within their bound": result["duplicates"] <= result["duplicates_bound"],
        "in doubt at most what was in flight": result["in_doubt"] <= mix.in_flight * result["incidents"],
        "binds within the contract": result["max_binds"] <= mix.binds,
        "first worker lived all the time": result["first_workers"] == 1,
    }
    if not headline and result["capacity_per_s"]:
        kept["70 % of capacity offered"] = result["offered_per_s"] >= _OFFERED * SHARE * result["capacity_per_s"]
        kept["p99 back in time"] = all(
            fault["back_after_s"] is not None and fault["back_after_s"] <= BACK_WITHIN_S for fault in result["faults"]
        )
    if length_s >= _JUDGED_FROM_S:
        kept["memory flat"] = result["rss_slope_mb_per_h"] <= _GROWTH_MB_PER_H
        kept["descriptors flat"] = result["files_late"] <= result["files_early"] + _GROWTH_FILES
    return kept


async def run(length_s: float, broker: str, *, headline: bool, offered: float | None = None) -> dict[str, Any]:
    mix = HEADLINE if headline else Mix()
    messages = min(MAX_OF_ONE_LANE, int(length_s * 1.1 * (offered or _MOST_PER_S)) + 100_000)
    async with site(
        lambda ground, port: (
            machinery_config(broker, ground.bootstrap, ground.store.url, paced=True, instance="soak")
            + _REMEMBERED
            + lane_config(_LANE, port, mix.window, mix.binds, 'prefix = "+57"')
        ),
        (_LANE,),
        Behaviour(latency_s=mix.rtt_ms / 1000, receipt_ratio=mix.receipts),
        messages,
        broker,
        lasting=True,
    ) as here:
        with here.gateway("--workers", str(_WORKERS)) as gateway:
            result = await Soak(here, gateway, mix, length_s, messages).run(headline=headline, offered=offered)
            await gateway.stop()
    kept = verdicts(result, mix, length_s, headline=headline)
    return {
        "verdicts": kept,
        **result,
        "headline": headline,
        "settings": {
            **msgspec.to_builtins(mix),
            "workers": _WORKERS,
            "minutes": round(length_s / 60, 2),
            "backlog": "always more" if headline else 0,
            "broker": broker,
        },
    }


def main() -> int:
    """Measure and print; the exit code is 1 when a promise was not kept, or nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="of the load, default: 30")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--headline", action="store_true", help="what is sustained at RTT 50 ms, window 50, 8 binds")
    how.add_argument(
        "--offered", type=float, metavar="N", help="messages a second, default: 70 %% of what can be carried"
    )
    parser.add_argument(
        "--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    given = parser.parse_args()
    # A broker that restarts is announced here; aiokafka says so a hundred times a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        result = uvloop.run(run(60 * given.minutes, given.broker, headline=given.headline, offered=given.offered))
    except GatewayError as error:
        say(str(error))
        return 1
    for promise, kept in result["verdicts"].items():
        say(f"{'yes' if kept else 'NO ':<5}{promise}")
    deliver("soak", result, given.json)
    return 0 if all(result["verdicts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
