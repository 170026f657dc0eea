"""All benchmarks, one after the other, into one JSON file and one HTML report.

`make bench`, or `python -m benchmarks.suite [--full] [--only NAME,…]`: some minutes with small sizes, an hour with the real ones.
A part that fails, or for which something is not installed, is said and stops no other.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from benchmarks import report, tables
from benchmarks.report import Part, Suite
from benchmarks.support import machine, versions

_LAST_LINES = 20
_LONGEST_LINE = 60


class Plan(Struct, frozen=True):
    """A benchmark with the options of a small run, and of the real one."""

    name: str
    module: str
    small: str
    full: str

    @property
    def benchmark(self) -> str:
        return self.module.rpartition(".")[2]


PLANS = (
    Plan("codec", "benchmarks.codec", "", ""),
    Plan("limiters", "benchmarks.limiters", "", ""),
    Plan("stages", "benchmarks.stages", "", ""),
    Plan("pipeline, window 100", "benchmarks.pipeline", "--messages 20000", "--messages 200000"),
    Plan(
        "pipeline, window 1000",
        "benchmarks.pipeline",
        "--messages 20000 --window 1000",
        "--messages 200000 --window 1000",
    ),
    Plan(
        "pipeline, RTT 50 ms",
        "benchmarks.pipeline",
        "--messages 4000 --rtt-ms 50 --window 50",
        "--messages 20000 --rtt-ms 50 --window 50",
    ),
    Plan("http", "benchmarks.http", "--messages 5000", "--messages 50000"),
    Plan("scale", "benchmarks.scale", "--messages 20000", "--messages 200000"),
    Plan("latency under load", "benchmarks.latency", "--seconds 4", "--seconds 20"),
    Plan("failover", "benchmarks.failover", "--rate 500 --seconds 6", "--rate 1000 --seconds 15"),
    Plan("cold start", "benchmarks.coldstart", "--backlog 10000 --repeats 1", "--backlog 100000 --repeats 3"),
)


def run(plan: Plan, *, full: bool, folder: Path, told: Any) -> Part:
    """Run one part as its users would; `told` is called with each line that it says."""
    options = (plan.full if full else plan.small).split()
    command = ["python", "-m", plan.module, *options]
    part = Part(name=plan.name, benchmark=plan.benchmark, command=" ".join(command), status="failed")
    file = folder / "result.json"
    file.unlink(missing_ok=True)
    began = time.monotonic()
    said: deque[str] = deque(maxlen=_LAST_LINES)
    with (folder / "stdout").open("w+b") as out:
        # In a session of its own, so that Ctrl-C reaches it once and by us: then it stops what it has started.
        with subprocess.Popen(
            [sys.executable, *command[1:], "--json", str(file)],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    said.append(line.rstrip())
                    told(line.strip())
            except BaseException:
                process.send_signal(signal.SIGINT)
                raise
        out.seek(0)
        part.result = _result(file, out.read())
    part.seconds = round(time.monotonic() - began, 1)
    part.error = "" if part.result else "\n".join(said)
    if part.result:
        part.status = "missed" if process.returncode else "ok"
    return part


def _result(file: Path, out: bytes) -> dict[str, Any]:
    """What a benchmark wrote, or the last line of what it printed; empty for neither."""
    text = file.read_bytes() if file.exists() else (out.splitlines() or [b""])[-1]
    try:
        result = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
    return {"versions": versions(), "machine": machine(), **result}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; the exit code is 1 when a part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=(__doc__ or "").partition("\n")[0])
    names = sorted({plan.benchmark for plan in PLANS})
    parser.add_argument("--full", action="store_true", help="with the real sizes")
    parser.add_argument("--only", metavar="NAME,…", help=f"some of: {', '.join(names)}")
    parser.add_argument(
        "--json", type=Path, default=Path(".cache/bench.json"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument(
        "--html", type=Path, default=Path(".cache/bench.html"), metavar="FILE", help="default: %(default)s"
    )
    given = parser.parse_args(arguments)
    wanted = given.only.split(",") if given.only else names
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    console = Console()
    suite = Suite(parts=[], full=given.full, started=datetime.now(UTC).isoformat(timespec="seconds"))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.html.parent.mkdir(parents=True, exist_ok=True)
    _measure(suite, [plan for plan in PLANS if plan.benchmark in wanted], given, console)
    for part in suite.parts:
        _print(part, console)
    console.print(f"\nfigures: {given.json}\nreport:  {given.html}")
    return 1 if any(part.status == "failed" for part in suite.parts) else 0


def _measure(suite: Suite, plans: list[Plan], given: argparse.Namespace, console: Console) -> None:
    """Run the parts, and write after each what there is: who stops half-way keeps half."""
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with tempfile.TemporaryDirectory(prefix="recado-suite-") as folder, Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(plans))
        for plan in plans:

            def told(line: str, name: str = plan.name) -> None:
                progress.update(task, description=f"{name}  [dim]{line[:_LONGEST_LINE]}")

            told("")
            part = run(plan, full=given.full, folder=Path(folder), told=told)
            suite.parts.append(part)
            progress.console.print(f"{_WORDS[part.status]} {part.name} [dim]{part.seconds} s")
            progress.advance(task)
            given.json.write_bytes(msgspec.json.format(msgspec.json.encode(suite), indent=2) + b"\n")
            given.html.write_text(report.html([suite]))


_WORDS = {"ok": "[green]done  [/]", "missed": "[yellow]missed[/]", "failed": "[red]failed[/]"}


def _print(part: Part, console: Console) -> None:
    if not part.result:
        console.print(f"\n{part.name} failed: {part.error}", style="red", markup=False)
        return
    for table in tables.of(part.benchmark, part.result):
        grid = Grid(title=part.name, title_justify="left", box=None, pad_edge=False)
        for number, column in enumerate(table.columns):
            grid.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print("", grid)
    console.print(tables.conditions(part.result), style="dim", markup=False)


if __name__ == "__main__":
    sys.exit(main())
