"""Look for known vulnerabilities in what is pinned: exit code 1 if there is one; 0 if there is none, or nobody could be asked.

pip-audit goes into a place of its own, which is gone afterwards: what it needs is none of our dependencies. A service that is
not reachable must not stop a release, and one that knows none of the packages has not answered: both are said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
"""For all of it, the installation included."""

_ROOT = Path(__file__).parents[1]


class NotAsked(Exception):
    """Nobody could be asked, and why."""


def commands(place: Path, report: Path) -> Iterator[list[str]]:
    """What is run, in this order; the last one writes the report."""
    python = str(place / "venv" / "bin" / "python")
    yield [str(_ROOT / ".ci" / "venv"), str(place / "venv")]
    yield [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "pip-audit"]
    # All versions are pinned, so nothing has to be resolved or installed to be looked up.
    look_up = ["--requirement", str(_ROOT / "requirements.lock"), "--no-deps", "--disable-pip"]
    write = ["--progress-spinner", "off", "--format", "json", "--output", str(report)]
    yield [python, "-m", "pip_audit", *look_up, *write]


def run(steps: Sequence[Sequence[str]], report: Path, patience_s: float) -> dict[str, Any]:
    """Run one step after the other, and return what the last one has written. Raises `NotAsked`."""
    deadline = time.monotonic() + patience_s
    code = 0
    for step in steps:
        # A session of its own: what the step has started ends with it.
        process = subprocess.Popen(  # noqa: S603 - the steps above
            step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            said, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise NotAsked(f"no answer within {patience_s:g} s") from None
        code = process.returncode
        if code and step is not steps[-1]:
            break
    if not report.exists():  # its exit code is 1 in both cases: something was found, nobody could be asked
        raise NotAsked(_last_line(said) or f"exit code {code}")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def vulnerabilities(report: dict[str, Any]) -> list[str]:
    """Return a line for each. Raises `NotAsked` if no package was known to whoever was asked."""
    packages = report["dependencies"]
    if all("skip_reason" in package for package in packages):
        raise NotAsked(packages[0]["skip_reason"] if packages else "nothing is pinned")
    return [
        f"{package['name']} {package['version']}: {found['id']}"
        + (f" (mended in {', '.join(found['fix_versions'])})" if found["fix_versions"] else "")
        for package in packages
        for found in package.get("vulns", ())
    ]


def skipped(report: dict[str, Any]) -> list[str]:
    """Return the names of the packages that were not known."""
    return [package["name"] for package in report["dependencies"] if "skip_reason" in package]


def _last_line(said: bytes) -> str:
    return said.decode(errors="replace").strip().rpartition("\n")[2]


def main() -> int:
    """Look, and say what came of it."""
    with tempfile.TemporaryDirectory(prefix="recado-audit-") as place:
        report = Path(place) / "report.json"
        try:
            found = run(list(commands(Path(place), report)), report, PATIENCE_S)
            lines = vulnerabilities(found)
        except NotAsked as why:
            print(f"the dependencies were NOT audited: {why}")
            return 0
    for line in lines:
        print(line)
    if unknown := skipped(found):
        print(f"not audited: {', '.join(unknown)}")
    print(f"{len(found['dependencies']) - len(unknown)} dependencies audited, {len(lines)} known vulnerabilities")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
