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
