"""The results as a table of Markdown: for the terminal and for docs/peers.md alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEADS = (
    "Peer",
    "Kind",
    "messages/s",
    "cores taken by others",
    "CPU s per 100,000",
    "of it in stores",
    "memory MB",
    "lost",
    "in doubt",
    "duplicated",
    "no report",
)
_CRASH = ("lost", "in_doubt", "duplicate_parts", "unreported")
_OWN = frozenset(("worker", "bearerbox", "smsbox", "jasmind", "dlrlookupd", "dlrd"))


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """One line for each peer; the last four columns are of the run with `kill -9`."""
    rows = [_HEADS, tuple("---" for _ in _HEADS), *(_row(entry) for entry in entries)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    head = (entry["name"], entry["kind"])
    for reason in ("skipped", "failed"):
        if reason in entry:
            return (*head, f"{reason}: {entry[reason]}".splitlines()[0], *[""] * (len(_HEADS) - 3))
    run = entry["run"]
    by_process = run["cpu_s_per_100k_by_process"]
    stores = sum(used for name, used in by_process.items() if entry["kind"] == "gateway" and name not in _OWN)
    crash = entry.get("crash")
    return (
        *head,
        f"{run['messages_per_s']:,.0f}",
        f"{run['cores_taken_by_others']:.1f}",
        f"{run['cpu_s_per_100k']:.1f}",
        f"{stores:.1f}" if stores else "–",
        f"{run['peak_rss_mb']:,.0f}",
        *(f"{crash[key]:,}" if crash else "–" for key in _CRASH),
    )
