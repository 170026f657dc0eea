"""The benchmark of the whole path runs and closes its account: what it measures is not for tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KEYS = {
    *(
        "messages_per_s",
        "cpu_us_per_message",
        "yardstick_us",
        "ratio",
        "p50_ms",
        "p99_ms",
        "rss_mb",
        "lost",
        "duplicates",
    ),
    *("rate_first", "rate_last", "settings", "versions", "machine"),
}


def run(*options: str) -> dict[str, object]:
    """Run the benchmark as its users do and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.pipeline", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.e2e
def test_a_backlog_is_carried_and_measured(tmp_path: Path) -> None:
    """All keys are there, on stdout and in the file; every message has its final event, and none arrived twice."""
    file = tmp_path / "result.json"
    result = run("--messages", "200", "--lanes", "2", "--binds", "2", "--long", "0.25", "--json", str(file))
    assert result.keys() >= KEYS
    assert json.loads(file.read_text()) == result
    assert (result["lost"], result["duplicates"], result["warnings"]) == (0, 0, 0)
    assert result["events"] == {"accepted": 1, "submitted": 200, "delivered": 200}
    assert result["receipts"] == 300  # 50 of them of three parts


@pytest.mark.e2e
def test_a_paced_campaign_is_measured_after_a_warm_up() -> None:
    """Without receipts `submitted` closes the account; each message is a job, the thousand of the warm-up not counted."""
    result = run("--messages", "200", "--offered", "2000", "--receipts", "0")
    assert (result["lost"], result["duplicates"], result["warnings"]) == (0, 0, 0)
    assert result["events"] == {"accepted": 1200, "submitted": 1200}
    assert result["receipts"] == 0
