"""Latency under load: a small ladder, climbed on a running gateway."""

import pytest

from benchmarks import report, tables
from benchmarks.latency import run
from benchmarks.settings import EMBEDDED


@pytest.mark.e2e
async def test_each_load_is_carried_and_measured() -> None:
    """Percentiles ascend, and everything arrives once."""
    found = await run([50.0, 100.0], 1.0, EMBEDDED)
    assert [row["offered_per_s"] for row in found["loads"]] == [50.0, 100.0]
    assert (found["lost"], found["duplicates"]) == (0, 0)
    for row in found["loads"]:
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["p999_ms"] <= row["max_ms"]
    assert tables.of("latency", found)
    assert report.plots("latency", found)
