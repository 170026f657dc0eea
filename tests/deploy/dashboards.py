"""The queries of the dashboards, as Prometheus is asked for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


def dashboards() -> dict[str, dict[str, Any]]:
    """Return all of them by the names of their files."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))}


def queries() -> Iterator[tuple[str, str, str]]:
    """Yield dashboard, panel and query of each, and the queries of the variables."""
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                [(metric, label)] = re.findall(r"^label_values\((\w+), (\w+)\)$", variable["query"]["query"])
                yield name, f"${variable['name']}", f"count by ({label}) ({metric})"
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield name, panel["title"], target["expr"]


def filled_in(query: str, window: str) -> str:
    """Return a query as Grafana sends it, with all values of the variables."""
    return query.replace("$lane", ".*").replace("$__rate_interval", window).replace("$__range", window)
