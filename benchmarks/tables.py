"""The figures of each benchmark as tables: of what `suite` prints, of the report, of the documents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

Result = Mapping[str, Any]


class Table(Struct, frozen=True):
    """Cells as text; the first column is names, the others are figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def of(benchmark: str, result: Result) -> list[Table]:
    """The tables of a result; of a benchmark that is not known here, what figures it has on its first level."""
    return _MAKERS.get(benchmark, _plain)(result)


def conditions(result: Result) -> str:
    """Under what a figure was measured: machine, versions, operator, mix."""
    said = []
    if machine := result.get("machine"):
        said.append(
            f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']} GB, {machine['system']}"
        )
        said.append(f"load {machine['load']}")
    if versions := result.get("versions"):
        said.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    settings = {**result.get("settings", {})}
    if "backlog" not in settings and "messages" in settings:  # of `pipeline`
        settings["backlog"] = settings["messages"] if settings.get("offered") is None else 0
    for key, words in _CONDITIONS.items():
        if settings.get(key) is not None:
            said.append(words.format(settings[key]))
    return "; ".join(said)


def markdown(table: Table) -> str:
    """The table as GitHub reads it."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


_CONDITIONS = {
    "rtt_ms": "RTT {} ms",
    "window": "window {}",
    "concurrency": "{} requests at a time",
    "binds": "{} binds",
    "workers": "{} workers",
    "receipts": "receipts of {:.0%}",
    "long": "long messages {:.0%}",
    "backlog": "backlog {}",
    "offered": "offered {}/s",
    "broker": "broker: {}",
}


def _codec(result: Result) -> list[Table]:
    rows = [[row["case"], *_texts(row["ours_us"], row["smpplib_us"], row["ratio"])] for row in result["cases"]]
    return [Table(["CPU µs for one PDU", "ours", "smpplib", "times as fast"], rows)]


def _limiters(result: Result) -> list[Table]:
    costs = [[row["limiter"], *_texts(*row["us"].values())] for row in result["cases"]]
    batches = [f"in batches of {batch}" for batch in result["cases"][0]["us"]]
    exact = [
        [row["limiter"], *_texts(row["most_in_a_second"], row["allowed"], row["average"], row["rate"])]
        for row in result["accuracy"]
    ]
    return [
        Table(["CPU µs a token", *batches], costs),
        Table(["tokens", "most in a second", "allowed", "average", "rate"], exact),
    ]


def _stages(result: Result) -> list[Table]:
    costs = stage_costs(result)
    rows = [[name, *_texts(round(cost, 2))] for name, cost in costs.items()]
    return [Table(["stage", "CPU µs a message"], [*rows, ["together", *_texts(round(sum(costs.values()), 2))]])]


def stage_costs(result: Result) -> dict[str, float]:
    """CPU µs a message by stage; `stages` prints nothing else."""
    return {name: cost for name, cost in result.items() if isinstance(cost, float)}


def _pipeline(result: Result) -> list[Table]:
    keys = {
        "messages/s": "messages_per_s",
        "CPU µs a message": "cpu_us_per_message",
        "smpplib µs": "yardstick_us",
        "ratio": "ratio",
        "p50 ms": "p50_ms",
        "p99 ms": "p99_ms",
        "RSS MB": "rss_mb",
        "lost": "lost",
        "duplicates": "duplicates",
    }
    settings = result["settings"]
    name = f"window {settings['window']}, RTT {settings['rtt_ms']:g} ms"
    return [Table(["pipeline", name], [[words, *_texts(result[key])] for words, key in keys.items()])]


def _http(result: Result) -> list[Table]:
    rows = [
        ["bare aiohttp client", *_texts(result["bare_per_s"], result["bare_cpu_us"]), "", ""],
        ["lane, without webhooks", *_http_row(result)],
        ["lane, with webhooks", *_http_row(result["with_webhooks"])],
    ]
    if statuses := result.get("statuses"):
        rows.append(
            [
                "statuses of callbacks",
                *_texts(statuses["statuses_per_s"], statuses["cpu_us_per_status"], statuses["lost"]),
                "",
            ]
        )
    shares = [["share of the bare client's rate", *_texts(result["ratio"], result["target"])]]
    shares.append(["its CPU over the lane's", *_texts(result["cpu_ratio"]), ""])
    return [
        Table(["WhatsApp", "per second", "CPU µs each", "lost", "duplicates"], rows),
        Table(["beside the bare client", "measured", "goal"], shares),
    ]


def _http_row(result: Result) -> list[str]:
    return _picked(result, ("messages_per_s", "cpu_us_per_message", "lost", "duplicates"))


def _scale(result: Result) -> list[Table]:
    keys = ("lanes", "slots", "workers", "messages", "messages_per_s", "cpu_us_per_message", "ratio", "rss_mb")
    rows = [[name, *_picked(row, keys)] for name, group in result["cases"].items() for row in group]
    columns = ["grows", "lanes", "slots", "workers", "backlog", "messages/s", "CPU µs each", "ratio", "RSS MB"]
    names = ("workers", "cpu_us_per_message", "of_workers_per_s", "messages_per_s")
    model = [_picked(row, names) for row in result["model"]["rows"]]
    tables = [
        Table(columns, rows),
        Table(["workers (model)", "CPU µs a message", "they could carry/s", "with one store/s"], model),
    ]
    if rises := result["rises"]:
        tables.append(Table(["what rises"], [[line] for line in rises]))
    return tables


def _latency(result: Result) -> list[Table]:
    keys = ("offered_per_s", "carried_per_s", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "cpu_us_per_message")
    columns = ["offered/s", "carried/s", "p50 ms", "p90", "p99", "p99.9", "most", "CPU µs each", "lost"]
    return [Table(columns, [_picked(row, (*keys, "lost")) for row in result["loads"]])]


def _failover(result: Result) -> list[Table]:
    keys = {
        "longest gap s": "longest_gap_s",
        "p99 before ms": "p99_before_ms",
        "p99 worst ms": "p99_worst_ms",
        "p99 back after s": "p99_back_after_s",
        "binds back s": "binds_back_s",
        "moved after s": "moved_after_s",
        "returned after s": "returned_after_s",
        "lost": "lost",
        "in doubt": "in_doubt",
        "duplicates": "duplicates",
    }
    accidents = result["accidents"]
    rows = [[words, *_texts(*(row.get(key) for row in accidents.values()))] for words, key in keys.items()]
    return [Table(["accident", *accidents], rows)]


def _coldstart(result: Result) -> list[Table]:
    rows = [[row["case"], *_picked(row, ("bound_s", "submitted_s", "last_s"))] for row in result["starts"]]
    return [Table([f"start (imports: {result['import_s']} s)", "bound s", "first message s", "last message s"], rows)]


def _soak(result: Result) -> list[Table]:
    keys = {
        "messages": "messages",
        "carried, parts/s": "parts_per_s",
        "carried at most, messages/s": "capacity_per_s",
        "offered, messages/s": "offered_per_s",
        "lost": "lost",
        "duplicates": "duplicates",
        "in doubt": "in_doubt",
        "RSS MB": "rss_mb",
        "RSS, MB an hour": "rss_slope_mb_per_h",
        "descriptors early": "files_early",
        "descriptors late": "files_late",
    }
    figures = [[name, *_texts(result[key])] for name, key in keys.items() if key in result]
    kept = [[promise, "yes" if good else "no"] for promise, good in result["verdicts"].items()]
    named = ("fault", "at_s", "lasted_s", "gathered_s", "back_after_s", "p99_worst_ms")
    faults = [_picked(row, named) for row in result["faults"]]
    return [
        Table(["promise", "kept?"], kept),
        Table(["figure", "value"], figures),
        Table(["fault", "at s", "lasted s", "gathered s", "p99 back after s", "p99 worst ms"], faults),
    ]


def _plain(result: Result) -> list[Table]:
    rows = [[name, *_texts(value)] for name, value in result.items() if isinstance(value, int | float | str)]
    return [Table(["figure", "value"], rows)]


def _picked(row: Result, keys: Iterable[str]) -> list[str]:
    return _texts(*(row.get(key) for key in keys))


def _texts(*values: object) -> list[str]:
    return ["" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value) for value in values]


_MAKERS: Mapping[str, Callable[[Result], list[Table]]] = {
    "codec": _codec,
    "limiters": _limiters,
    "stages": _stages,
    "pipeline": _pipeline,
    "http": _http,
    "scale": _scale,
    "latency": _latency,
    "failover": _failover,
    "coldstart": _coldstart,
    "soak": _soak,
}
