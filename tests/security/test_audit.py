"""The audit of the dependencies: a vulnerability fails it, and silence is not taken for an answer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / ".ci" / "audit.py"

SOUND = {"name": "msgspec", "version": "0.22", "vulns": []}
MENDED = {"name": "aiohttp", "version": "3.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.2", "3.3"]}]}
OPEN = {"name": "rich", "version": "1.0", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
UNKNOWN = {"name": "uvloop", "skip_reason": "Dependency not found"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def asked(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the script with an auditor that reports this and ends so."""

    def run(packages: list[Any] | None, code: int) -> int:
        text = json.dumps({"dependencies": packages})

        def commands(_: Path, report: Path) -> list[list[str]]:
            write = "" if packages is None else f"echo '{text}' > {report};"
            return [["true"], ["sh", "-c", f"{write} echo cannot reach it; exit {code}"]]

        monkeypatch.setattr(audit, "commands", commands)
        result: int = audit.main()
        return result

    return run


@pytest.mark.parametrize(
    ("packages", "code", "result", "said"),
    [
        ([SOUND], 0, 0, ["1 dependencies audited, 0 known vulnerabilities"]),
        (
            [SOUND, MENDED, OPEN],
            1,
            1,
            [
                "aiohttp 3.1: PYSEC-1 (mended in 3.2, 3.3)",
                "rich 1.0: PYSEC-2",
                "3 dependencies audited, 2 known vulnerabilities",
            ],
        ),
        ([SOUND, UNKNOWN], 0, 0, ["not audited: uvloop", "1 dependencies audited, 0 known vulnerabilities"]),
        ([UNKNOWN], 0, 0, ["the dependencies were NOT audited: Dependency not found"]),
        (None, 1, 0, ["the dependencies were NOT audited: cannot reach it"]),
    ],
)
def test_what_was_found_decides(
    asked: Any,
    capsys: pytest.CaptureFixture[str],
    packages: list[Any] | None,
    code: int,
    result: int,
    said: list[str],
) -> None:
    """A vulnerability is 1; where nobody could be asked, or nobody knew a package, that is said and is 0."""
    assert asked(packages, code) == result
    assert capsys.readouterr().out.splitlines() == said


def test_it_ends_in_time_with_all_that_it_has_started(audit: ModuleType, tmp_path: Path) -> None:
    """A service that does not answer holds up nobody."""
    step = ["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"]
    with pytest.raises(audit.NotAsked, match="no answer within"):
        audit.run([step], tmp_path / "report", 0.3)
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", (tmp_path / "pid").read_text()], capture_output=True, check=False
    )
    assert state.stdout.strip() in (b"", b"Z")


def test_what_cannot_be_installed_is_not_asked(audit: ModuleType, tmp_path: Path) -> None:
    """The steps after it are not even tried."""
    steps = [["sh", "-c", "echo no route; exit 1"], ["touch", str(tmp_path / "report")]]
    with pytest.raises(audit.NotAsked, match=r"^no route$"):
        audit.run(steps, tmp_path / "report", 20)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - its names are what is compared
