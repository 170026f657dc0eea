"""What wakes people: the rules ask for what workers expose, fire when they should, and each alert says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promql import Exposed, grouped, mistakes, selected, table

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
CASES = Path(__file__).parent / "alerts.yml"
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def _rules() -> Iterator[dict[str, Any]]:
    for file in sorted((FOLDER / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


RULES = tuple(_rules())
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}


def promtool(*arguments: str) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exposed() -> dict[str, Exposed]:
    """What workers expose, and what is recorded of it: with the labels that its name begins with, as is the custom."""
    found = table()
    for name in RECORDS:
        level = name.split(":")[0]
        found[name] = Exposed(frozenset(level.split("_") if not level.startswith("recado") else ()), None)
    return found


def test_prometheus_takes_the_configuration() -> None:
    """With the rules and the list of workers that stand beside it."""
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


def test_alerts_fire_when_they_should() -> None:
    """And not before; what else fires at that moment is a failure too."""
    promtool("test", "rules", str(CASES))


def test_every_alert_is_seen_firing_and_not_firing() -> None:
    """In one case: before its time has come, it is quiet."""
    seen: dict[str, bool] = {}
    for case in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]:
        moments = [
            {re.search(r'alertname="(\w+)"', sample["labels"])[1] for sample in look["exp_samples"]}  # type: ignore[index]
            for look in case["promql_expr_test"]
        ]
        for alert in set().union(*moments):
            seen[alert] = any(alert not in moment for moment in moments)
    assert seen == dict.fromkeys(ALERTS, True)


@pytest.mark.parametrize("rule", [*RECORDS.values(), *ALERTS.values()], ids=[*RECORDS, *ALERTS])
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    """Metrics of the table or recorded ones, by labels that they have."""
    assert list(mistakes(rule["expr"], exposed())) == []


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_named_after_what_it_groups_by(name: str) -> None:
    """level:metric:operation; a quantile's buckets are gone."""
    expr = RECORDS[name]["expr"]
    assert grouped(expr) - {"le"} == set(exposed()[name].labels)


@pytest.mark.parametrize("alert", ALERTS.values(), ids=[*ALERTS])
def test_an_alert_says_who_is_told_and_what_of(alert: dict[str, Any]) -> None:
    """A severity, a summary with labels that it has, and where its runbook is."""
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in {"page", "ticket"}
    annotations = alert["annotations"]
    assert set(annotations) == {"summary", "runbook"}
    assert annotations["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
    named = set(re.findall(r"\$labels\.(\w+)", annotations["summary"]))
    of_records = {label for one in selected(alert["expr"]) for label in exposed()[one.name].labels}
    assert named <= grouped(alert["expr"]) | of_records | {"instance"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """What it means, what to look at, what to do."""
    entries = dict(re.findall(r"^#### (Recado\w+)\n(.*?)(?=^#|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert sorted(entries) == sorted(ALERTS)
    for alert, entry in entries.items():
        assert re.findall(r"^\*\*(.+?)\.\*\* \S", entry, re.MULTILINE) == ["Means", "Look at", "Do"], alert


def test_every_metric_is_of_use() -> None:
    """What neither a rule nor a dashboard asks for is either not needed, or forgotten."""
    asked = {one.name for rule in RULES for one in selected(rule["expr"])}
    for file in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"):
        asked |= {one.name for one in selected(file.read_text(encoding="utf-8"))}
    unasked = {name for name in table() if name not in asked and not name.endswith(("_bucket", "_sum", "_count"))}
    assert unasked <= {"process_start_time_seconds"}
