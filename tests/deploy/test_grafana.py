"""What people look at: the dashboards are those of the generator, and ask for what workers expose."""

from __future__ import annotations

import re
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest
import yaml

from tests.deploy.dashboards import FOLDER, dashboards, filled_in, queries
from tests.deploy.promql import grouped, mistakes, selected
from tests.deploy.test_prometheus import ROOT, exposed, promtool

GRAFANA = FOLDER.parent
RECORDING = ROOT / "deploy" / "prometheus" / "rules" / "recording.yml"


def test_the_dashboards_are_those_of_the_generator(tmp_path: Path) -> None:
    """Written anew they are the same."""
    subprocess.run([sys.executable, str(GRAFANA / "dashboards.py"), str(tmp_path)], check=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        file.name: file.read_text() for file in FOLDER.iterdir()
    }


@pytest.mark.parametrize("query", sorted({query for _, _, query in queries()}))
def test_a_query_asks_for_what_there_is(query: str) -> None:
    """Metrics of the table or recorded ones, by labels that they have; no variable is left open."""
    filled = filled_in(query, "1m")
    assert "$" not in filled
    assert list(mistakes(filled, exposed())) == []


def test_a_legend_names_labels_that_its_query_leaves() -> None:
    """Else it reads as {{lane}} to whoever looks."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                recorded = {label for one in selected(target["expr"]) for label in exposed()[one.name].labels}
                kept = grouped(target["expr"]) or recorded
                assert named <= kept | recorded | {"instance"}, f"{name}: {panel['title']}"


def test_a_table_has_one_row_for_each_thing() -> None:
    """Columns are joined by the labels of their queries, the name of a series included: an aggregation leaves none."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            queries = [target["expr"] for target in panel.get("targets", ())] if panel["type"] == "table" else []
            if len(queries) > 1:
                by = {re.match(r"(?:max|sum) (by \(\w+\)) \(", query) for query in queries}
                assert len({found and found[1] for found in by} - {None}) == 1, f"{name}: {panel['title']}"
                assert None not in by, f"{name}: {panel['title']}"


@pytest.mark.parametrize(
    ("waiting", "settled", "done_in_s"),
    [
        ({"quick": 600}, {("quick", "bulk", "submitted"): 600}, 60.0),
        ({"quick": 600, "idle": 0}, {("quick", "bulk", "submitted"): 600, ("idle", "bulk", "submitted"): 0}, 60.0),
        ({"quick": 600, "still": 9}, {("quick", "bulk", "submitted"): 600, ("still", "bulk", "submitted"): 0}, inf),
        ({"quick": 600, "never": 9}, {("quick", "bulk", "submitted"): 600}, inf),
        ({"refuses": 9}, {("refuses", "bulk", "retry"): 600}, inf),
        ({"busy": 600}, {("busy", "otp", "submitted"): 6000, ("busy", "bulk", "submitted"): 60}, 600.0),
        ({"idle": 0}, {("idle", "bulk", "submitted"): 0}, 0.0),
    ],
)
def test_a_campaign_is_done_when_its_slowest_lane_is(
    tmp_path: Path, waiting: dict[str, int], settled: dict[tuple[str, str, str], int], done_in_s: float
) -> None:
    """By what of bulk gets done for good; a lane that stands still is never done, and one with nothing is."""
    panels = {panel["title"]: panel for panel in dashboards()["campaign"]["panels"]}
    backlog, total = "recado_queue_backlog", "recado_messages_settled_total"
    series = [
        {"series": f'{backlog}{{lane="{lane}", class="bulk"}}', "values": f"{count}x30"}
        for lane, count in waiting.items()
    ]
    series += [
        {
            "series": f'{total}{{lane="{lane}", class="{class_}", outcome="{outcome}"}}',
            "values": f"0+{a_minute}x30",
        }
        for (lane, class_, outcome), a_minute in settled.items()
    ]
    look = {
        "expr": filled_in(panels["Done in"]["targets"][0]["expr"], "10m"),
        "eval_time": "25m",
        "exp_samples": [{"labels": "{}", "value": done_in_s}],
    }
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [look]}
    file = tmp_path / "case.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RECORDING)], "tests": [case]}))
    promtool("test", "rules", str(file))


def test_panels_do_not_cover_each_other() -> None:
    """Each cell of the grid belongs to one at most, and no panel is wider than the grid."""
    for name, dashboard in dashboards().items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not taken & cells, f"{name}: {panel['title']}"
            taken |= cells


def test_grafana_finds_what_is_provisioned() -> None:
    """The source of the data is Prometheus, and the folder is the one that the composition mounts."""
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "recado.yaml").read_text())["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose" / "compose.yaml").read_text())
    assert source["url"] == "http://prometheus:9090"
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]
