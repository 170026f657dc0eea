"""The profile by stage takes the gateway apart by hand, and has to keep up with it."""

from __future__ import annotations

import json

import pytest

from benchmarks import stages, tables


async def test_every_stage_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its time for each of the messages."""
    monkeypatch.setattr(stages, "_REPEATS", 2)
    best = await stages._measure()
    assert len(best) == 12
    assert all(cost > 0 for cost in best.values())


async def test_what_metrics_cost_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is measured with and without them, and they are there again afterwards."""
    monkeypatch.setattr(stages, "_REPEATS", 2)
    monkeypatch.setattr(stages, "_TURNS", 1)
    before = [getattr(owner, name) for owner, name in stages._METERS]
    whole, meters = await stages._metered()
    assert whole > 0
    assert meters < whole
    assert [getattr(owner, name) for owner, name in stages._METERS] == before


def test_a_figure_says_under_what_it_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words for who reads, in settings for the report; these are no stages."""
    monkeypatch.setattr(stages, "_REPEATS", 2)
    monkeypatch.setattr("sys.argv", ["stages", "--json"])
    stages.main()
    first, *_, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    said = "RTT 0 ms; window 100; receipts of 100%; long messages 0%; backlog 0"
    assert tables.conditions(result) == said
    assert first.startswith(said)
    assert len(tables.stage_costs(result)) == 12
