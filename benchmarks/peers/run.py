"""One peer measured: the throughput of a campaign, and what a `kill -9` in the middle of one costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.meter import Strangers, TreeMeter
from benchmarks.peers.mix import Message
from benchmarks.peers.peer import Carrier, Peer
from benchmarks.peers.smsc import RECEIPT_DELAY_S, SMSC
from benchmarks.peers.verdict import Verdict, judge
from benchmarks.site import beside

_POLL_S = 0.1
_PATIENCE_S = 15.0
"""Without anything new, until what is missing counts as lost."""
_CRASH_AT = 0.4
"""Of the parts."""
_RECOVERY_PATIENCE_S = 45.0
"""The same after a crash: a peer may wait before it binds again, or hands out what it had begun."""


async def carry(peer: Peer, messages: Sequence[Message], seconds: float) -> dict[str, Any]:
    """Have a peer carry the messages, or as many as it takes in that time; what it did and what it cost."""
    async with _up(peer, messages) as (smsc, carrier):
        meter = TreeMeter(carrier.processes)
        load_before = os.getloadavg()[0]
        simulator = TreeMeter(lambda: {"simulator": smsc.pid})
        strangers = Strangers(lambda: sum(meter.cpu_s().values()) + sum(simulator.cpu_s().values()))
        before = meter.cpu_s()
        async with beside(meter.run()):
            await carrier.publish(messages, seconds)
            await _settled(smsc, carrier, messages, _PATIENCE_S)
            spent = {name: used - before[name] for name, used in meter.cpu_s().items()}
            taken = strangers.cores()
        verdict, counts = await _judge(smsc, carrier, messages)
    carried = max(verdict.arrived, 1)
    # What the SMSC itself waits is nobody's.
    seconds_taken = max(carrier.last_report_at - RECEIPT_DELAY_S, verdict.last_at) - verdict.first_at
    return {
        "messages": verdict.arrived,
        "seconds": round(seconds_taken, 2),
        "messages_per_s": round(verdict.arrived / max(seconds_taken, 1e-3), 1),
        "parts_per_s": round(counts["parts"] / max(seconds_taken, 1e-3), 1),
        "cpu_s_per_100k": round(sum(spent.values()) / carried * 1e5, 2),
        "cpu_s_per_100k_by_process": {name: round(used / carried * 1e5, 2) for name, used in spent.items()},
        "peak_rss_mb": round(meter.peak_rss / 1e6, 1),
        "peak_rss_mb_by_process": meter.peaks_mb(),
        "lost": verdict.lost,
        "duplicate_parts": verdict.duplicates,
        "unreported": verdict.unreported,
        "receipts_asked": counts["receipts"],
        "refused": counts["refused"],
        "cores_taken_by_others": taken,
        "load_before": round(load_before, 2),
    }


async def crash(peer: Peer, messages: Sequence[Message], seconds: float) -> dict[str, Any]:
    """The same, with a `kill -9` when two fifths of the parts have arrived, or time is over, and a start at once."""
    async with _up(peer, messages) as (smsc, carrier):
        parts = sum(message.parts for message in messages)
        deadline = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(carrier.publish(messages, seconds))
            while (await smsc.counts())["parts"] < parts * _CRASH_AT:
                if publishing.done() and time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.01)
            killed_at = time.time()
            await carrier.crash()
        await _settled(smsc, carrier, messages, _RECOVERY_PATIENCE_S)
        verdict, counts = await _judge(smsc, carrier, messages)
        arrivals = [arrival.at for arrival in await smsc.arrivals() if arrival.at > killed_at + 0.2]
    return {
        "messages": len(messages),
        "accepted": verdict.accepted,
        "lost": verdict.lost,
        "in_doubt": verdict.in_doubt,
        "duplicate_parts": counts["duplicates"],
        "unreported": verdict.unreported,
        "seconds_until_it_sent_again": round(min(arrivals, default=killed_at) - killed_at, 1),
    }


@contextlib.asynccontextmanager
async def _up(peer: Peer, messages: Sequence[Message]) -> AsyncIterator[tuple[SMSC, Carrier]]:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recado-peer-")))
        smsc = await stack.enter_async_context(SMSC())
        carrier = await stack.enter_async_context(peer.running(smsc.smpp_port, messages, directory))
        await smsc.bound()
        yield smsc, carrier


async def _settled(smsc: SMSC, carrier: Carrier, messages: Sequence[Message], patience: float) -> None:
    """Return when all that was accepted has arrived and is reported and answered, or when nothing happens any more."""
    wanted = sum(message.parts for message, taken in zip(messages, carrier.accepted, strict=True) if taken)
    last, since = (-1, -1, -1), time.monotonic()
    while True:
        counts = await smsc.counts()
        reported = sum(carrier.reported)
        if counts["parts"] >= wanted and not counts["pending"] and reported >= sum(carrier.accepted):
            return
        state = (counts["accepted"], counts["settled"], reported)
        if state != last:
            last, since = state, time.monotonic()
        elif time.monotonic() - since > patience:
            return
        await asyncio.sleep(_POLL_S)


async def _judge(smsc: SMSC, carrier: Carrier, messages: Sequence[Message]) -> tuple[Verdict, dict[str, Any]]:
    verdict = judge(messages, carrier.accepted, carrier.reported, carrier.doubted, await smsc.arrivals())
    return verdict, await smsc.counts()
