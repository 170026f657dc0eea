"""`recado top`: lanes as they are now, looked at again and again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.live import Live

from gateway.cli import lanes, workers
from gateway.cli.terminal import console
from gateway.status import WorkerStatus

Found = Mapping[str, WorkerStatus | workers.Unreachable]


def sent(before: Found, after: Found, seconds: float) -> dict[str, float]:
    """Return parts per second by lane between two looks; a worker that was not there before, or began anew, counts from 0."""
    rates: dict[str, float] = {}
    for url, status in after.items():
        if isinstance(status, workers.Unreachable):
            continue
        earlier = before.get(url)
        known = {lane.lane: lane.written for lane in earlier.lanes} if isinstance(earlier, WorkerStatus) else None
        for lane in status.lanes:
            written = lane.written - (lane.written if known is None else known.get(lane.lane, 0))
            if written < 0:
                written = lane.written
            rates[lane.lane] = rates.get(lane.lane, 0.0) + written / seconds
    return rates


def screen(found: Found, rates: Mapping[str, float]) -> RenderableType:
    """Return what is shown of one look."""
    answered = [status for status in found.values() if isinstance(status, WorkerStatus)]
    silent = [str(status) for status in found.values() if isinstance(status, workers.Unreachable)]
    jobs = sum(status.jobs_backlog for status in answered)
    total = sum(rates.values())
    head = f"workers {len(answered)}   sent {total:,.0f} parts/s   jobs waiting {jobs:,}"
    return Group(head, "", lanes.table(lanes.rows(answered), rates), "", *silent, *lanes.remarks(answered))


async def watch(urls: Sequence[str], ours: workers.Deployment | None, every: float, looks: int) -> None:
    """Look every so many seconds until cancelled, or so many times; 0 is for ever."""
    out = console()
    before = await workers.statuses(urls, ours)
    lanes.answering(before)
    at = time.monotonic()
    live = Live(console=out, screen=True, auto_refresh=False) if out.is_terminal else None
    with live or contextlib.nullcontext():
        done = 0
        while not looks or done < looks:
            await asyncio.sleep(every)
            found, now = await workers.statuses(urls, ours), time.monotonic()
            shown = screen(found, sent(before, found, now - at))
            if live:
                live.update(shown, refresh=True)
            else:
                out.print(shown)
            before, at = found, now
            done += 1
