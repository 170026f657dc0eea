"""What must always hold, as `docs/robustness.md` lists it: each has tests, and those are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"(?m)^\| (\d+) \| (.+?) \| (.+) \|$", (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8"))


@cache
def _names(file: Path) -> frozenset[str]:
    """The tests of a file: functions, methods, and classes that a library makes."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    functions = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    made = {
        target.id for node in nodes if isinstance(node, ast.Assign) for target in node.targets if hasattr(target, "id")
    }
    return frozenset(functions | made)


def test_every_invariant_is_numbered_and_said_once() -> None:
    """From 1 on, each in words of its own."""
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 37))
    assert len({said for _, said, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("number", "tests"), [(number, tests) for number, _, tests in ROWS])
def test_the_tests_of_an_invariant_are_there(number: str, tests: str) -> None:
    """At least one, each by the name that it is run by."""
    listed = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
    assert listed, number
    assert len(listed) == tests.count("`") // 2
    for file, name in listed:
        assert name in _names(ROOT / file), f"{file}::{name}"
        assert name.lower().startswith("test"), name
