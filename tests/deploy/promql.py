"""What a query names: metrics with the labels that it selects by, and labels that it groups by. Enough of PromQL for ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"
"""Written from the table that the workers expose."""

_OF_TARGETS = {"instance", "job", "machine"}
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
_SELECTED = re.compile(r"\b((?:\w+:)*(?:recado|process)_\w+(?::\w+)*|up|ALERTS)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_OF_PROCESS = (
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_start_time_seconds",
)


class Exposed(Struct, frozen=True):
    """A series that can be asked for."""

    labels: frozenset[str]
    words: frozenset[str] | None
    """What its help says, in which the values of its labels stand; None where they are not listed."""


class Selected(Struct, frozen=True):
    """A metric as a query names it."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, value."""


def table() -> dict[str, Exposed]:
    """Return what a worker exposes, by name as in queries, and what Prometheus itself has of it."""
    found = {name: Exposed(frozenset(), None) for name in ("up", *_OF_PROCESS)}
    found["ALERTS"] = Exposed(frozenset({"alertname", "alertstate", "severity"}), None)
    for name, kind, cells, text in _ROW.findall(METRICS.read_text(encoding="utf-8")):
        labels = frozenset(re.findall(r"`(\w+)`", cells))
        words = frozenset(re.findall(r"[\w-]+", text))
        if kind == "histogram":
            found[f"{name}_bucket"] = Exposed(labels | {"le"}, words)
            found[f"{name}_sum"] = found[f"{name}_count"] = Exposed(labels, words)
        else:
            found[name] = Exposed(labels, words)
    return found


def selected(query: str) -> list[Selected]:
    """Return every metric that a query names."""
    return [Selected(name, tuple(_MATCHER.findall(matchers))) for name, matchers in _SELECTED.findall(query)]


def grouped(query: str) -> set[str]:
    """Return every label that a query groups or joins by."""
    return {label.strip() for labels in _GROUPED.findall(query) for label in labels.split(",") if label.strip()}


def mistakes(query: str, exposed: Mapping[str, Exposed]) -> Iterator[str]:
    """Say what a query names that is not exposed: a metric, a label of it, a value that its help lists others of."""
    labels = set(_OF_TARGETS)
    for one in selected(query):
        known = exposed.get(one.name)
        if known is None:
            yield f"no metric {one.name}"
            continue
        labels |= known.labels
        for label, operator, value in one.matchers:
            if label not in known.labels | _OF_TARGETS:
                yield f"{one.name} has no label {label}"
            elif label in ("result", "outcome", "reason", "standing", "rating", "kind") and "$" not in value:
                wrong = set(value.split("|") if "~" in operator else [value]) - (known.words or set())
                yield from (f"{one.name} has no {label} {each}" for each in sorted(wrong))
    yield from (f"nothing has the label {label}" for label in sorted(grouped(query) - labels))
