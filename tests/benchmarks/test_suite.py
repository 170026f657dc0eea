"""The suite goes through its parts whatever becomes of one, and keeps what it has."""

from pathlib import Path

import msgspec
import pytest

from benchmarks import suite
from benchmarks.report import Suite
from benchmarks.suite import Plan

FAKE = "tests.benchmarks.fake"


def plan(how: str) -> Plan:
    return Plan(how, FAKE, how, how)


@pytest.mark.parametrize(
    ("how", "status", "rate"), [("ok", "ok", 1234.5), ("missed", "missed", 1234.5), ("printed", "ok", 1234.5)]
)
def test_a_part_is_what_it_wrote_or_printed(tmp_path: Path, how: str, status: str, rate: float) -> None:
    """With the machine and the versions, also where it does not say them itself."""
    told: list[str] = []
    part = suite.run(plan(how), full=False, folder=tmp_path, told=told.append)
    assert (part.status, part.result["messages_per_s"]) == (status, rate)
    assert part.result["machine"]
    assert part.result["versions"]
    assert part.command == f"python -m {FAKE} {how}"
    assert told == ["measuring"]


def test_a_part_that_breaks_says_why_and_has_no_figures_of_the_one_before(tmp_path: Path) -> None:
    """Its last words are kept."""
    suite.run(plan("ok"), full=False, folder=tmp_path, told=str)
    part = suite.run(plan("broken"), full=False, folder=tmp_path, told=str)
    assert (part.status, part.result, part.error) == ("failed", {}, "measuring\nthere is no broker")


def test_what_fails_stops_no_other_and_both_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says that something failed."""
    monkeypatch.setattr(suite, "PLANS", (plan("broken"), plan("ok")))
    json, html = tmp_path / "new" / "b.json", tmp_path / "b.html"
    assert suite.main(["--json", str(json), "--html", str(html)]) == 1
    parts = msgspec.json.decode(json.read_bytes(), type=Suite).parts
    assert [part.status for part in parts] == ["failed", "ok"]
    assert "1,234.5" in capsys.readouterr().out
    assert "there is no broker" in html.read_text()


def test_every_part_is_a_module_that_is_there() -> None:
    """Each has a small and a real size, whether they differ or not."""
    for each in suite.PLANS:
        assert (Path(suite.__file__).parent / f"{each.benchmark}.py").is_file()
