"""The profile by stage takes the gateway apart by hand, and has to keep up with it."""

from __future__ import annotations

import pytest

from benchmarks import stages


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
