"""How a dashboard looks: a list of panels in rows, as the JSON that Grafana reads. What is in them is in dashboards.py."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

_COLUMNS = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    expr: str
    legend: str = ""
    """With {{label}} for the value of a label."""


class Board:
    """One dashboard. Panels come from left to right, each row below the one before; units are Grafana's."""

    def __init__(self, uid: str, title: str, *, variables: dict[str, str] | None = None) -> None:
        """`variables` are those that a person chooses, each with the query that its values come from."""
        self.uid = uid
        self._title = title
        self._variables = variables or {}
        self._panels: list[dict[str, Any]] = []
        self._x = self._y = self._height = 0

    def row(self, title: str) -> None:
        self._next_line()
        self._add({"type": "row", "title": title, "collapsed": False, "panels": []}, _COLUMNS, 1)

    def graph(self, title: str, unit: str, *queries: Query, text: str = "", width: int = 8) -> None:
        self._add(_panel("timeseries", title, unit, queries, text), width, 8)

    def stat(self, title: str, expr: str, unit: str = "short", *, text: str = "") -> None:
        self._add(_panel("stat", title, unit, (Query(expr),), text), 4, 4)

    def table(self, title: str, *queries: Query, text: str = "") -> None:
        """Show a row for each set of labels, and a column for each query."""
        headings = {f"Value #{_letter(number)}": query.legend for number, query in enumerate(queries) if query.legend}
        columns = {"excludeByName": {"Time": True, "__name__": True}, "renameByName": headings}
        joined = [{"id": "merge", "options": {}}, {"id": "organize", "options": columns}]
        self._add(_panel("table", title, "short", queries, text) | {"transformations": joined}, _COLUMNS, 8)

    def render(self) -> str:
        return json.dumps(
            {
                "uid": self.uid,
                "title": self._title,
                "tags": ["recado"],
                "schemaVersion": 39,
                "editable": False,
                "refresh": "30s",
                "time": {"from": "now-3h", "to": "now"},
                "links": [
                    {"type": "dashboards", "tags": ["recado"], "title": "Recado", "asDropdown": True, "keepTime": True}
                ],
                "templating": {"list": [_DATASOURCE, *(_variable(*item) for item in self._variables.items())]},
                "panels": self._panels,
            },
            ensure_ascii=False,
            indent=1,
        )

    def _add(self, panel: dict[str, Any], width: int, height: int) -> None:
        if self._x + width > _COLUMNS:
            self._next_line()
        place = {"x": self._x, "y": self._y, "w": width, "h": height}
        self._panels.append({"id": len(self._panels) + 1, **panel, "gridPos": place})
        self._x += width
        self._height = max(self._height, height)

    def _next_line(self) -> None:
        self._x, self._y, self._height = 0, self._y + self._height, 0


_DATASOURCE = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # when the time range changes: lanes come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


_Kind = Literal["timeseries", "stat", "table"]
_OPTIONS: dict[_Kind, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"},
    "table": {"showHeader": True},
}


def _panel(kind: _Kind, title: str, unit: str, queries: tuple[Query, ...], text: str) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": _SOURCE,
        "targets": [_target(kind, number, query) for number, query in enumerate(queries)],
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": _OPTIONS[kind],
    }


def _target(kind: _Kind, number: int, query: Query) -> dict[str, Any]:
    target = {"refId": _letter(number), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
    if kind == "table":
        return {**target, "instant": True, "format": "table"}
    return {**target, "instant": kind == "stat"}


def _letter(number: int) -> str:
    return chr(ord("A") + number)
