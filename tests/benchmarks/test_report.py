"""The report and the tables: complete, well-formed, and about themselves alone."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks import charts, report, tables
from benchmarks.charts import Bars, Lines
from benchmarks.report import Part, Suite
from benchmarks.tables import Table

LATENCY: dict[str, Any] = {
    "loads": [
        {
            "offered_per_s": load,
            "carried_per_s": load,
            **{f"{name}_ms": load / 10 for name in ("p50", "p90", "p99", "p999", "max")},
            "cpu_us_per_message": 300.0,
            "lost": 0,
        }
        for load in (100.0, 1000.0)
    ],
    "settings": {"rtt_ms": 10.0, "window": 100, "receipts": 1.0, "long": 0.2, "backlog": 0},
    "versions": {"python": "3.11"},
    "machine": {"processor": "one", "cores": 2, "memory_gb": 8, "system": "Linux", "load": 0.5},
}


def svg(figure: str) -> ET.Element:
    """The drawing of a figure, which has to be XML."""
    start, end = figure.index("<svg"), figure.index("</svg>") + 6
    return ET.fromstring(figure[start:end])


def test_every_point_of_a_line_is_within_the_drawing() -> None:
    """Also with logarithmic axes, where what is not above nothing has no place."""
    points = [(0.0, 5.0), (1.0, 0.0), (10.0, 3.0), (1000.0, 700.0)]
    for log in (False, True):
        chart = Lines(title="t", x="x", y="y", series={"a": points}, log_x=log, log_y=log)
        [curve] = svg(charts.lines(chart)).findall("polyline")
        found = [tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split()]
        assert len(found) == (2 if log else 4)
        assert all(0 <= x <= 720 and 0 <= y <= 280 for x, y in found)
        assert found == sorted(found)
        assert found[-1][1] == min(y for _, y in found)  # the most is at the top


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0.0, 0.0)]}])
def test_a_chart_of_nothing_is_still_a_chart(series: dict[str, list[tuple[float, float]]]) -> None:
    """A run that was too short for a second has no rate."""
    svg(charts.lines(Lines(title="t", x="x", y="y", series=series, log_y=True)))
    svg(charts.lines(Lines(title="t", x="x", y="y", series=series)))


def test_the_longest_bar_is_the_most_and_the_others_in_proportion() -> None:
    """Names are text, whatever is in them."""
    widths = [
        float(bar.attrib["width"])
        for bar in svg(charts.bars(Bars(title="<t>", unit="µs", values={"a & <b>": 2.0, "c": 8.0}))).findall("rect")
    ]
    assert widths[1] == pytest.approx(4 * widths[0])


def test_the_report_needs_nothing_but_itself_and_says_everything() -> None:
    """What failed is there with its reason, and stops no other; conditions stand with the figures."""
    parts = [
        Part(name="codec", benchmark="codec", command="c", status="failed", error="<no broker>"),
        Part(name="latency", benchmark="latency", command="l", status="missed", result=LATENCY),
    ]
    page = report.html([Suite(parts=parts)])
    assert "&lt;no broker&gt;" in page
    assert "a goal was missed" in page
    assert "2 cores of one, 8 GB, Linux; load 0.5; python 3.11; RTT 10.0 ms; window 100" in page
    assert "receipts of 100%; long messages 20%; backlog 0" in page
    assert page.count("<svg") == 2
    assert not [sign for sign in ("http:", "https:", "<script", "src=", "@import", "url(") if sign in page]


def test_markdown_is_a_table_with_a_line_for_each_row() -> None:
    """A stripe in a cell is no border."""
    assert tables.markdown(Table(["a", "b"], [["1|2", "3"]])) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"
    said = report.markdown(
        [Suite(parts=[Part(name="latency", benchmark="latency", command="l", status="ok", result=LATENCY)])]
    )
    assert "| 1,000.0 | 1,000.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 300.0 | 0 |" in said


def test_a_file_of_one_benchmark_is_a_suite_of_one(tmp_path: Path) -> None:
    """It says what it is, or is known by what is in it."""
    named, old = tmp_path / "a.json", tmp_path / "b.json"
    named.write_bytes(msgspec.json.encode({"benchmark": "latency", **LATENCY}))
    old.write_bytes(msgspec.json.encode({"yardsticks_us": {}, "settings": {}}))
    assert [report.read(file).parts[0].benchmark for file in (named, old)] == ["latency", "pipeline"]


def test_a_benchmark_that_nobody_knows_shows_its_figures() -> None:
    """Those on the first level; the rest is in the JSON."""
    assert tables.of("new", {"rate": 3.5, "rows": [1]}) == [Table(["figure", "value"], [["rate", "3.5"]])]
