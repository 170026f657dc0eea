"""What people look at: the dashboards are those of the generator, and ask for what workers expose."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.dashboards import FOLDER, dashboards, filled_in, queries
from tests.deploy.promql import grouped, mistakes, selected
from tests.deploy.test_prometheus import exposed

GRAFANA = FOLDER.parent


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
