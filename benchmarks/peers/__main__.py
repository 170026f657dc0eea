"""`python -m benchmarks.peers --help`: progress to stderr, a table to stdout, everything to a file of JSON."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.campaign import MAX_MESSAGES
from benchmarks.peers import mix, run
from benchmarks.peers.jasmin import Jasmin
from benchmarks.peers.kannel import Kannel
from benchmarks.peers.libraries import LIBRARIES
from benchmarks.peers.peer import WINDOW, Peer, Unavailable
from benchmarks.peers.recado import Recado
from benchmarks.peers.smsc import RECEIPT_DELAY_S
from benchmarks.peers.table import table
from benchmarks.support import machine
from gateway.errors import GatewayError

PEERS: tuple[Peer, ...] = (
    *(Recado("report"), Recado("resend"), Kannel(durable=True), Kannel(durable=False), Jasmin()),
    *LIBRARIES,
)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Recado beside other gateways and libraries, see docs/peers.md."
    )
    add = parser.add_argument
    add("--messages", type=int, default=100_000, help="for each peer, of which one in five has three parts")
    add("--seconds", type=float, default=60.0, help="after which no peer is given more")
    add("--crash-messages", type=int, default=10_000, help="for the run with kill -9; 0 leaves it out")
    add("--only", default=",".join(names), metavar="NAME,…", help=f"of {', '.join(names)}")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write everything there; peers of an earlier run that are not run now stay",
    )
    given = parser.parse_args(arguments)
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(names):
        parser.error(f"--only knows no {', '.join(sorted(unknown))}")
    if not 1 <= given.messages <= MAX_MESSAGES:
        parser.error(f"--messages is from 1 to {MAX_MESSAGES}")
    return given


async def measure(peer: Peer, given: argparse.Namespace) -> dict[str, Any]:
    """One peer's entry: its facts, and either why it was skipped or what it did."""
    entry: dict[str, Any] = {"name": peer.name, **msgspec.to_builtins(peer.facts)}
    try:
        peer.check()
    except Unavailable as reason:
        _say(f"{peer.name}: skipped, {reason}")
        return entry | {"skipped": str(reason)}
    _say(f"{peer.name}: {given.messages} messages")
    entry |= {"versions": peer.versions(), "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    try:
        entry["run"] = await run.carry(peer, mix.make(given.messages), given.seconds)
        if peer.facts.durable and given.crash_messages:
            _say(f"{peer.name}: {given.crash_messages} messages and a kill -9")
            entry["crash"] = await run.crash(peer, mix.make(given.crash_messages), given.seconds)
    except (GatewayError, OSError) as error:
        _say(f"{peer.name}: failed, {error}")
        entry["failed"] = str(error)
    return entry


async def main(given: argparse.Namespace) -> dict[str, Any]:
    task = asyncio.current_task()
    assert task is not None
    # Every context is left, so that nothing that was started outlives us.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    report: dict[str, Any] = {
        "machine": machine(),
        "settings": {"window": WINDOW, "long": mix.LONG, "receipt_delay_s": RECEIPT_DELAY_S, "seconds": given.seconds},
        "peers": [],
    }
    entries = {entry["name"]: entry for entry in _earlier(given.json)}
    for peer in PEERS:
        if peer.name in given.only:
            entries[peer.name] = await measure(peer, given)
        report["peers"] = [entries[each.name] for each in PEERS if each.name in entries]
        if given.json is not None:
            given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return report


def _earlier(file: Path | None) -> list[dict[str, Any]]:
    if file is None or not file.exists():
        return []
    entries: list[dict[str, Any]] = msgspec.json.decode(file.read_bytes())["peers"]
    return entries


def _say(text: str) -> None:
    print(f"{text} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)


if __name__ == "__main__":
    # A topic that was made a moment ago has no leader yet, which aiokafka asks again about, and says so each time.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(table(uvloop.run(main(parse_arguments()))["peers"]))
