"""Results as one HTML file that needs nothing but itself, or as Markdown for the documents.

`python -m benchmarks.report FILE… [--html FILE]`: files of `suite`, and of single benchmarks. Without `--html`, Markdown on
stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks import charts, tables
from benchmarks.charts import Bars, Lines
from benchmarks.tables import Result, Table


class Part(Struct, kw_only=True):
    """One benchmark of a suite. `status` is ok, missed (it was measured, and a goal was not reached) or failed."""

    name: str
    benchmark: str
    command: str
    status: str
    seconds: float = 0.0
    result: dict[str, Any] = {}
    error: str = ""
    """Why it failed: the end of what it said."""


class Suite(Struct, kw_only=True):
    """What `benchmarks.suite` writes."""

    parts: list[Part]
    full: bool = False
    started: str = ""


def read(file: Path) -> Suite:
    """Read a file of the suite or of one benchmark. Raises `msgspec.DecodeError` for what is neither."""
    raw = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    if "parts" in raw:
        return msgspec.convert(raw, Suite)
    # The older ones do not say what they are.
    benchmark = raw.get("benchmark") or ("pipeline" if "yardsticks_us" in raw else file.stem)
    return Suite(parts=[Part(name=file.stem, benchmark=benchmark, command="", status="ok", result=raw)])


# Plots.


def plots(benchmark: str, result: Result) -> list[str]:
    """The figures that belong to a result, as SVG."""
    maker = _PLOTS.get(benchmark)
    return [] if maker is None else [_drawn(chart) for chart in maker(result)]


def _drawn(chart: Lines | Bars) -> str:
    return charts.lines(chart) if isinstance(chart, Lines) else charts.bars(chart)


def _codec(result: Result) -> list[Lines | Bars]:
    cases = {row["case"]: row["ratio"] for row in result["cases"] if row["ratio"]}
    return [Bars(title="Times as fast as smpplib", unit="×", values=cases)]


def _stages(result: Result) -> list[Lines | Bars]:
    return [Bars(title="CPU of a message by stage", unit="µs", values=tables.stage_costs(result))]


def _pipeline(result: Result) -> list[Lines | Bars]:
    costs = {"gateway": result["cpu_us_per_message"], **result["cpu_us_per_message_elsewhere"]}
    found: list[Lines | Bars] = [Bars(title="CPU of a message by process", unit="µs", values=costs)]
    if "rate_over_time" in result:
        found.append(_rate({"submitted": result["rate_over_time"]}))
    return found


def _rate(series: Mapping[str, Any], marks: Any = ()) -> Lines:
    return Lines(title="Rate over time", x="seconds", y="messages/s", series=dict(series), marks=marks)


def _http(result: Result) -> list[Lines | Bars]:
    rates = {"bare client": result["bare_per_s"], "lane, without webhooks": result["messages_per_s"]}
    rates["lane, with webhooks"] = result["with_webhooks"]["messages_per_s"]
    costs = {"bare client": result["bare_cpu_us"], "lane, without webhooks": result["cpu_us_per_message"]}
    costs["lane, with webhooks"] = result["with_webhooks"]["cpu_us_per_message"]
    return [
        Bars(title="Messages a second", unit="/s", values=rates),
        Bars(title="CPU of a message", unit="µs", values=costs),
    ]


def _scale(result: Result) -> list[Lines | Bars]:
    cases = result["cases"]
    costs = {
        f"{name}: {row['lanes']} lanes, {row['slots']} slots, {row['workers']} workers": row["ratio"]
        for name in ("lanes", "slots", "workers")
        for row in cases[name]
    }
    memory = [(row["messages"], row["rss_mb"]) for row in cases["backlog"]]
    largest = cases["backlog"][-1]
    model = result["model"]["rows"]
    return [
        Bars(title="CPU of a message, in smpplib's", unit="×", values=costs),
        Lines(title="Memory over backlog", x="messages waiting", y="RSS MB", series={"worker": memory}, log_x=True),
        _rate({f"{largest['messages']:,} waiting": largest["rate_over_time"]}),
        Lines(
            title="Workers (model)",
            x="workers",
            y="messages/s",
            series={
                "of the workers": [(row["workers"], row["of_workers_per_s"]) for row in model],
                "with the store on one core": [(row["workers"], row["messages_per_s"]) for row in model],
            },
        ),
    ]


def _latency(result: Result) -> list[Lines | Bars]:
    names = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms"}
    loads = result["loads"]
    series = {name: [(row["offered_per_s"], row[key]) for row in loads] for name, key in names.items()}
    cpu = {f"{row['offered_per_s']:g}/s": row["cpu_us_per_message"] for row in loads}
    return [
        Lines(title="Latency over load", x="offered, messages/s", y="ms", series=series, log_x=True, log_y=True),
        Bars(title="CPU of a message over load", unit="µs", values=cpu),
    ]


def _failover(result: Result) -> list[Lines | Bars]:
    found: list[Lines | Bars] = []
    for name, row in result["accidents"].items():
        marks = [(row["accident_at_s"], name)]
        found.append(_rate({"submitted": row["rate_over_time"]}, marks))
        found.append(_p99(row["p99_over_time"], marks))
    return found


def _p99(points: Any, marks: Any) -> Lines:
    return Lines(
        title="p99 from job to wire, by second of publication",
        x="seconds",
        y="ms",
        series={"p99": points},
        log_y=True,
        marks=marks,
    )


def _soak(result: Result) -> list[Lines | Bars]:
    marks = [(row["at_s"], row["fault"]) for row in result["faults"]]
    found: list[Lines | Bars] = [_rate({"submitted": result["rate_over_time"]}, marks)]
    if "p99_over_time" in result:
        found.append(_p99(result["p99_over_time"], marks))
    for key, title, unit in (
        ("rss_mb", "Memory of the worker that lives all the time", "RSS MB"),
        ("files", "Its descriptors", "open"),
        ("open", "Published and not closed", "messages"),
    ):
        points = [(row["at"], row[key]) for row in result["vitals"]]
        found.append(Lines(title=title, x="seconds since the start", y=unit, series={key: points}))
    return found


_PLOTS: Mapping[str, Callable[[Result], list[Lines | Bars]]] = {
    "codec": _codec,
    "stages": _stages,
    "pipeline": _pipeline,
    "http": _http,
    "scale": _scale,
    "latency": _latency,
    "failover": _failover,
    "soak": _soak,
}

# Pages.

_STYLE = """
:root{color-scheme:light dark;--line:#8886;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem}
h2{margin-top:3rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}th{font-weight:600}.wide{overflow-x:auto}
.conditions,figcaption{font-size:13px;opacity:.75}figure{margin:1.5rem 0}
svg{width:100%;max-width:760px;height:auto;font:11px system-ui,sans-serif}svg text{fill:currentColor}
polyline{fill:none;stroke-width:1.6}.grid{stroke:var(--soft)}.tick{stroke:var(--line)}
line.mark{stroke:#d55e00;stroke-dasharray:3 3}svg text.mark{fill:#d55e00;font-size:10px}
.legend{font-size:13px}.legend span{margin-right:1.2rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}
.missed{color:#e69f00}.failed{color:#d55e00}pre{background:var(--soft);padding:.8rem;overflow-x:auto}
"""


def html(suites: list[Suite]) -> str:
    """The whole report."""
    parts = [part for suite in suites for part in suite.parts]
    contents = "".join(f'<li><a href="#p{n}">{escape(part.name)}</a>{_status(part)}' for n, part in enumerate(parts))
    body = "".join(f'<h2 id="p{n}">{escape(part.name)}</h2>{_section(part)}' for n, part in enumerate(parts))
    started = ", ".join(suite.started for suite in suites if suite.started)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Recado: benchmarks</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><h1>Recado: benchmarks</h1><p>{escape(started)}</p><ul>{contents}</ul>{body}</html>\n"
    )


def _status(part: Part) -> str:
    words = {"missed": "a goal was missed", "failed": "failed"}.get(part.status)
    return f' <b class="{part.status}">{words}</b>' if words else ""


def _section(part: Part) -> str:
    said = f"<p>{_status(part)}</p><p><code>{escape(part.command)}</code></p>"
    if not part.result:
        return f"{said}<pre>{escape(part.error)}</pre>"
    shown = "".join(_table(table) for table in tables.of(part.benchmark, part.result))
    drawn = "".join(plots(part.benchmark, part.result))
    return f'{said}<p class="conditions">{escape(tables.conditions(part.result))}</p>{shown}{drawn}'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def markdown(suites: list[Suite]) -> str:
    """The tables alone."""
    pieces = []
    for part in (part for suite in suites for part in suite.parts):
        pieces.append(f"### {part.name}")
        if part.command:
            pieces.append(f"`{part.command}`")
        if part.result:
            pieces.append(tables.conditions(part.result))
            pieces += [tables.markdown(table) for table in tables.of(part.benchmark, part.result)]
        else:
            pieces.append(f"Failed: {part.error.strip().splitlines()[-1] if part.error.strip() else 'said nothing'}")
    return "\n\n".join(pieces) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report there")
    given = parser.parse_args()
    try:
        suites = [read(file) for file in given.files]
    except (OSError, msgspec.MsgspecError) as error:
        print(f"not a result of a benchmark: {error}", file=sys.stderr)
        return 1
    if given.html is None:
        print(markdown(suites), end="")
    else:
        given.html.write_text(html(suites))
    return 0


if __name__ == "__main__":
    sys.exit(main())
