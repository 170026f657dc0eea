"""`recado lanes`: what lanes do, all workers taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import typer
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from gateway.cli import workers
from gateway.cli.terminal import console, fail, say
from gateway.status import LaneStatus, SlotStatus, WorkerStatus


class LaneRow(Struct, frozen=True, kw_only=True):
    """One lane over all workers that answered."""

    lane: str
    state: str
    healthy: bool
    contract_rate: float
    effective_rate: float
    up: int
    slots: int
    in_flight: int
    window: int
    backlog: int
    oldest_s: float
    written: int
    refused: int
    quality: str


def rows(found: Iterable[WorkerStatus]) -> list[LaneRow]:
    """Take what workers say of their shares of lanes together, in the order of the configuration."""
    of_lane: dict[str, list[LaneStatus]] = {}
    for worker in found:
        for lane in worker.lanes:
            of_lane.setdefault(lane.lane, []).append(lane)
    return [_row(lane) for lane in of_lane.values()]


def _row(shares: Sequence[LaneStatus]) -> LaneRow:
    first = shares[0]
    slots = [slot for share in shares for slot in share.slots]
    queues = [queue for share in shares for queue in share.queues]
    state = _state(shares, slots)
    return LaneRow(
        lane=first.lane,
        state=state or "ok",
        healthy=not state,
        contract_rate=first.contract_rate,
        effective_rate=sum(share.effective_rate for share in shares),
        up=sum(slot.up for slot in slots),
        slots=len(slots),
        in_flight=sum(slot.in_flight for slot in slots),
        window=sum(slot.window for slot in slots),
        backlog=sum(queue.backlog for queue in queues),
        oldest_s=max((queue.oldest_s for queue in queues), default=0.0),
        written=sum(share.written for share in shares),
        refused=sum(sum(share.refused.values()) for share in shares),
        quality=next((share.quality for share in shares if share.quality), ""),
    )


def _state(shares: Sequence[LaneStatus], slots: Sequence[SlotStatus]) -> str:
    """Return what a person should know, the gravest first; empty when all is well."""
    said = []
    if any(share.paused for share in shares):
        said.append("paused")
    if code := next((share.stopped for share in shares if share.stopped), ""):
        said.append(f"stopped by {code}")
    if any(share.down for share in shares):
        said.append("down")
    limits = [share.limit_rate for share in shares if share.limit_rate]
    if limits:
        said.append(f"limited to {min(limits):g}/s")
    if (level := min(share.level for share in shares)) < 1:
        said.append(f"gives way, at {100 * level:.0f} %")
    if reasons := [slot.reason for slot in slots if not slot.up]:
        said.append(f"{len(reasons)} of {len(slots)} binds down ({reasons[0]})")
    if not slots:
        said.append("nobody has its slots")
    return ", ".join(said)


def table(found: Sequence[LaneRow], sent: Mapping[str, float] | None = None) -> Table:
    """Show lanes; with `sent`, the parts per second that each wrote since the last look."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = ["Lane", "State", *([">Sent/s"] if sent is not None else []), ">May/s", ">Contract/s"]
    for name in (*columns, ">Binds", ">In flight", ">Waiting", ">Oldest", "Quality"):
        shown.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in found:
        shown.add_row(
            row.lane,
            Text(row.state, "green" if row.healthy else "red"),
            *([f"{sent.get(row.lane, 0.0):,.0f}"] if sent is not None else []),
            f"{row.effective_rate:,.0f}",
            f"{row.contract_rate:,g}",
            f"{row.up}/{row.slots}",
            f"{row.in_flight}/{row.window}",
            f"{row.backlog:,}",
            duration(row.oldest_s),
            Text(row.quality, {"RED": "red", "YELLOW": "yellow"}.get(row.quality, "")),
        )
    return shown


def duration(seconds: float) -> str:
    """Return a time as people read it: 4 s, 12 min, 3 h, 2 d; empty for none."""
    if not seconds:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


async def show(urls: Sequence[str], ours: workers.Deployment | None, as_json: bool) -> None:
    """Look once, and print it."""
    found = await workers.statuses(urls, ours)
    answered = answering(found)
    if as_json:
        typer.echo(msgspec.json.encode({name: status for name, status in found.items() if status in answered}).decode())
        return
    screen = console()
    screen.print(table(rows(answered)))
    for line in remarks(answered):
        screen.print(line)


def remarks(found: Iterable[WorkerStatus]) -> list[str]:
    """Return what there is to say beside the lanes."""
    problems = {problem for status in found for problem in status.problems}
    held = {f"paused: {held}" for status in found for held in status.held}
    return sorted(problems) + sorted(held)


def answering(found: Mapping[str, WorkerStatus | workers.Unreachable]) -> list[WorkerStatus]:
    """Return those that answered and tell of the others, or end the command if there is none."""
    answered = [status for status in found.values() if isinstance(status, WorkerStatus)]
    silent = [str(status) for status in found.values() if isinstance(status, workers.Unreachable)]
    if not answered:
        fail("; ".join(silent))
    for line in silent:
        say(f"recado: {line}")
    return answered
