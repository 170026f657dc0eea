"""Tests of the rules in conftest.py: what has to fail a test does."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[2]

GOOD = """
import asyncio, logging

async def test_runs(namespace, logged_exceptions):
    await asyncio.sleep(0)
    assert namespace and not logged_exceptions

async def test_expected_exception_in_the_log(logged_exceptions):
    logging.getLogger("x").error("expected", exc_info=ValueError("boom"))
    assert "boom" in str(logged_exceptions.pop().exc_info[1])

async def test_a_task_that_ends_soon_is_no_task_left_behind():
    asyncio.get_running_loop().call_later(0.01, asyncio.create_task(asyncio.Event().wait()).cancel)

def test_error_without_an_exception():
    logging.getLogger("x").error("an operator's business")
"""

BAD = {
    "a failing assertion": "async def test(): assert False",
    "a coroutine never awaited": "async def test(): asyncio.sleep(1)",
    "a task left running": "kept = []\nasync def test(): kept.append(asyncio.create_task(asyncio.Event().wait()))",
    "an exception of a task that nobody saw": """
async def fail(): raise ValueError
async def test():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
""",
    "an exception in a callback": """
async def test():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
""",
    "an exception in the log": """
def test():
    logging.getLogger("x").exception("no", exc_info=ValueError("boom"))
""",
    "a warning": "def test(): import warnings; warnings.warn('old')",
    "a server left open": """
async def test():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
""",
    "a failure with a server left open, which must not hang": """
async def test():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    assert False
""",
    "a socket left open": "def test(): import socket; socket.socket()",
}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    pytester.makeconftest((REPOSITORY / "tests" / "conftest.py").read_text())
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def test_good_tests_pass(run: pytest.Pytester) -> None:
    """Coroutines run with their fixtures, and what a test expects does not fail it."""
    run.makepyfile(GOOD)
    run.runpytest_subprocess().assert_outcomes(passed=4)


def test_bad_tests_fail(run: pytest.Pytester) -> None:
    """Each of these has exactly one test, and none gets away."""
    for number, body in enumerate(BAD.values()):
        run.makepyfile(**{f"test_{number}": f"import asyncio, logging\n{body}\n"})
    result = run.runpytest_subprocess("-rA")
    outcomes = result.parseoutcomes()
    unnoticed = [what for number, what in enumerate(BAD) if not _names(result, "FAILED", "ERROR", of=number)]
    assert not unnoticed, outcomes


def _names(result: pytest.RunResult, *outcomes: str, of: int) -> bool:
    return any(line.startswith(outcomes) and f"test_{of}.py::" in line for line in result.outlines)
